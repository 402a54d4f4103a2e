package onionroute

import (
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// clocks withholds the time, and since when somebody is idle.
func clocks(_ *guard, s *component.Stanza) finding {
	if answers(s, clockSpaces...) {
		return withheld(s, stanza.ServiceUnavailable)
	}
	if s.Kind == component.IQ {
		return finding{}
	}
	return changed(strip(&s.Nodes, in(nsIdle, nsLast)))
}

// clocksIn refuses questions for the time, and gives answers the id of the question.
func clocksIn(gd *guard, s *component.Stanza) finding {
	if s.Kind != component.IQ || s.IsRequest() {
		return refuses(clockSpaces...)(gd, s)
	}
	return changed(gd.ids.show(s, gd.base(s.From)))
}

// hideID gives a request an id that says nothing: ejabberd's are made of the exact time,
// and others' have a form that tells what software they are of.
func hideID(gd *guard, s *component.Stanza) finding {
	if !s.IsRequest() {
		return finding{}
	}
	gd.ids.hide(s, gd.m.At(s.To.Domainpart()), s.From.Bare().String())
	return changed(true)
}

// discoIn refuses questions for external services, and for what a client has to offer, and
// answers what is asked of a native host.
func discoIn(gd *guard, s *component.Stanza) finding {
	switch {
	case asks(s, nsExternal), asks(s, component.NSDiscoItem) && gd.isPerson(s.To) && s.To.Resourcepart() != "":
		return unavailable()
	case asks(s, component.NSDiscoInfo, component.NSDiscoItem) && gd.isPart(s.To):
		return gd.answerForHost(s)
	}
	return finding{}
}

// discoOut reduces what is told of accounts, by which the host's software can be known,
// and removes contact addresses.
func discoOut(gd *guard, s *component.Stanza) finding {
	switch q := s.Payload(); {
	case answers(s, nsExternal):
		return withheld(s, stanza.ServiceUnavailable)
	case answers(s, component.NSDiscoInfo) && gd.isPart(s.From):
		return plainPart(s)
	case !gd.isPerson(s.From) || s.From.Resourcepart() != "":
		return changed(strip(&s.Nodes, form(nsServer157)))
	case answers(s, component.NSDiscoInfo):
		s.Nodes = []component.Node{accountInfo(q.AttrValue("node")).Node()}
		return changed(true)
	case answers(s, component.NSDiscoItem):
		return changed(strip(&q.Nodes, func(e *component.Element) bool { return !isOpenNode(e.AttrValue("node")) }))
	}
	return finding{}
}

// miscIQ refuses what only the user's own clients and server have business with. Rooms
// have some of it themselves; those in them have not. A native host only tells if it is there.
func miscIQ(gd *guard, s *component.Stanza) finding {
	switch {
	case gd.m.Services[s.To.Domainpart()] != "" && !gd.isOccupant(s.To):
		return finding{}
	case gd.isItself(s.To) && s.IsRequest() && !asks(s, component.NSDiscoInfo, component.NSDiscoItem, component.NSPing):
		return unavailable()
	}
	return refuses(nsCommands, "http://jabber.org/protocol/rc", "http://jabber.org/protocol/http-auth", "urn:xmpp:push:0",
		"jabber:iq:register", "jabber:iq:private")(gd, s)
}
