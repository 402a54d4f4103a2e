package onionroute

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// When the host is there again, those who are on-line to peers are asked if they are there. Who
// is not goes off-line to whoever was told otherwise, also after a restart of ours; who is, and
// cannot be pinged, stays.
func TestRecheck(t *testing.T) {
	_, a, b, bob, alice := two(t, quick)
	ctx := context.Background()
	befriend(t, a, b, bob)
	shown := map[string]string{}
	for _, client := range []string{"phone", "desk", "old"} {
		require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/"+client, alice, "")))
		shown[client] = a.receive1(t).From.String()
	}
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/left", alice, "")))
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/left", alice, "unavailable")))
	a.receive1(t)
	a.receive1(t)
	b.stop()
	b.start()
	b.Recheck()
	asked := map[string]*component.Stanza{}
	for len(asked) < 3 {
		if s := b.receive1(t); s.Kind == component.IQ { // and not a probe, as it was away
			asked[s.To.Resourcepart()] = s
		}
	}
	require.NotContains(t, asked, "left")
	answer := func(s *component.Stanza) { require.NoError(t, b.HandleStanza(ctx, s)) }
	unavailable := func(s *component.Stanza) *component.Stanza {
		return s.Error(component.NewError(stanza.Cancel, stanza.ServiceUnavailable, ""))
	}
	answer(asked["desk"].Result())
	answer(unavailable(asked["old"]))
	message := func() *component.Stanza {
		s := b.receive1(t)
		for s.Kind == component.Presence {
			s = b.receive1(t)
		}
		return s
	}
	again := message()
	assert.Equal(t, []string{"groupchat", "bob@b.example/old"}, []string{again.Type, again.To.String()})
	answer(unavailable(asked["phone"]))
	answer(unavailable(message()))
	got := a.receive1(t)
	assert.Equal(t, []string{"unavailable", shown["phone"], "alice@a.example"}, []string{got.Type, got.From.String(), got.To.String()})
	a.silent(t)
}

// Strangers who use an alias are asked by that.
func TestRecheckStrangers(t *testing.T) {
	a, b := aliased(t, true)
	ctx := context.Background()
	require.NoError(t, a.HandleStanza(ctx, presence("carol@jabber.org/phone", "talk@hidden.a.example/carol", "")))
	shown := b.receive1(t).From.String()
	a.stop()
	a.start()
	a.Recheck()
	for _, kind := range []component.Kind{component.IQ, component.Message} {
		asked := a.receive1(t)
		assert.Equal(t, []string{"hidden.a.example", "carol@jabber.org/phone"}, []string{asked.From.String(), asked.To.String()})
		assert.Equal(t, kind, asked.Kind)
		require.NoError(t, a.HandleStanza(ctx, asked.Error(component.NewError(stanza.Cancel, stanza.ServiceUnavailable, ""))))
	}
	got := b.receive1(t)
	assert.Equal(t, []string{"unavailable", shown, "talk@rooms.b.example/carol"}, []string{got.Type, got.From.String(), got.To.String()})
	a.silent(t)
}

// When we are attached again, the host is asked for the presence of who has contacts that see it:
// they may have come meanwhile. Where there is nothing to tell, the contacts have not asked for that;
// later words of the same are the account's own. For others the host is not asked: Prosody denies
// the request of a contact that waits for its user then.
func TestRecheckProbes(t *testing.T) {
	_, a, b, bob, alice := two(t, quick)
	ctx := context.Background()
	at := func(name string) string { return name + `\40` + b.m.Identity + "@onion.a.example" }
	says := func(to, typ string) {
		require.NoError(t, a.HandleStanza(ctx, presence("alice@a.example", to, typ)))
		assert.Equal(t, typ, b.receive1(t).Type)
	}
	says(bob, "subscribe")
	says(at("carol"), "subscribed")
	says(at("asked"), "subscribe")
	says(at("denied"), "subscribed")
	says(at("denied"), "unsubscribed")
	says(at("left"), "subscribed")
	require.NoError(t, b.HandleStanza(ctx, presence("left@b.example", alice, "unsubscribe")))
	assert.Equal(t, "unsubscribe", a.receive1(t).Type)
	says(at("room")+"/alice", "")
	says(bob, "")
	a.stop()
	a.start()
	a.Recheck()
	asked := map[string]bool{}
	for range 2 {
		s := a.receive1(t)
		assert.Equal(t, []string{"probe", "alice@a.example"}, []string{s.Type, s.To.String()})
		asked[s.From.String()] = true
	}
	require.Equal(t, map[string]bool{bob: true, at("carol"): true}, asked)
	require.NoError(t, a.HandleStanza(ctx, presence("alice@a.example", at("carol"), "unavailable")))
	require.NoError(t, a.HandleStanza(ctx, presence("alice@a.example/x", bob, "")))
	got := b.receive1(t)
	assert.Equal(t, []string{"", alice}, []string{got.Type, got.From.Bare().String()})
	says(at("carol"), "unavailable")
	a.silent(t)
	b.silent(t)
	a.Recheck()
	for range 2 {
		assert.Equal(t, "probe", a.receive1(t).Type)
	}
	says(bob, "unsubscribed")
}

// Where the link to the host comes and goes, what was still to be asked before is not asked any
// more: else more and more would wait for the host to take it.
func TestRecheckOnceMore(t *testing.T) {
	_, a, b, bob, _ := two(t, quick)
	require.NoError(t, a.HandleStanza(t.Context(), presence("alice@a.example/x", bob, "")))
	b.receive1(t)
	a.toUs = make(chan *component.Stanza)
	for range 20 {
		a.Recheck()
	}
	n := 2
	a.receive1(t)
	a.receive1(t)
	for more := true; more; {
		select {
		case <-a.toUs:
			n++
		case <-time.After(50 * time.Millisecond):
			more = false
		}
	}
	assert.Less(t, n, 10, "each time two are asked")
}
