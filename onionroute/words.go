package onionroute

import (
	"encoding/xml"
	"slices"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// What a user asked of a peer, as far as an error that comes back tells.
type asked uint8

const (
	toEnter     asked = iota + 1 // a room (XEP-0045 §7.2)
	toSubscribe                  // to somebody's presence
	toWrite                      // to somebody, or in a room
)

const (
	noEntry  = "There is no such room, or you may not enter it; ask for an invitation."
	noNick   = "The room does not take this nickname; choose another one."
	nobody   = "There is nobody of this address, or they do not want contact."
	noReader = "There is nobody of this address, or they do not take messages from you at the moment."
	noVoice  = "You may not write here; in a room, it may be that somebody has to give you voice."
)

// words are what local users read in errors of peers. Between gateways errors have no words,
// since these could tell of the host that made them (see errorText); so those of the one who
// reads are made of the condition, and say nothing that it does not.
var words = map[asked]map[stanza.Condition]string{
	toEnter: {
		stanza.RegistrationRequired: noEntry,
		stanza.NotAllowed:           noEntry,
		stanza.ItemNotFound:         noEntry,
		stanza.ServiceUnavailable:   "There is no such room, or it is full.",
		stanza.NotAuthorized:        "The room wants a password, and this is not the right one.",
		stanza.Forbidden:            "You are banned from this room.",
		stanza.Conflict:             "Somebody else has this nickname in the room; choose another one.",
		stanza.NotAcceptable:        noNick,
		stanza.JIDMalformed:         noNick,
		stanza.ResourceConstraint:   "The room can take nobody more at the moment; try again later.",
		stanza.PolicyViolation:      "The room does not take this at the moment; try again later.",
	},
	toSubscribe: {
		stanza.ItemNotFound:       nobody,
		stanza.ServiceUnavailable: nobody,
		stanza.NotAllowed:         nobody,
		stanza.Forbidden:          nobody,
	},
	toWrite: {
		stanza.ItemNotFound:         noReader,
		stanza.ServiceUnavailable:   noReader,
		stanza.RecipientUnavailable: noReader,
		stanza.Forbidden:            noVoice,
		stanza.NotAllowed:           noVoice,
		stanza.NotAcceptable:        "You are not in this room, or it does not take this.",
		stanza.PolicyViolation:      "The other server does not take this message: it may be too large, or too soon after the last one.",
		stanza.ResourceConstraint:   "The other server can take nothing more at the moment; try again later.",
	},
}

// explain puts words into an error of a peer's that has none, if it is for a user of the
// host. Others do not need to know our words, and clients have their own for what they ask by
// IQ.
func (g *Gateway) explain(s *component.Stanza) {
	e := s.Child(component.NSClient, "error")
	if s.Type != "error" || e == nil || e.Child(component.NSStanzas, "text") != nil || !slices.Contains(g.c.Hosts, s.To.Domainpart()) {
		return
	}
	var what asked
	switch {
	case s.Kind == component.Message:
		what = toWrite
	case s.Kind == component.Presence && s.From.Resourcepart() != "":
		what = toEnter
	case s.Kind == component.Presence:
		what = toSubscribe
	}
	if text := words[what][s.StanzaError().Condition]; text != "" {
		t := component.NewElement(component.NSStanzas, "text", component.Text(text))
		t.Attr = append(t.Attr, component.Attr{Name: xml.Name{Space: component.NSXML, Local: "lang"}, Prefix: "xml", Value: "en"})
		e.Add(t)
	}
}
