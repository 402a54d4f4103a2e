package muc

import (
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

const (
	witches = "coven@" + domain
	first1  = witches + "/firstwitch"
	second  = witches + "/secondwitch"
	third   = witches + "/thirdwitch"
	hecate  = "hecate@shakespeare.lit/broom" // who is not in the room
)

// gather makes the room coven with crone1 as owner firstwitch and crone2 and hag as
// secondwitch and thirdwitch in it, configured by fields.
func (w *world) gather(fields ...string) {
	w.t.Helper()
	w.open(crone1, "coven", "firstwitch")
	if len(fields) > 0 {
		require.Equal(w.t, "result", to(w.configure(crone1, "coven", fields...), crone1)[0].Type)
	}
	require.NotContains(w.t, summary(w.enter(crone2, "coven", "secondwitch"), crone2), "error")
	require.NotContains(w.t, summary(w.enter(hag, "coven", "thirdwitch"), hag), "error")
}

// presence sends presence; typ "" is available.
func (w *world) presence(who, to, typ, payload string) []*component.Stanza {
	w.t.Helper()
	if typ != "" {
		typ = "type='" + typ + "'"
	}
	return w.send("<presence id='p' from='" + who + "' to='" + to + "' " + typ + ">" + payload + "</presence>")
}

// join enters a room with something in the x element.
func (w *world) join(who, to, inX string) []*component.Stanza {
	w.t.Helper()
	return w.presence(who, to, "", "<x xmlns='"+NSMUC+"'>"+inX+"</x>")
}

// message sends a message; typ "" is normal.
func (w *world) message(who, to, typ, payload string) []*component.Stanza {
	w.t.Helper()
	if typ != "" {
		typ = "type='" + typ + "'"
	}
	return w.send("<message id='m' from='" + who + "' to='" + to + "' " + typ + ">" + payload + "</message>")
}

// iq sends an IQ.
func (w *world) iq(who, to, typ, id, payload string) []*component.Stanza {
	w.t.Helper()
	return w.send("<iq type='" + typ + "' id='" + id + "' from='" + who + "' to='" + to + "'>" + payload + "</iq>")
}

// summary says in short what somebody got, in order: the kind, the type, the nickname or
// "room" or "service", the condition of an error, role and status codes of presence, and
// the body of a message.
func summary(stanzas []*component.Stanza, who string) string {
	var all []string
	for _, s := range to(stanzas, who) {
		from := s.From.Resourcepart()
		switch {
		case s.From.Localpart() == "":
			from = "service"
		case from == "":
			from = "room"
		}
		parts := []string{s.Kind.String(), s.Type, from, condition(s)}
		if s.Kind == component.Presence && s.Type != "error" && s.Child(NSUser, "x") != nil {
			parts = append(parts, item(s).AttrValue("role"))
		}
		parts = append(parts, codes(s)...)
		if s.Child(component.NSClient, "subject") != nil {
			parts = append(parts, fmt.Sprintf("subject %q", s.Child(component.NSClient, "subject").Text()))
		}
		if s.Body() != "" {
			parts = append(parts, s.Body())
		}
		all = append(all, strings.Join(strings.Fields(strings.Join(parts, " ")), " "))
	}
	return strings.Join(all, "\n")
}

// features are those in an answer to disco#info.
func featuresIn(s *component.Stanza) []string {
	var all []string
	for _, n := range s.Payload().Nodes {
		if n.Element.Is(component.NSDiscoInfo, "feature") {
			all = append(all, n.Element.AttrValue("var"))
		}
	}
	return all
}

// itemJIDs are the JIDs of the items in an answer to disco#items.
func itemJIDs(s *component.Stanza) []string {
	all := []string{}
	for _, n := range s.Payload().Nodes {
		if n.Element.Is(component.NSDiscoItem, "item") {
			all = append(all, n.Element.AttrValue("jid"))
		}
	}
	return all
}

const (
	discoInfo  = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
	discoItems = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
	pingQuery  = "<ping xmlns='urn:xmpp:ping'/>"
)
