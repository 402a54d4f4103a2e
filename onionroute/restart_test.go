package onionroute

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each message arrives once, and in order, when either side is stopped and started
// again and again, while both send.
func TestOnceAcrossRestarts(t *testing.T) {
	_, a, b, bob, alice := two(t, quick)
	a.slow, b.slow = true, true
	var mu [2]sync.RWMutex // held while a server is not there
	servers := []*server{a, b}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	sent := [2]int{}
	for i, s := range servers {
		from, to := "alice@a.example", bob
		if i == 1 {
			from, to = "bob@b.example", alice
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				mu[i].RLock()
				if s.HandleStanza(context.Background(), message(from, to, strconv.Itoa(sent[i]))) == nil {
					sent[i]++
				}
				mu[i].RUnlock()
				time.Sleep(300 * time.Microsecond)
			}
		})
	}
	for range 60 {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		i := rand.IntN(2)
		s := servers[i]
		s.detach = mu[i].Lock // what comes until then is kept, or refused
		s.stop()
		s.detach = nil
		s.start()
		mu[i].Unlock()
	}
	cancel()
	wg.Wait()
	for i, s := range servers {
		assert.Eventually(t, func() bool { return len(s.toUs) >= sent[1-i] }, time.Minute, 10*time.Millisecond, "at %d", i)
		time.Sleep(50 * time.Millisecond) // for what should not come
		want := 0
		for len(s.toUs) > 0 {
			n, err := strconv.Atoi((<-s.toUs).Body())
			require.NoError(t, err)
			assert.Equal(t, want, n, "at %d", i)
			want = n + 1
		}
		assert.Equal(t, sent[1-i], want, "at %d", i)
		s.empties(t)
	}
	assert.Greater(t, min(sent[0], sent[1]), 100)
	t.Log(sent)
}
