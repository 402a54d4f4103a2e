package onionroute

import (
	"slices"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// delays makes stamps whole seconds of UTC (XEP-0082), and removes the words of the
// server that made them, and its own address.
func delays(gd *guard, s *component.Stanza) finding {
	hit := false
	walk(&s.Nodes, func(e *component.Element) bool {
		if !e.Is("urn:xmpp:delay", "delay") && !e.Is("jabber:x:delay", "x") {
			return true
		}
		format := time.RFC3339
		if e.Name.Space == "jabber:x:delay" {
			format = "20060102T15:04:05" // XEP-0091 §4; it is in UTC
		}
		stamp := e.AttrValue("stamp")
		at, err := time.Parse(format, stamp)
		if err != nil {
			hit = true
			return false
		}
		if now := at.UTC().Truncate(time.Second).Format(format); now != stamp || len(e.Nodes) > 0 {
			e.SetAttr("stamp", now)
			e.Nodes = nil
			hit = true
		}
		// Of presence only some hosts say whose it is, which is plain.
		if from, err := jid.Parse(e.AttrValue("from")); err == nil && (gd.isHost(from) || s.Kind == component.Presence) {
			e.RemoveAttr("from")
			hit = true
		}
		return true
	})
	return changed(hit)
}

// presenceHints removes receipts (XEP-0184), markers (XEP-0333) and chat states
// (XEP-0085).
func presenceHints(_ *guard, s *component.Stanza) finding {
	return changed(s.Kind == component.Message && strip(&s.Nodes, func(e *component.Element) bool {
		return e.Is("urn:xmpp:receipts", "received") || e.Name.Space == "http://jabber.org/protocol/chatstates" ||
			e.Name.Space == "urn:xmpp:chat-markers:0" && e.Name.Local != "markable"
	}))
}

// notThere finds errors to what was of the moment only, such as that somebody types: hosts
// that give the message back with the error do so when nobody is on-line, and say nothing
// when somebody is.
func notThere(gd *guard, s *component.Stanza) finding {
	if s.Kind != component.Message || s.Type != "error" || !gd.isAccount(s.From) || s.From.Resourcepart() != "" {
		return finding{}
	}
	of := component.Stanza{Kind: s.Kind}
	says := false // what it is about
	for _, n := range s.Nodes {
		if n.Element == nil || n.Element.Is(component.NSClient, "error") {
			continue
		}
		says = true
		if !isIn(n.Element.Name.Space, []string{nsEvents, nsDelay}) {
			of.Nodes = append(of.Nodes, n)
		}
	}
	drop := says && !keeps(&of)
	return finding{hit: drop, drop: drop}
}

const nsEvents = "jabber:x:event" // XEP-0022

// asksIfThere removes the wish to be told by the host that it keeps a message for later
// (XEP-0022, which ejabberd has still), and messages with nothing in them, of which an error
// would not tell that.
func asksIfThere(gd *guard, s *component.Stanza) finding {
	if s.Kind != component.Message {
		return finding{}
	}
	if s.Type != "error" && s.Payload() == nil && gd.isAccount(s.To) {
		return finding{hit: true, drop: true}
	}
	return changed(strip(&s.Nodes, func(e *component.Element) bool { return e.Is(nsEvents, "offline") }))
}

// plain are the conditions that tell only of what was asked for, and not of the host. Only an
// ejabberd says subscription-required, to strangers who ask for somebody's features.
var plain = []stanza.Condition{stanza.BadRequest, stanza.Conflict, stanza.FeatureNotImplemented, stanza.Forbidden, stanza.ItemNotFound,
	stanza.JIDMalformed, stanza.NotAcceptable, stanza.NotAllowed, stanza.NotAuthorized, stanza.PolicyViolation, stanza.RecipientUnavailable,
	stanza.RegistrationRequired, stanza.ResourceConstraint, stanza.ServiceUnavailable, stanza.UnexpectedRequest}

// errorText leaves of an error its type and its condition: no words, no address, nothing
// of the stanza that it is about.
func errorText(_ *guard, s *component.Stanza) finding {
	if s.Type != "error" {
		return finding{}
	}
	before := s.String()
	s.Nodes = plainError(s)
	return changed(s.String() != before)
}

func plainError(s *component.Stanza) []component.Node {
	e := s.StanzaError()
	if !slices.Contains(plain, e.Condition) {
		e.Type, e.Condition = stanza.Cancel, stanza.ServiceUnavailable
	}
	return errorNodes(e.Type, e.Condition)
}

// roomInfo removes what a room tells of the people and places behind it (XEP-0045
// §15.5.4).
func roomInfo(gd *guard, s *component.Stanza) finding {
	if !gd.hasRooms(s.From.Domainpart()) || !answers(s, component.NSDiscoInfo) {
		return finding{}
	}
	return changed(strip(&s.Nodes, func(e *component.Element) bool {
		switch e.AttrValue("var") {
		case "muc#roominfo_contactjid", "muc#roominfo_ldapgroup", "muc#roominfo_logs", "muc#roominfo_webchat_url",
			"muc#roomconfig_roomadmins", "muc#roomconfig_roomowners":
			return e.Is(nsData, "field")
		}
		return false
	}))
}
