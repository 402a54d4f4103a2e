package onionroute

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Tor waits where the peer was before: another way is found beside, by other circuits.
func TestReachBeside(t *testing.T) {
	nothingLeft(t)
	w, a, b, bob, _ := two(t, quick, func(s *times) { s.beside = 10 * time.Millisecond })
	w.move(b)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
	require.Equal(t, "hi", b.receive1(t).Body())
	w.mu.Lock()
	defer w.mu.Unlock()
	require.GreaterOrEqual(t, len(w.ways), 2)
	assert.NotEqual(t, w.ways[0], w.ways[1])
}

// Where a peer is that has gone is found out before it is connected to, also when all else
// of it is forgotten.
func TestReachStale(t *testing.T) {
	_, a, b, bob, _ := two(t, quick, func(s *times) { s.beside, s.peerIdle, s.unusedAge, s.sessionAge = time.Hour, 50*time.Millisecond, 0, 0 })
	says := func(text string) {
		t.Helper()
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, text)))
		require.Equal(t, text, b.receive1(t).Body())
	}
	restart := func() {
		a.empties(t)
		b.stop()
		b.w.move(b)
		b.start()
	}
	says("first")
	restart()
	says("at once")
	restart()
	require.Eventually(t, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.peers) == 0
	}, 10*time.Second, time.Millisecond)
	says("later")
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	assert.Len(t, b.w.ways, 1, "no way was tried in vain")
}

// Who was away connects to those that know them, which may have something for them.
func TestReachReturns(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", func(s *times) { s.retryMin, s.retryMax, s.talk = time.Hour, time.Hour, time.Hour })
	b := startServer(t, w, "b.example")
	says := func(text string) {
		t.Helper()
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+b.m.Identity+"@onion.a.example", text)))
	}
	says("first")
	require.Equal(t, "first", b.receive1(t).Body())
	a.empties(t)
	b.stop()
	says("later")
	b.start()
	require.Equal(t, "later", b.receive1(t).Body())
	a.empties(t)
	w.vanish(b)
	says("last")
	require.Eventually(t, func() bool {
		a.mu.Lock()
		p := a.peers[b.m.Identity]
		a.mu.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.down != nil
	}, 10*time.Second, time.Millisecond)
	w.appear(b)
	b.TryAgain()
	require.Equal(t, "last", b.receive1(t).Body())
}
