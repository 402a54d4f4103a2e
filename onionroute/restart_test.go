package onionroute

import (
	"context"
	"math/rand/v2"
	"slices"
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

// When either side is killed again and again, while both send, nothing is lost but what came
// in right before its server was killed, and nothing comes twice but what was being handed to
// a host that was killed.
func TestOrderAcrossCrashes(t *testing.T) {
	w, a, b, bob, alice := two(t, quick)
	var mu [2]sync.RWMutex // held while a server is not there
	servers := []*server{a, b}
	for _, s := range servers {
		s.mortal = true
		go s.carry()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var sentAt [2][]time.Time
	for i, s := range servers {
		from, to := "alice@a.example", bob
		if i == 1 {
			from, to = "bob@b.example", alice
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				mu[i].RLock()
				if s.HandleStanza(context.Background(), message(from, to, strconv.Itoa(len(sentAt[i])))) == nil {
					sentAt[i] = append(sentAt[i], time.Now())
				}
				mu[i].RUnlock()
				time.Sleep(300 * time.Microsecond)
			}
		})
	}
	const window = 100 * time.Millisecond // generous: all else that runs here can be in the way
	var crashes [2][]time.Time
	for round := range 40 {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		i := rand.IntN(2)
		s, other := servers[i], servers[1-i]
		if round%3 == 0 { // so that much waits
			w.vanish(other)
			time.Sleep(2 * window)
		}
		mu[i].Lock()
		crashes[i] = append(crashes[i], time.Now())
		s.crash(t)
		s.start()
		w.appear(other)
		mu[i].Unlock()
	}
	cancel()
	wg.Wait()
	defer func() {
		for _, s := range servers {
			s.stop()
			close(s.toHost)
		}
	}()
	for i, s := range servers {
		sent, sentAt := len(sentAt[1-i]), sentAt[1-i]
		require.Greater(t, sent, 100)
		last := message("alice@a.example", bob, "last")
		if i == 0 {
			last = message("bob@b.example", alice, "last")
		}
		require.NoError(t, servers[1-i].HandleStanza(context.Background(), last))
		var got []int
		for {
			body := s.receive1(t).Body()
			if body == "last" {
				break
			}
			n, err := strconv.Atoi(body)
			require.NoError(t, err)
			got = append(got, n)
		}
		lost, twice, next := 0, 0, 0
		for k, n := range got {
			if n < next { // again
				twice++
				assert.False(t, k > 0 && n != got[k-1]+1 && n < next-maxAgain, "at %d: %d, which is old, comes behind %d", i, n, got[k-1])
				continue
			}
			for ; next < n; next++ {
				lost++
				assert.True(t, slices.ContainsFunc(crashes[1-i], func(c time.Time) bool {
					return sentAt[next].After(c.Add(-window)) && sentAt[next].Before(c.Add(window))
				}),
					"at %d: %d is lost, and its server was not killed then", i, next)
			}
			next = n + 1
		}
		assert.LessOrEqual(t, twice, maxAgain*len(crashes[i]))
		t.Logf("at %d: of %d, %d lost by %d kills of the sender, %d twice by %d of the receiver", i, sent, lost, len(crashes[1-i]), twice, len(crashes[i]))
	}
}

const maxAgain = 1500 // messages that a host has not confirmed, at most: what was sent in half a second
