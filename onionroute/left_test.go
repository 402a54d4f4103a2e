package onionroute

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nothingLeft asserts that at the end of the test nothing is left of what came after: no
// goroutine of this module, and no file or socket. Called first, that is of all of the test;
// called when servers run, it is of what they were asked to do, while they still run.
func nothingLeft(t testing.TB) {
	before := leftovers()
	// What nobody has closed must not be closed by the collector, unless it has to run.
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(512<<20)
	t.Cleanup(func() {
		defer debug.SetGCPercent(percent)
		defer debug.SetMemoryLimit(limit)
		left := func() map[string]string {
			now := leftovers()
			maps.DeleteFunc(now, func(what, stack string) bool {
				_, was := before[what]
				other := strings.HasPrefix(what, "goroutine") && !strings.Contains(stack, "allium-xmpp/allium/")
				// Run waits for those that it starts, and they can be a little late.
				return was || other || strings.Contains(stack, "leftovers") || strings.Contains(stack, "(*Gateway).Run.func")
			})
			return now
		}
		if !assert.Eventually(t, func() bool { return len(left()) == 0 }, 10*time.Second, 50*time.Millisecond) {
			require.Empty(t, strings.Join(slices.Collect(maps.Values(left())), "\n\n"))
		}
	})
}

// leftovers are all goroutines, by their numbers, and the files and sockets that are open.
func leftovers() map[string]string {
	all := map[string]string{}
	stacks := make([]byte, 1<<16)
	n := runtime.Stack(stacks, true)
	for n == len(stacks) {
		stacks = make([]byte, 2*n)
		n = runtime.Stack(stacks, true)
	}
	for _, stack := range strings.Split(string(stacks[:n]), "\n\n") {
		number, _, _ := strings.Cut(stack, " [")
		all[number] = stack
	}
	files, _ := filepath.Glob("/proc/self/fd/*")
	for _, f := range files {
		// What has no name of its own is the runtime's, and does not become more.
		if to, err := os.Readlink(f); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			all[to] = to
		}
	}
	return all
}

// brief makes a gateway forget soon what is not used.
func brief(s *times) {
	s.tick, s.streamIdle, s.peerIdle = 20*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond
	s.unusedAge, s.sessionAge = 0, 0
}

// A server that runs on has nothing left of its peers when they have gone, whatever they did.
func TestNothingLeftOfPeers(t *testing.T) {
	nothingLeft(t)
	w, a, b, bob, alice := two(t, quick, brief, func(s *times) {
		s.write, s.element, s.header, s.auth, s.maxAge = 300*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond, time.Second, 500*time.Millisecond
	})
	x := startRawServer(t, w, believe)
	x.got = make(chan string, 1000)
	nothingLeft(t)
	for _, c := range []struct {
		what string
		does func(t *testing.T)
	}{
		{"conversation", func(t *testing.T) { talk(t, a, b, bob, alice, "hi") }},
		{"cut", func(t *testing.T) {
			talk(t, a, b, bob, alice, "hi")
			w.cut()
		}},
		{"half-open", func(t *testing.T) {
			for range maxInbound + 10 { // the first are evicted
				dialRaw(t, a, portServerTLS)
			}
		}},
		{"unfinished element", func(t *testing.T) {
			r := x.proven(t, a)
			r.write("<message from='eve@" + x.name + "' to='alice@")
			r.fails("connection-timeout")
		}},
		{"many streams", func(t *testing.T) {
			for range 2 * maxOfPeer {
				x.proven(t, a)
			}
		}},
		{"slow reader", func(t *testing.T) {
			x.stops.Store(true)
			fillFor(t, a, x)
			<-x.cut
			x.stops.Store(false)
			require.Eventually(t, func() bool { return len(x.got)+len(a.toUs) >= 70 }, 10*time.Second, 10*time.Millisecond)
			for len(a.toUs) > 0 {
				<-a.toUs // it waited for too long
			}
		}},
		{"nobody there", func(t *testing.T) {
			require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+onionName("nobody")+"@onion.a.example", "hi")))
			assert.Equal(t, "error", a.receive1(t).Type)
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			nothingLeft(t)
			c.does(t)
			a.empties(t)
		})
	}
}
