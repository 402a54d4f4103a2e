package onionroute

import (
	"slices"
	"strings"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// What passes at the strict level, beside errors and empty results.
var (
	strictMessage = []string{
		"urn:xmpp:message-correct:0", "urn:xmpp:message-retract:", "urn:xmpp:message-moderate:", "urn:xmpp:reactions:0",
		"urn:xmpp:reply:0", "urn:xmpp:fallback:0", "urn:xmpp:receipts",
		nsAxolotl, nsOMEMO, "urn:xmpp:eme:0", "urn:xmpp:hints", nsEvent,
		nsMUCUser, "jabber:x:conference", "urn:xmpp:occupant-id:0", "urn:xmpp:sid:0", "urn:xmpp:delay", nsIBB,
	}
	strictPresence = []string{nsMUC, nsMUCUser, "urn:xmpp:occupant-id:0", nsCaps}
	strictIQ       = []string{component.NSPing, nsIBB, component.NSDiscoInfo,
		"http://jabber.org/protocol/muc#admin", "http://jabber.org/protocol/muc#owner"}
)

// strictOut lets pass only what is on the list.
func strictOut(_ *guard, s *component.Stanza) finding {
	switch {
	case s.IsRequest() && !isStrictIQ(s):
		return refused(stanza.Cancel, stanza.ServiceUnavailable, "The gateway's privacy settings do not let this pass to onion servers.")
	case s.Kind == component.IQ && s.Type == "result" && s.Payload() != nil && !isStrictIQ(s):
		return withheld(s, stanza.ServiceUnavailable)
	}
	return strictChildren(s)
}

// strictIn answers all else that peers ask for.
func strictIn(_ *guard, s *component.Stanza) finding {
	if s.IsRequest() && !isStrictIQ(s) {
		return unavailable()
	}
	return strictChildren(s)
}

// isStrictIQ also lets the keys pass that OMEMO needs.
func isStrictIQ(s *component.Stanza) bool {
	p := s.Payload()
	return isIn(p.Name.Space, strictIQ) || p.Is(nsPubsub, "pubsub") && only(p, isOMEMONode)
}

func strictChildren(s *component.Stanza) finding {
	passes := strictMessage
	switch s.Kind {
	case component.IQ:
		return finding{}
	case component.Presence:
		passes = strictPresence
	}
	before := len(s.Nodes)
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n component.Node) bool {
		e := n.Element
		switch {
		case e == nil:
			return strings.TrimSpace(n.Text) != ""
		case e.Name.Space == component.NSClient:
			own := s.Kind == component.Message && slices.Contains([]string{"body", "subject", "thread"}, e.Name.Local)
			return !own && e.Name.Local != "error"
		case e.Is(nsEvent, "event") && !only(e, isOMEMONode):
			return true
		}
		return !isIn(e.Name.Space, passes)
	})
	return changed(len(s.Nodes) < before)
}
