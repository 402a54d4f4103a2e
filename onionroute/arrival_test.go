package onionroute

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A peer with a slow link has much to read before it can answer, though it answered at once when
// it was little.
func TestSlowLink(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", quick, func(s *times) {
		s.tick, s.answerMin, s.answerMax = 10*time.Millisecond, 500*time.Millisecond, time.Second
	})
	var long atomic.Bool
	x := startRawServer(t, w, func(d dialback) dialback {
		if long.CompareAndSwap(true, false) {
			time.Sleep(2 * a.times.answerMax)
		}
		return d.answer(map[string]string{"result": "valid", "verify": "invalid"}[d.name])
	})
	x.got = make(chan string, 10)
	for _, n := range []int{1, 50_000} {
		long.Store(n > 1)
		body := strings.Repeat("x", n)
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+x.name+"@onion.a.example", body)))
		require.Equal(t, body, <-x.got)
		a.empties(t)
	}
	assert.Empty(t, x.got, "it came twice")
	assert.Len(t, w.dialled(), 1)
}
