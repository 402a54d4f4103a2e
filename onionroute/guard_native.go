package onionroute

import (
	"slices"
	"strings"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A native host itself is at our name, and so are its rooms and other services. Software
// writes its name into what it tells of them.

// isPart tells of what a native host has at our name that is no person: itself, its
// services, and rooms in them.
func (gd *guard) isPart(j jid.JID) bool { return gd.m.ofHost(j.Domainpart()) && !gd.isPerson(j) }

// isItself tells of the address of a native host itself.
func (gd *guard) isItself(j jid.JID) bool {
	return gd.m.Native && j.Domainpart() == gd.m.Identity && j.Localpart() == ""
}

// answerForHost answers questions for what a native host is and has, in its place.
func (gd *guard) answerForHost(s *component.Stanza) finding {
	node := s.Payload().AttrValue("node")
	switch {
	case node == nsCommands, node != "" && gd.isItself(s.To):
		return notFound()
	case !gd.isItself(s.To):
		return finding{}
	case asks(s, component.NSDiscoItem):
		return finding{hit: true, drop: true, say: s.Result(gd.hostItems())}
	}
	q := info("server", "im", "", []string{component.NSDiscoInfo, component.NSDiscoItem, component.NSPing})
	return finding{hit: true, drop: true, say: s.Result(q)}
}

// hostItems are the services of a native host that the admin has named.
func (gd *guard) hostItems() *component.Element {
	q := component.NewElement(component.NSDiscoItem, "query")
	services := slices.DeleteFunc(slices.Sorted(slices.Values(gd.m.Domains)), func(d string) bool {
		return d == gd.m.Identity || !gd.m.ofHost(d)
	})
	for _, d := range services {
		q.Add(component.NewElement(component.NSDiscoItem, "item").With("jid", d))
	}
	return q
}

// partFeatures are what peers may know that a service or a room can do. One that ends in _ is
// the beginning of several (XEP-0045 §15.4).
var partFeatures = []string{component.NSDiscoInfo, component.NSDiscoItem, component.NSPing, nsMUC, "muc_", nsMUC + "#request",
	nsMUC + "#self-ping-optimization", nsPubsub, nsVCard, "urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:sid:0",
	"urn:xmpp:occupant-id:0", "urn:xmpp:message-moderate:0", "urn:xmpp:message-moderate:1", "urn:xmpp:message-retract:0", "urn:xmpp:message-retract:1"}

// plainPart leaves of what a service or a room is what any software would tell of it, in
// alphabetical order. A room keeps its name, which people gave it.
func plainPart(s *component.Stanza) finding {
	q, before := s.Payload(), s.String()
	var features []string
	q.Nodes = slices.DeleteFunc(q.Nodes, func(n component.Node) bool {
		switch e := n.Element; {
		case e == nil:
			return true
		case e.Is(component.NSDiscoInfo, "identity"):
			if s.From.Localpart() == "" {
				e.RemoveAttr("name")
			}
			return false
		case e.Is(component.NSDiscoInfo, "feature"):
			if f := e.AttrValue("var"); isPartFeature(f) {
				features = append(features, f)
			}
			return true
		case form("http://jabber.org/protocol/muc#roominfo")(e):
			plainForm(e)
			return false
		default:
			return true
		}
	})
	forms := slices.IndexFunc(q.Nodes, func(n component.Node) bool { return n.Element.Is(nsData, "x") })
	if forms < 0 {
		forms = len(q.Nodes)
	}
	slices.Sort(features)
	for _, f := range slices.Backward(slices.Compact(features)) {
		q.Nodes = slices.Insert(q.Nodes, forms, component.NewElement(component.NSDiscoInfo, "feature").With("var", f).Node())
	}
	return changed(s.String() != before)
}

// plainForm leaves the fields of XEP-0045 §15.5.4, without what the software says in its own
// words.
func plainForm(form *component.Element) {
	form.Nodes = slices.DeleteFunc(form.Nodes, func(n component.Node) bool {
		e := n.Element
		if e == nil || !e.Is(nsData, "field") {
			return true
		}
		e.RemoveAttr("label")
		name := e.AttrValue("var")
		return name != "FORM_TYPE" && !strings.HasPrefix(name, "muc#roominfo_") && !strings.HasPrefix(name, "muc#roomconfig_")
	})
}

func isPartFeature(f string) bool {
	return slices.ContainsFunc(partFeatures, func(p string) bool {
		return f == p || strings.HasSuffix(p, "_") && strings.HasPrefix(f, p)
	})
}
