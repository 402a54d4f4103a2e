package onionroute

import (
	"bytes"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A pair is a pair of onion-side domains that stanzas go between (XEP-0220 §1.3).
type pair struct{ from, to string }

// An item is a stanza on its way to a peer.
type item struct {
	head       component.Stanza // host side, without nodes but the one of a join: to answer it with an error
	onion      string           // the peer, X.onion
	pair       pair
	xml        []byte // onion side
	since      time.Time
	answer     bool // it answers the peer,
	toStranger bool // and counts against what waits for strangers
	kept       bool // it is worth to be on disk and to wait for a peer that is away
	hasty      bool // somebody wants to enter a room at a peer that was away then
	tries      int  // how often the peer ended the stream when it came to it

	order   int64  // among all
	stored  bool   // it is in the spool, or about to be
	slot    slot   // its place there, in the database; the spool's own
	spot    spot   // and in its journal
	session string // as it was read from there
	seq     uint32 // its number in the session
}

// newItem makes an item of a stanza, whose XML is for the onion side.
func newItem(s *component.Stanza, onion string, pr pair, xml []byte) *item {
	it := &item{head: *s, onion: onion, pair: pr, xml: xml, since: time.Now(), kept: keeps(s)}
	it.head.Nodes, it.head.Taken = nil, nil
	if isJoin(s) {
		it.head.Add(component.NewElement(nsMUC, "x"))
	}
	// An answer is caused by the peer, and not by who gives it.
	it.answer = s.Kind == component.IQ && !s.IsRequest() || s.Type == "error"
	return it
}

// cost is what an item takes of the memory for what waits.
func (it *item) cost() int { return len(it.xml) + itemBytes }

// user is who the item counts against.
func (it *item) user() string { return it.head.From.Bare().String() }

// expired tells if the item has waited for as long as it may.
func (it *item) expired(t *times) bool {
	if due := it.due(t); !due.IsZero() {
		return !time.Now().Before(due)
	}
	return !it.kept || time.Since(it.since) > t.maxAge
}

const nsDelay = "urn:xmpp:delay" // XEP-0203

// appendXML appends what is written to the peer: the stanza, and if it is late since
// when it waits. A message that has such a time already keeps that. Where it was late is
// not said in a room, whose occupants may not know where others are.
func (it *item) appendXML(dst []byte, from string, t *times) []byte {
	const end = "</message>"
	head, ok := bytes.CutSuffix(it.xml, []byte(end))
	if !ok || time.Since(it.since) < t.late || bytes.Contains(it.xml, []byte(nsDelay)) {
		return append(dst, it.xml...)
	}
	dst = append(dst, head...)
	delay := component.NewElement(nsDelay, "delay").With("stamp", it.since.UTC().Format("2006-01-02T15:04:05Z"))
	if !it.isForRoom() {
		delay.SetAttr("from", from)
	}
	dst = delay.AppendXML(dst, component.NSServer)
	return append(dst, end...)
}

// Namespaces of what is of the moment only.
const (
	nsChatStates = "http://jabber.org/protocol/chatstates" // XEP-0085
	nsHints      = "urn:xmpp:hints"                        // XEP-0334
)

// keeps tells what is worth to wait for a peer that is away: what a person wrote, and
// requests for subscription.
func keeps(s *component.Stanza) bool {
	switch s.Kind {
	case component.Message:
		if s.Type == string(stanza.ErrorMessage) || s.Child(nsHints, "no-store") != nil {
			return false
		}
		for _, n := range s.Nodes {
			if e := n.Element; e != nil && e.Name.Space != nsChatStates && e.Name.Space != nsHints && !e.Is(component.NSClient, "thread") {
				return true
			}
		}
	case component.Presence:
		switch stanza.PresenceType(s.Type) {
		case stanza.SubscribePresence, stanza.SubscribedPresence, stanza.UnsubscribePresence, stanza.UnsubscribedPresence:
			return true
		}
	}
	return false
}
