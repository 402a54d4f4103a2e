package onionroute

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// What Config.Stranger wants goes to a stranger, and the answer back, once; nothing else does,
// in either direction.
func TestStranger(t *testing.T) {
	w := newWire()
	b := startServer(t, w, "b.example")
	a := startServerWith(t, w, "a.example", func(c *Config) {
		c.Stranger = func(s *component.Stanza) bool {
			return s.Child("urn:x", "wanted") != nil && s.To.String() == "carol@jabber.org" && s.From.Localpart() == `bob\40`+b.m.Identity
		}
	})
	ctx := context.Background()
	carol := `carol\5c40jabber.org\40` + a.m.Identity + "@onion.b.example"
	bob := `bob\40` + b.m.Identity + "@onion.a.example/desk"
	ask := func(from, payload string) {
		require.NoError(t, b.HandleStanza(ctx, (&component.Stanza{Kind: component.IQ, Type: "get", ID: "q", From: name(from), To: name(carol)}).
			Add(component.NewElement("urn:x", payload))))
	}
	ask("bob@b.example/desk", "wanted")
	got := a.receive1(t)
	assert.Equal(t, "carol@jabber.org", got.To.String())
	asker := got.From
	assert.Equal(t, bob[:len(bob)-len("/desk")], asker.Bare().String())

	answer := func(from, id string) error {
		return a.HandleStanza(ctx, &component.Stanza{Kind: component.IQ, Type: "result", ID: id, From: name(from), To: asker})
	}
	forbidden := stanza.Error{Condition: stanza.Forbidden}
	assert.ErrorIs(t, answer("carol@jabber.org", "another"), forbidden)
	assert.ErrorIs(t, answer("carol@jabber.org/x", got.ID), forbidden)
	assert.ErrorIs(t, answer("mallory@jabber.org", got.ID), forbidden)
	require.NoError(t, answer("carol@jabber.org", got.ID))
	back := b.receive1(t)
	assert.Equal(t, "result", back.Type)
	assert.Equal(t, "q", back.ID)
	assert.Equal(t, carol, back.From.String())
	assert.ErrorIs(t, answer("carol@jabber.org", got.ID), forbidden)
	assert.ErrorIs(t, a.HandleStanza(ctx, message("carol@jabber.org", bob, "hi")), forbidden)

	ask("bob@b.example", "unwanted")
	assert.Equal(t, stanza.ItemNotFound, b.receive1(t).StanzaError().Condition)
	ask("eve@b.example", "wanted")
	assert.Equal(t, stanza.ItemNotFound, b.receive1(t).StanzaError().Condition)
	require.NoError(t, b.HandleStanza(ctx, message("bob@b.example", carol, "hi").Add(component.NewElement("urn:x", "wanted"))))
	assert.Equal(t, stanza.ItemNotFound, b.receive1(t).StanzaError().Condition)
	a.silent(t)
}
