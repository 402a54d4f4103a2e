package onionroute

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// says is presence with a text.
func says(from, to, text string) *component.Stanza {
	return presence(from, to, "").Add(component.NewElement(component.NSClient, "status", component.Text(text)))
}

func statusOf(s *component.Stanza) string { return s.Child(component.NSClient, "status").Text() }

// Presence that is sent while the peer is away is a reason to look for it, for as long as
// it takes: nobody has to write or to try again.
func TestPresenceWaits(t *testing.T) {
	w, a, b, bob, _ := two(t, quick, func(s *times) { s.peerIdle = 10 * time.Millisecond })
	w.vanish(b)
	ctx := context.Background()
	require.NoError(t, a.HandleStanza(ctx, says("alice@a.example/x", bob, "first")))
	require.Eventually(t, func() bool { return a.isDown(b.m.Identity) }, 10*time.Second, time.Millisecond)
	require.NoError(t, a.HandleStanza(ctx, says("alice@a.example/x", bob, "last")))
	peer := a.known()
	dials := len(w.dialled())
	require.Eventually(t, func() bool { return len(w.dialled()) > dials+20 }, 10*time.Second, time.Millisecond, "it is looked for")
	assert.Equal(t, peer, a.known(), "it is not forgotten")
	w.appear(b)
	assert.Equal(t, "last", statusOf(b.receive1(t)))
	b.silent(t)
	a.empties(t)
}

// What waits of presence goes in its order with what else waits: into the room first.
func TestPresenceInOrder(t *testing.T) {
	w, a, b, _, _ := two(t, quick)
	w.vanish(b)
	ctx := context.Background()
	room := `room\40rooms.` + b.m.Identity + "@onion.a.example"
	require.NoError(t, a.HandleStanza(ctx, says("alice@a.example/x", room+"/nick", "first")))
	require.Eventually(t, func() bool { return a.isDown(b.m.Identity) }, 10*time.Second, time.Millisecond)
	require.NoError(t, a.HandleStanza(ctx, says("alice@a.example/x", room+"/nick", "enters")))
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example/x", room, "writes")))
	w.appear(b)
	a.TryAgain()
	assert.Equal(t, "enters", statusOf(b.receive1(t)))
	assert.Equal(t, "writes", b.receive1(t).Body())
	a.empties(t)
}

// Presence does not wait for longer than messages do, and then nobody looks for the peer.
func TestPresenceExpires(t *testing.T) {
	a := startServer(t, newWire(), "a.example", quick, func(s *times) { s.maxAge, s.peerIdle = 100*time.Millisecond, 10*time.Millisecond })
	require.NoError(t, a.HandleStanza(context.Background(), says("alice@a.example/x", onionName("nobody")+"@onion.a.example", "hi")))
	require.Eventually(t, func() bool { return a.waits() > 0 }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return len(a.known()) == 0 }, 10*time.Second, time.Millisecond)
	a.empties(t)
	a.silent(t)
}

// Presence ends with the program.
func TestPresenceAtTheEnd(t *testing.T) {
	a := startServer(t, newWire(), "a.example", quick)
	require.NoError(t, a.HandleStanza(context.Background(), says("alice@a.example/x", onionName("nobody")+"@onion.a.example", "hi")))
	require.Eventually(t, func() bool { return a.isDown(onionName("nobody")) }, 10*time.Second, time.Millisecond)
	assert.NotEmpty(t, a.counted())
	a.stop()
	assert.Empty(t, a.counted())
}

// Presence that waits counts against all limits of what waits: the newest, once.
func TestPresenceCounts(t *testing.T) {
	w := newWire()
	a := startServerWith(t, w, "a.example", func(c *Config) { c.UserBytes = 50_000 }, quick)
	b := startServer(t, w, "b.example")
	bob := `bob\40` + b.m.Identity + "@onion.a.example"
	w.vanish(b)
	ctx := context.Background()
	send := func(from string, size int) error {
		return a.HandleStanza(ctx, says(from, bob, strings.Repeat("x", size)))
	}
	require.NoError(t, send("alice@a.example/x", 10))
	require.Eventually(t, func() bool { return a.isDown(b.m.Identity) }, 10*time.Second, time.Millisecond)
	require.NoError(t, send("alice@a.example/x", 20_000))
	assert.InDelta(t, 20_000, a.waits(), 1000)
	require.NoError(t, send("alice@a.example/x", 40_000), "it replaces what waits")
	assert.InDelta(t, 40_000, a.waits(), 1000)
	tooMuch := stanza.Error{Condition: stanza.ResourceConstraint}
	require.ErrorIs(t, send("alice@a.example/y", 20_000), tooMuch)
	require.ErrorIs(t, a.HandleStanza(ctx, message("alice@a.example", bob, strings.Repeat("x", 20_000))), tooMuch)
	require.NoError(t, send("carol@a.example/y", 20_000))
	assert.InDelta(t, 60_000, a.waits(), 2000)
	require.ErrorIs(t, send("alice@a.example/x", 60_000), tooMuch)
	assert.InDelta(t, 20_000, a.waits(), 1000, "what is not true any more does not wait")
	for i := range 2 * maxPresence {
		err := a.HandleStanza(ctx, presence(fmt.Sprintf("u%d@a.example/x", i), bob, ""))
		assert.Equal(t, i >= maxPresence-1, errors.Is(err, tooMuch), i)
	}
	w.appear(b)
	a.TryAgain()
	for range maxPresence {
		b.receive1(t)
	}
	b.silent(t)
	a.empties(t)
}

// Whatever happens to what is sent, at the end nothing is counted that does not wait.
func TestCountsAtTheEnd(t *testing.T) {
	for round := range 5 {
		w, a, b, bob, alice := two(t, quick, func(s *times) {
			s.maxAge, s.grace, s.entering = 2*time.Second, 500*time.Millisecond, 200*time.Millisecond
			s.peerIdle, s.tick = 20*time.Millisecond, 20*time.Millisecond
		})
		x := startRawServer(t, w, believe)
		peers := []string{bob, `eve\40` + x.name + "@onion.a.example", `nobody\40` + onionName("nobody") + "@onion.a.example", `room\40rooms.` + b.m.Identity + "@onion.a.example/nick"}
		ctx := context.Background()
		for i := range 400 {
			from, to := fmt.Sprintf("u%d@a.example/x", rand.IntN(5)), peers[rand.IntN(len(peers))]
			if rand.IntN(10) == 0 {
				to = fmt.Sprintf(`u%d\40%s@onion.a.example`, rand.IntN(2*maxPresence), b.m.Identity)
			}
			switch rand.IntN(12) {
			case 0, 1:
				a.HandleStanza(ctx, message(from, to, "hi"))
			case 2:
				a.HandleStanza(ctx, groupchat(from, to, "hi"))
			case 3:
				a.HandleStanza(ctx, joins(from, to))
				fallthrough
			case 4:
				a.HandleStanza(ctx, says(from, to, strings.Repeat("x", rand.IntN(1000))))
			case 5:
				a.HandleStanza(ctx, presence(from, to, []string{"probe", "unavailable", "subscribe", "error"}[rand.IntN(4)]))
			case 6:
				a.HandleStanza(ctx, (&component.Stanza{Kind: component.IQ, Type: []string{"get", "error"}[rand.IntN(2)], ID: "x", From: jid.MustParse(from), To: jid.MustParse(to)}).
					Add(component.NewElement(component.NSPing, "ping")))
			case 7:
				b.HandleStanza(ctx, says("bob@b.example/y", alice, "hi"))
				b.HandleStanza(ctx, message("bob@b.example/y", alice, "hi"))
			case 8:
				w.cut()
			case 9:
				x.refuses.Store(!x.refuses.Load())
			case 10:
				w.vanish(b)
				for _, p := range a.known() {
					p.mu.Lock()
					items := append([]*item(nil), p.queue...)
					p.mu.Unlock()
					p.notKept(items)
				}
			case 11:
				w.appear(b)
				a.TryAgain()
			}
			if i%20 == 0 {
				time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
			}
		}
		if round%2 == 0 {
			w.appear(b)
			x.refuses.Store(false)
			a.TryAgain()
			b.TryAgain()
		}
		a.empties(t)
		b.empties(t)
	}
}
