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
	{component.NSClient, "thread"}, {nsMUC, "password"}, {nsMUCUser, "password"}, {"jabber:iq:register", "username"},
	{nsMUCUser, "reason"}, {"http://jabber.org/protocol/muc#admin", "reason"}, {"http://jabber.org/protocol/muc#owner", "reason"},
	{nsVCard, "NICKNAME"}, {nsVCard4, "nickname"},
	{"urn:xmpp:spoiler:0", "spoiler"}, {"urn:xmpp:message-moderate:0", "reason"}, {"urn:xmpp:message-moderate:1", "reason"}, {"urn:xmpp:message-retract:1", "reason"},
}

// references are in the namespaces of what has the id of a message, which passes with that.
var references = []string{"urn:xmpp:receipts", "urn:xmpp:chat-markers:", "urn:xmpp:message-correct:", "urn:xmpp:message-attaching:",
	"urn:xmpp:reactions:", "urn:xmpp:reply:", "urn:xmpp:message-retract:", "urn:xmpp:message-moderate:", "urn:xmpp:fasten:"}

// isAuthored tells of an element, which is in another one, with such a text.
func isAuthored(e, in *component.Element) bool {
	if e.Name.Space == nsXHTML { // a formatted body
		return true
	}
	if in != nil && in.Is(nsData, "field") && slices.Contains([]string{"muc#register_roomnick", "muc#roomconfig_roomsecret"}, in.AttrValue("var")) {
		return true
	}
	for _, a := range authored {
		if e.Is(a.space, a.local) {
			return true
		}
	}
	return false
}

// isAuthoredAttr tells of an attribute with such a text, or an id or a nickname: what is in the
// header of stanzas too.
func isAuthoredAttr(e *component.Element, a component.Attr, in *component.Element) bool {
	switch {
	case a.Name.Space != "":
		return false
	case e.Is("jabber:x:conference", "x"): // XEP-0249
		return a.Name.Local == "reason"
	case e.Is(component.NSClient, "thread"):
		return a.Name.Local == "parent"
	case isIn(e.Name.Space, []string{nsMUCUser, nsMUC + "#admin"}):
		return a.Name.Local == "nick"
	case e.Is(component.NSDiscoInfo, "identity"): // XEP-0045 §6.6
		return a.Name.Local == "name" && in != nil && in.AttrValue("node") == "x-roomuser-item"
	}
	return a.Name.Local == "id" && isIn(e.Name.Space, references)
}

// sift gives f all values in attributes and nodes but what people write, and puts what it
// returns in their place. What it does not keep goes, with the element that it is in. It tells if
// anything has changed.
func (gd *guard) sift(attrs *[]component.Attr, nodes *[]component.Node, f func(v string) (now string, keep bool)) (hit bool) {
	look := func(v *string) bool {
		if *v == "" || *v == component.NSXMLNS {
			return true
		}
		occupant, nick := gd.cutNick(*v)
		now, keep := f(occupant)
		hit = hit || !keep || now != occupant
		*v = now + nick
		return keep
	}
	lookAt := func(a *component.Attr) bool { return look(&a.Value) && look(&a.Name.Space) }
	var sift func(nodes *[]component.Node, in *component.Element)
	sift = func(nodes *[]component.Node, in *component.Element) {
		*nodes = slices.DeleteFunc(*nodes, func(n component.Node) bool {
			e := n.Element
			if e == nil {
				return false
			}
			sift(&e.Nodes, e)
			authored, keep := isAuthored(e, in), true
			e.Attr = deleteEach(e.Attr, func(a *component.Attr) bool {
				fine := isAuthoredAttr(e, *a, in) || lookAt(a)
				keep = keep && fine
				return !fine
			})
			if authored {
				return false
			}
			if text := e.Text(); text != "" {
				now := text
				keep = look(&now) && keep
				if now != text && !slices.ContainsFunc(e.Nodes, isElement) {
					e.SetText(now)
				}
			}
			return !look(&e.Name.Space) || !keep
		})
	}
	*attrs = deleteEach(*attrs, func(a *component.Attr) bool { return !lookAt(a) })
	sift(nodes, nil)
	return hit
}

// wholeFields takes out of e, if it is a form that is to be filled in or was, each field of which a
// value is about to be taken out. By submitting the form that would be taken out for good, as an
// owner of a room takes out the other owners; a field that is not there stays as it is (XEP-0045 §10.2).
func wholeFields(e *component.Element, goes func(value, field *component.Element) bool) (hit bool) {
	if typ := e.AttrValue("type"); !e.Is(nsData, "x") || typ != "form" && typ != "submit" {
		return false
	}
	before := len(e.Nodes)
	e.Nodes = slices.DeleteFunc(e.Nodes, func(n component.Node) bool {
		return n.Element != nil && n.Element.Is(nsData, "field") && slices.ContainsFunc(n.Element.Nodes, func(v component.Node) bool {
			return v.Element != nil && v.Element.Is(nsData, "value") && goes(v.Element, n.Element)
		})
	})
	return len(e.Nodes) < before
}

// wholeForms does that at any depth, for values that sift is about to take out.
func wholeForms(nodes *[]component.Node, goes func(v string) bool) (hit bool) {
	walk(nodes, func(e *component.Element) bool {
		hit = wholeFields(e, func(value, field *component.Element) bool { return !isAuthored(value, field) && goes(value.Text()) }) || hit
		return true
	})
	return hit
}

func deleteEach(attrs []component.Attr, drop func(*component.Attr) bool) []component.Attr {
	kept := attrs[:0]
	for i := range attrs {
		if !drop(&attrs[i]) {
			kept = append(kept, attrs[i])
		}
	}
	clear(attrs[len(kept):])
	return kept
}

func isElement(n component.Node) bool { return n.Element != nil }

// cutNick cuts the nickname from the address of an occupant of a room here, or from a URI of it.
func (gd *guard) cutNick(v string) (occupant, nick string) {
	if i := strings.Index(v, "."+gd.m.Identity+"/"); i >= 0 {
		i += len(gd.m.Identity) + 1
		return v[:i], v[i:]
	}
	return v, ""
}
