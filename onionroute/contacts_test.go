package onionroute

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

func presence(from, to, typ string) *component.Stanza {
	return &component.Stanza{Kind: component.Presence, Type: typ, From: jid.MustParse(from), To: jid.MustParse(to)}
}

// A contact whose server vanishes goes off-line after a while, is probed when it is
// back, and gets the newest presence that was for it.
func TestContactsOfVanishedServer(t *testing.T) {
	w, a, b, bob, alice := two(t, quick, func(s *times) { s.grace, s.tick = 300*time.Millisecond, 20*time.Millisecond })
	ctx := context.Background()
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/phone", alice, "")))
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/gone", alice, "")))
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/gone", alice, "unavailable")))
	for range 3 {
		a.receive1(t)
	}
	w.vanish(b)
	got := a.receive1(t)
	assert.Equal(t, "unavailable", got.Type)
	assert.Equal(t, bob, got.From.Bare().String())
	assert.Equal(t, "alice@a.example", got.To.String())
	// Of what happens meanwhile, the newest is kept.
	require.Eventually(t, func() bool {
		err := a.HandleStanza(ctx, (&component.Stanza{Kind: component.IQ, Type: "get", ID: "x", From: jid.MustParse("alice@a.example/x"), To: jid.MustParse(bob)}).Add(component.NewElement(component.NSPing, "ping")))
		return err != nil
	}, 5*time.Second, 10*time.Millisecond)
	for _, show := range []string{"away", "dnd"} {
		s := presence("alice@a.example/x", bob, "")
		require.NoError(t, a.HandleStanza(ctx, s.Add(component.NewElement(component.NSClient, "show", component.Text(show)))))
	}
	w.appear(b)
	a.TryAgain()
	types := map[string]string{}
	for range 2 {
		got := b.receive1(t)
		require.Equal(t, component.Presence, got.Kind, got)
		types[got.Type] = got.Child(component.NSClient, "show").Text()
		assert.Equal(t, "bob@b.example", got.To.String())
	}
	assert.Equal(t, map[string]string{"": "dnd", "probe": ""}, types)
	b.silent(t)
	a.empties(t)
	b.empties(t)
}

// Also after a crash it is known who was on-line.
func TestContactsAfterCrash(t *testing.T) {
	_, a, b, bob, alice := two(t, quick, func(s *times) { s.grace = 300 * time.Millisecond })
	require.NoError(t, b.HandleStanza(context.Background(), presence("bob@b.example/phone", alice, "")))
	a.receive1(t)
	require.Eventually(t, func() bool { known, err := newContacts(a.spool).load(); return err == nil && len(known) == 1 }, 5*time.Second, time.Millisecond)
	a.crash(t)
	b.stop()
	a.start()
	got := a.receive1(t)
	assert.Equal(t, "unavailable", got.Type)
	assert.Equal(t, bob, got.From.Bare().String())
}

// A peer that was away for long is tried again soon when somebody writes to it.
func TestWritingTriesAgain(t *testing.T) {
	w, a, b, bob, _ := two(t, func(s *times) { s.retryMin, s.retryMax, s.talk = time.Hour, time.Hour, 10*time.Millisecond })
	ctx := context.Background()
	w.vanish(b)
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "waits")))
	require.Eventually(t, func() bool {
		ping := &component.Stanza{Kind: component.IQ, Type: "get", ID: "x", From: jid.MustParse("alice@a.example/x"), To: jid.MustParse(bob)}
		return a.HandleStanza(ctx, ping.Add(component.NewElement(component.NSPing, "ping"))) != nil
	}, 5*time.Second, 10*time.Millisecond, "it is known to be away")
	w.appear(b)
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "are you there?")))
	for _, want := range []string{"waits", "are you there?"} {
		got := b.receive1(t)
		for got.Kind != component.Message {
			got = b.receive1(t)
		}
		assert.Equal(t, want, got.Body())
	}
	a.empties(t)
}
