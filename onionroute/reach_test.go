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
