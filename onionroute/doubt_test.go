package onionroute

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A server whose clock is wrong by months has a chain that nobody believes, and believes
// nobody's: both go on by dialback, at once and until it is worth to try again.
func TestDoubted(t *testing.T) {
	w, a, b, bob, alice := two(t, quick)
	a.outdateChain(t)
	ctx := context.Background()
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "1")))
	assert.Equal(t, "1", b.receive1(t).Body())
	assert.Equal(t, []bool{false}, b.believes(), "only by dialback")
	dials := w.dialled()
	assert.Equal(t, []string{b.m.Identity, b.m.Identity, a.m.Identity}, dials, "in vain, anew, and to verify that")
	require.NoError(t, b.HandleStanza(ctx, message("bob@b.example", alice, "2")))
	assert.Equal(t, "2", a.receive1(t).Body())
	a.empties(t)
	b.empties(t) // or it would come once more
	w.cut()
	dials = w.dialled()
	require.Eventually(t, func() bool { return a.streams()+b.streams() == 0 }, 10*time.Second, time.Millisecond)
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "3")))
	assert.Equal(t, "3", b.receive1(t).Body())
	assert.Equal(t, append(dials, b.m.Identity, a.m.Identity), w.dialled(), "it is known by now")
	a.silent(t)
	b.silent(t)
	a.empties(t)
	b.empties(t)
}

// outdateChain makes the server's chain one of another time, as long as it lasts.
func (s *server) outdateChain(t testing.TB) {
	old, err := s.credentials.newLeaf(time.Now().AddDate(0, -3, 0))
	require.NoError(t, err)
	leaf := *old.Leaf
	leaf.NotBefore, leaf.NotAfter = time.Now().AddDate(0, 0, -1), time.Now().AddDate(0, 0, leafDays)
	old.Leaf = &leaf // or a new one would be made
	s.credentials.mu.Lock()
	defer s.credentials.mu.Unlock()
	s.credentials.current = old
}

// believes tells for each stream that a peer has opened if its chain is believed.
func (s *server) believes() (out []bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for in := range s.inbound {
		if in.claimed != "" {
			out = append(out, in.isTrusted())
		}
	}
	return out
}
