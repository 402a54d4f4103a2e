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

// joins is presence that asks to enter a room.
func joins(from, to string) *component.Stanza {
	return presence(from, to, "").Add(component.NewElement(nsMUC, "x").Add(component.NewElement(nsMUC, "password", component.Text("secret"))))
}

// groupchat is what is said in a room.
func groupchat(from, room, body string) *component.Stanza {
	s := message(from, room, body)
	s.Type = "groupchat"
	return s
}

// assertNotEntered asserts that a stanza tells a client that it did not get into a room.
func assertNotEntered(t *testing.T, s *component.Stanza, room string) {
	t.Helper()
	require.Equal(t, component.Presence, s.Kind, s)
	assert.Equal(t, "error", s.Type)
	assert.Equal(t, room, s.From.String(), "with the nickname, from which clients know it")
	assert.Equal(t, "alice@a.example/x", s.To.String())
	assert.Equal(t, stanza.RemoteServerTimeout, s.StanzaError().Condition)
	x := s.Child(nsMUC, "x")
	require.NotNil(t, x, s)
	assert.Empty(t, x.Nodes, "the password stays here")
}

// Who wants to enter a room at a server that is away is told so: when the first attempt has
// failed, and then a little later, also if it is not time yet for the next attempt.
func TestJoinOfVanishedServer(t *testing.T) {
	w, a, b, _, _ := two(t, func(s *times) {
		s.retryMin, s.retryMax, s.talk, s.entering = time.Hour, time.Hour, time.Hour, 50*time.Millisecond
	})
	w.vanish(b)
	ctx, room := context.Background(), `talk\40rooms.`+b.m.Identity+"@onion.a.example/nick"
	require.NoError(t, a.HandleStanza(ctx, joins("alice@a.example/x", room)))
	assertNotEntered(t, a.receive1(t), room)
	a.empties(t)
	require.NoError(t, a.HandleStanza(ctx, groupchat("alice@a.example/x", `talk\40rooms.`+b.m.Identity+"@onion.a.example", "waits longer")))
	for range 2 {
		require.True(t, a.isDown(b.m.Identity))
		require.NoError(t, a.HandleStanza(ctx, joins("alice@a.example/x", room)))
		assertNotEntered(t, a.receive1(t), room)
	}
	w.appear(b)
	a.TryAgain()
	assert.Equal(t, "waits longer", b.receive1(t).Body())
	b.silent(t)
	a.empties(t)
	a.silent(t)
}

// Who wants to enter anew when a server was away for a moment gets in, as soon as it is back.
func TestJoinAfterOutage(t *testing.T) {
	w, a, b, bob, _ := two(t, quick)
	w.vanish(b)
	ctx, room := context.Background(), `talk\40rooms.`+b.m.Identity+"@onion.a.example/nick"
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "waits")))
	require.Eventually(t, func() bool { return a.isDown(b.m.Identity) }, 10*time.Second, time.Millisecond)
	require.NoError(t, a.HandleStanza(ctx, joins("alice@a.example/x", room)))
	dials := len(w.dialled())
	require.Eventually(t, func() bool { return len(w.dialled()) > dials+2 }, 10*time.Second, time.Millisecond)
	w.appear(b)
	assert.Equal(t, "waits", b.receive1(t).Body())
	assert.NotNil(t, b.receive1(t).Child(nsMUC, "x"))
	a.empties(t)
	a.silent(t)
}

// Who could not enter because the server is away has not left either: what they have told
// the room before goes there.
func TestLeavesBeforeJoin(t *testing.T) {
	w, a, b, bob, _ := two(t, quick, func(s *times) { s.entering = 50 * time.Millisecond })
	w.vanish(b)
	ctx, room := context.Background(), `talk\40rooms.`+b.m.Identity+"@onion.a.example/nick"
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "waits")))
	require.Eventually(t, func() bool { return a.isDown(b.m.Identity) }, 10*time.Second, time.Millisecond)
	require.NoError(t, a.HandleStanza(ctx, presence("alice@a.example/x", room, "unavailable")))
	require.NoError(t, a.HandleStanza(ctx, joins("alice@a.example/x", room)))
	assertNotEntered(t, a.receive1(t), room)
	w.appear(b)
	a.TryAgain()
	assert.Equal(t, "waits", b.receive1(t).Body())
	assert.Equal(t, "unavailable", b.receive1(t).Type)
	b.silent(t)
	a.empties(t)
}

// What is said in a room waits for the time of grace, and is returned then: also when it is
// not time yet to try again, and also when it was said before a restart.
func TestSaidInRoomOfVanishedServer(t *testing.T) {
	grace := 300 * time.Millisecond
	w, a, b, _, _ := two(t, func(s *times) { s.retryMin, s.retryMax, s.talk, s.grace = time.Hour, time.Hour, time.Hour, grace })
	w.vanish(b)
	ctx, room := context.Background(), `talk\40rooms.`+b.m.Identity+"@onion.a.example"
	began := time.Now()
	said := func(body string) {
		require.NoError(t, a.HandleStanza(ctx, groupchat("alice@a.example/x", room, body)))
	}
	assertReturned := func() (text string) {
		t.Helper()
		got := a.receive1(t)
		assert.Equal(t, room, got.From.String())
		assert.Equal(t, stanza.RemoteServerTimeout, got.StanzaError().Condition, got)
		assert.Greater(t, time.Since(began), grace)
		text = got.StanzaError().Text["en"]
		assert.Contains(t, text, "was not delivered")
		return text
	}
	said("1")
	require.Eventually(t, func() bool { return a.isDown(b.m.Identity) }, 10*time.Second, time.Millisecond)
	time.Sleep(grace / 3)
	said("2")
	assert.Contains(t, assertReturned(), "Tor does not find it")
	assert.Contains(t, assertReturned(), "Tor does not find it")
	a.empties(t)
	a.silent(t)
	began = time.Now()
	said("3")
	a.stop()
	a.start()
	assertReturned()
	a.empties(t)
	// Within that time it arrives.
	a.stop()
	grace = time.Minute
	a.start()
	said("4")
	w.appear(b)
	a.TryAgain()
	assert.Equal(t, "4", b.receive1(t).Body())
	a.empties(t)
	a.silent(t)
}
