package onionroute

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// An error crosses without words, and the gateway of who reads it has some for it. A room that
// is not there and one that does not let in read alike.
func TestWords(t *testing.T) {
	_, a, b, bob, _ := two(t)
	ctx, onion := context.Background(), "@onion.a.example"
	room := `talk\40rooms.` + b.m.Identity + onion
	for _, c := range []struct {
		s    *component.Stanza
		err  stanza.Condition
		want string
	}{
		{joins("alice@a.example/x", room+"/nick"), stanza.RegistrationRequired, noEntry},
		{joins("alice@a.example/x", room+"/nick"), stanza.NotAllowed, noEntry},
		{joins("alice@a.example/x", room+"/nick"), stanza.ItemNotFound, noEntry},
		{joins("alice@a.example/x", room+"/nick"), stanza.Conflict, "choose another"},
		{presence("alice@a.example", bob, "subscribe"), stanza.ServiceUnavailable, nobody},
		{message("alice@a.example/x", bob, "hi"), stanza.ServiceUnavailable, noReader},
		{groupchat("alice@a.example/x", room, "hi"), stanza.Forbidden, noVoice},
		{groupchat("alice@a.example/x", room, "hi"), stanza.UnexpectedRequest, ""},
		{ping("alice@a.example/x", bob), stanza.ServiceUnavailable, ""},
		// Who is no user of the host reads nothing of ours.
		{message("room@rooms.a.example/nick", bob, "hi"), stanza.ServiceUnavailable, ""},
	} {
		require.NoError(t, a.HandleStanza(ctx, c.s))
		asked := b.receive1(t)
		require.NoError(t, b.HandleStanza(ctx, asked.Error(component.NewError(stanza.Cancel, c.err, "b.example says no"))))
		got := a.receive1(t)
		require.Equal(t, c.err, got.StanzaError().Condition, got)
		text := got.StanzaError().Text["en"]
		if c.want == "" {
			assert.Empty(t, text, got)
		}
		assert.Contains(t, text, c.want, got)
		assert.NotContains(t, text, "b.example")
	}
	a.empties(t)
}

// A server that is no Allium has words of its own, which stay.
func TestWordsOfOthers(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	s := &component.Stanza{Kind: component.Message, From: jid.MustParse("eve@" + x.name), To: jid.MustParse("alice@" + a.m.Identity), Type: "error"}
	e := message("alice@a.example", "eve@x.example", "hi").Error(component.NewError(stanza.Cancel, stanza.ServiceUnavailable, "Not today."))
	s.Nodes = e.Nodes
	r.write(s.String())
	assert.Equal(t, map[string]string{"en": "Not today."}, a.receive1(t).StanzaError().Text)
}
