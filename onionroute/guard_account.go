package onionroute

import (
	"slices"
	"strings"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const (
	nsPubsub  = "http://jabber.org/protocol/pubsub" // XEP-0060
	nsEvent   = "http://jabber.org/protocol/pubsub#event"
	nsOwner   = "http://jabber.org/protocol/pubsub#owner"
	nsVCard   = "vcard-temp"                       // XEP-0054
	nsVCard4  = "urn:ietf:params:xml:ns:vcard-4.0" // XEP-0292
	nsUpdate  = "vcard-temp:x:update"              // XEP-0153
	nsNick    = "http://jabber.org/protocol/nick"  // XEP-0172
	nsOMEMO   = "urn:xmpp:omemo:"                  // XEP-0384
	nsAxolotl = "eu.siacs.conversations.axolotl"
)

// isOpenNode tells of a PEP node that peers may read (XEP-0163): keys, and the nickname.
func isOpenNode(node string) bool { return node == nsNick || isOMEMONode(node) }

func isOMEMONode(node string) bool {
	return strings.HasPrefix(node, nsAxolotl+".") || strings.HasPrefix(node, "urn:xmpp:omemo:2:")
}

// nodes are the PEP nodes that a payload or event is about.
func nodes(e *component.Element) (names []string) {
	if n := e.AttrValue("node"); n != "" {
		names = append(names, n)
	}
	for _, c := range e.Nodes {
		if n := c.Element.AttrValue("node"); n != "" {
			names = append(names, n)
		}
	}
	return names
}

// only tells if a payload or event is about nodes, and all of them are open.
func only(e *component.Element, isOpen func(node string) bool) bool {
	n := nodes(e)
	return len(n) > 0 && !slices.ContainsFunc(n, func(node string) bool { return !isOpen(node) })
}

// pepIn refuses what is about other nodes, or not at the account, where they are.
func pepIn(gd *guard, s *component.Stanza) finding {
	switch {
	case !gd.isPerson(s.To):
	case asks(s, nsPubsub, nsOwner) && (!only(s.Payload(), isOpenNode) || s.To.Resourcepart() != ""):
		return notFound()
	case asks(s, component.NSDiscoInfo, component.NSDiscoItem) && s.To.Resourcepart() == "":
		if node := s.Payload().AttrValue("node"); node != "" && !isOpenNode(node) {
			return notFound()
		}
	}
	return finding{}
}

// pepOut withholds what is of other nodes.
func pepOut(gd *guard, s *component.Stanza) finding {
	switch {
	case !gd.isPerson(s.From):
		return finding{}
	case answers(s, nsPubsub, nsOwner) && !only(s.Payload(), isOpenNode):
		return withheld(s, stanza.ItemNotFound)
	case s.Kind != component.Message:
		return finding{}
	}
	hit := strip(&s.Nodes, func(e *component.Element) bool {
		return e.Is(nsEvent, "event") && !only(e, isOpenNode)
	})
	return changed(gd.isAccount(s.From) && plainEvent(s) || hit)
}

// plainEvent leaves of an event that a host sends what every host would send: one gives it an
// id and says who published, and another says whom to reply to.
func plainEvent(s *component.Stanza) (hit bool) {
	if s.Child(nsEvent, "event") == nil || s.Child(component.NSClient, "body") != nil {
		return false
	}
	hit = s.ID != ""
	s.ID = ""
	return strip(&s.Nodes, func(e *component.Element) bool {
		if _, ok := e.LookupAttr("publisher"); ok && e.Is(nsEvent, "item") {
			e.RemoveAttr("publisher")
			hit = true
		}
		return e.Is("http://jabber.org/protocol/address", "addresses")
	}) || hit
}

// vcardOut leaves of people's the nickname and a photo that is in the vCard itself.
func vcardOut(gd *guard, s *component.Stanza) finding {
	hit := false
	reduce := func(of *component.Element, keep func(*component.Element) bool) {
		before := len(of.Nodes)
		of.Nodes = slices.DeleteFunc(of.Nodes, func(n component.Node) bool { return n.Element != nil && !keep(n.Element) })
		hit = hit || len(of.Nodes) < before
	}
	switch {
	case asks(s, nsVCard): // of a room, which has it from its people: what is taken out would be lost for all (XEP-0486)
		return finding{}
	case !gd.isPerson(s.From) && !(gd.isPart(s.From) && s.From.Localpart() == ""):
		return finding{}
	}
	has(s.Nodes, func(e *component.Element) bool {
		switch {
		case e.Is(nsUpdate, "x"): // empty, it says that there may be a photo (XEP-0153 §4.1)
			reduce(e, func(*component.Element) bool { return false })
		case e.Is(nsVCard, "vCard"):
			reduce(e, func(c *component.Element) bool { return c.Is(nsVCard, "NICKNAME") || c.Is(nsVCard, "PHOTO") })
		case e.Is(nsVCard, "PHOTO"):
			reduce(e, func(c *component.Element) bool { return c.Is(nsVCard, "TYPE") || c.Is(nsVCard, "BINVAL") })
		case e.Is(nsVCard4, "vcard"):
			reduce(e, func(c *component.Element) bool { return c.Is(nsVCard4, "nickname") || isInline(c) })
		}
		return false
	})
	return changed(hit)
}

// isInline tells of a vCard4 photo that is no link.
func isInline(e *component.Element) bool {
	return e.Is(nsVCard4, "photo") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(e.Child(nsVCard4, "uri").Text())), "data:")
}

// omemoLabels removes what people call their devices (XEP-0384 §5.3.1).
func omemoLabels(_ *guard, s *component.Stanza) finding {
	hit := false
	has(s.Nodes, func(e *component.Element) bool {
		if e.Name.Local != "device" || !isIn(e.Name.Space, []string{nsOMEMO}) {
			return false
		}
		for _, a := range []string{"label", "labelsig"} {
			if _, ok := e.LookupAttr(a); ok {
				e.RemoveAttr(a)
				hit = true
			}
		}
		return false
	})
	return changed(hit)
}
