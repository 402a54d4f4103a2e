package onionroute

import (
	"slices"
	"strings"

	"github.com/allium-xmpp/allium/component"
)

// strip removes the elements that match, at any depth, and tells if there were any.
func strip(nodes *[]component.Node, match func(*component.Element) bool) (hit bool) {
	walk(nodes, func(e *component.Element) bool {
		if match(e) {
			hit = true
			return false
		}
		return true
	})
	return hit
}

// walk calls keep for all elements, those inside others first, and removes each one that
// it does not want to keep.
func walk(nodes *[]component.Node, keep func(*component.Element) bool) {
	*nodes = slices.DeleteFunc(*nodes, func(n component.Node) bool {
		if n.Element == nil {
			return false
		}
		walk(&n.Element.Nodes, keep)
		return !keep(n.Element)
	})
}

// has tells if there is an element that matches, at any depth.
func has(nodes []component.Node, match func(*component.Element) bool) bool {
	return slices.ContainsFunc(nodes, func(n component.Node) bool {
		return n.Element != nil && (match(n.Element) || has(n.Element.Nodes, match))
	})
}

// in matches elements in one of the namespaces. One that ends in a colon stands for all
// versions of it.
func in(spaces ...string) func(*component.Element) bool {
	return func(e *component.Element) bool { return isIn(e.Name.Space, spaces) }
}

func isIn(space string, spaces []string) bool {
	return slices.ContainsFunc(spaces, func(p string) bool {
		return space == p || strings.HasSuffix(p, ":") && strings.HasPrefix(space, p)
	})
}

// asks tells of a request for something in one of the namespaces.
func asks(s *component.Stanza, spaces ...string) bool {
	return s.IsRequest() && s.Payload() != nil && isIn(s.Payload().Name.Space, spaces)
}

// answers tells of a result that has something in one of the namespaces.
func answers(s *component.Stanza, spaces ...string) bool {
	return s.Kind == component.IQ && s.Type == "result" && s.Payload() != nil && isIn(s.Payload().Name.Space, spaces)
}

// refuses makes a check of requests for what nobody gets.
func refuses(spaces ...string) check {
	return func(_ *guard, s *component.Stanza) finding {
		if asks(s, spaces...) {
			return unavailable()
		}
		return finding{}
	}
}

// husks are in the namespaces of what means nothing without the rest of a message.
var husks = []string{"urn:xmpp:hints", "urn:xmpp:sid:0", "urn:xmpp:eme:0", "urn:xmpp:delay", "jabber:x:delay", "urn:xmpp:fallback:0",
	"http://jabber.org/protocol/address", "http://jabber.org/protocol/shim"}

// isHusk tells of a message out of which all that it was about has been taken.
func isHusk(s *component.Stanza) bool {
	if s.Kind != component.Message {
		return false
	}
	return !slices.ContainsFunc(s.Nodes, func(n component.Node) bool {
		return n.Element != nil && !isIn(n.Element.Name.Space, husks) && !n.Element.Is(component.NSClient, "thread")
	})
}

// authored are the texts that people write themselves, which nobody changes.
var authored = []struct{ space, local string }{
	{component.NSClient, "body"}, {component.NSClient, "subject"}, {component.NSClient, "status"}, {nsNick, "nick"},
	{nsMUCUser, "reason"}, {"http://jabber.org/protocol/muc#admin", "reason"}, {"http://jabber.org/protocol/muc#owner", "reason"},
	{nsVCard, "NICKNAME"}, {nsVCard4, "nickname"},
	{"urn:xmpp:spoiler:0", "spoiler"}, {"urn:xmpp:message-moderate:0", "reason"}, {"urn:xmpp:message-moderate:1", "reason"}, {"urn:xmpp:message-retract:1", "reason"},
}

// isAuthoredAttr tells of an attribute with such a text: the reason of an invitation (XEP-0249).
func isAuthoredAttr(e *component.Element, a component.Attr) bool {
	return e.Is("jabber:x:conference", "x") && a.Name.Space == "" && a.Name.Local == "reason"
}

func isAuthored(e *component.Element) bool {
	if e.Name.Space == nsXHTML { // a formatted body
		return true
	}
	for _, a := range authored {
		if e.Is(a.space, a.local) {
			return true
		}
	}
	return false
}
