package component_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
)

func numbered(to string, n int, taken func()) *component.Stanza {
	s := &component.Stanza{Kind: component.Message, From: jid.MustParse("x@one.example.org"), To: jid.MustParse(to), Taken: taken}
	return s.Add(component.NewElement(component.NSClient, "body", component.Text(fmt.Sprint(n))))
}

func eventually(t *testing.T, what func() bool) {
	t.Helper()
	require.Eventually(t, what, 30*time.Second, 5*time.Millisecond)
}

// suspend stops a process, and waits until the last of its threads has stopped: they do
// not at the same time.
func suspend(t *testing.T, pid int) {
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	eventually(t, func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		require.NoError(t, err)
		require.NotEmpty(t, threads)
		return !slices.ContainsFunc(threads, func(file string) bool {
			stat, err := os.ReadFile(file)
			require.NoError(t, err)
			return !strings.Contains(string(stat), ") T ") // proc_pid_stat(5)
		})
	})
}

// Taken is called when the host has handled a stanza, each once and in order, and not
// before: a host that is stopped has handled nothing.
func TestTaken(t *testing.T) {
	for kind := range hosts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := startHost(t, kind)
			l, _, stop := attach(t, h.ComponentAddr(), "one.example.org", "first", component.NewRouter())
			up(t, l)
			c := online(t, h)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()

			taken := make(chan int, 1000)
			for i := range 500 {
				require.NoError(t, l.Send(ctx, numbered("alice@example.org", i, func() { taken <- i })))
			}
			for i := range 500 {
				assert.Equal(t, i, <-taken)
				_, err := c.Expect(ctx, "message", func(s *component.Stanza) bool { return s.Body() == fmt.Sprint(i) })
				require.NoError(t, err)
			}

			suspend(t, h.PID())
			require.NoError(t, l.Send(ctx, numbered("alice@example.org", 1000, func() { taken <- 1000 })))
			time.Sleep(300 * time.Millisecond)
			assert.Empty(t, taken)
			require.NoError(t, syscall.Kill(h.PID(), syscall.SIGCONT))
			assert.Equal(t, 1000, <-taken)

			// At a clean end what was sent is waited for.
			for i := range 500 {
				require.NoError(t, l.Send(ctx, numbered("alice@example.org", i, func() { taken <- i })))
			}
			stop()
			assert.Len(t, taken, 500)
		})
	}
}

// The host is killed again and again in the middle of a stream of messages. What it had
// not confirmed arrives, in order; a request is not made twice.
func TestHostKilled(t *testing.T) {
	const total, kills = 6000, 3
	for kind := range hosts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := startHost(t, kind)
			var mu sync.Mutex
			answers := map[string]int{}
			g := startGate(t, h.ComponentAddr())
			l, _, _ := attach(t, g.ln.Addr().String(), "one.example.org", "first", component.HandlerFunc(
				func(_ context.Context, s *component.Stanza) error {
					mu.Lock()
					defer mu.Unlock()
					answers[s.ID]++
					return nil
				}))
			up(t, l)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()

			var calls [total]atomic.Int32
			var taken atomic.Int64
			send := func(i int) error {
				for int64(i)-taken.Load() > 300 {
					time.Sleep(time.Millisecond)
				}
				iq := &component.Stanza{Kind: component.IQ, Type: "get", ID: fmt.Sprint(i), From: jid.MustParse("x@one.example.org"), To: jid.MustParse("example.org")}
				if err := l.Send(ctx, iq.Add(component.NewElement(component.NSDiscoInfo, "query"))); err != nil {
					return err
				}
				return l.Send(ctx, numbered("alice@example.org", i, func() {
					calls[i].Add(1)
					taken.Add(1)
				}))
			}
			done := make(chan error, 1)
			clients := []*hosttest.Client{online(t, h)}
			go func() {
				for i := range total {
					if err := send(i); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			confirmed := map[int]bool{} // before a kill: the host may lose it
			for k := range int64(kills) {
				eventually(t, func() bool { return taken.Load() > (k+1)*total/(kills+1) })
				g.open.Store(false)
				// It stands still first, so that it is known what it has confirmed.
				require.NoError(t, syscall.Kill(h.PID(), syscall.SIGSTOP))
				for before := int64(-1); before != taken.Load(); time.Sleep(200 * time.Millisecond) {
					before = taken.Load()
				}
				for i := range calls {
					if calls[i].Load() > 0 {
						confirmed[i] = true
					}
				}
				require.NoError(t, h.Kill())
				require.Less(t, len(confirmed), total)
				require.NoError(t, h.Start(ctx))
				clients = append(clients, online(t, h))
				g.open.Store(true)
			}
			require.NoError(t, <-done)
			eventually(t, func() bool { return taken.Load() == total })
			last := fmt.Sprint(total - 1)
			var got []*component.Stanza
			for i, c := range clients {
				if i == kills {
					ask(t, c, "example.org", "get", component.NewElement(component.NSPing, "ping")) // all that was for it has come
				}
				got = append(got, c.Received()...)
			}
			seen, next, twice := map[string]bool{}, 0, 0
			for _, s := range got {
				if s.Kind != component.Message || s.Type == "error" {
					continue
				}
				var n int
				_, err := fmt.Sscan(s.Body(), &n)
				require.NoError(t, err, s)
				if seen[s.Body()] {
					twice++
					continue
				}
				seen[s.Body()] = true
				assert.GreaterOrEqual(t, n, next, "overtaken")
				next = n + 1
			}
			assert.True(t, seen[last])
			lost := 0
			for i := range calls {
				assert.EqualValues(t, 1, calls[i].Load(), i)
				if !seen[fmt.Sprint(i)] {
					lost++
					assert.True(t, confirmed[i], "%d was lost, and the host had not confirmed it", i)
				}
			}
			t.Logf("%d came twice, %d were confirmed and lost by the host", twice, lost)
			mu.Lock()
			defer mu.Unlock()
			for id, n := range answers {
				assert.Equal(t, 1, n, id)
			}
		})
	}
}

// online logs in, and returns when the host knows that the client is on-line.
func online(t *testing.T, h *hosttest.Host) *hosttest.Client {
	c := login(t, h)
	ask(t, c, "example.org", "get", component.NewElement(component.NSPing, "ping"))
	return c
}

// A gate lets a link through to a host while it is open. A host that is up again could
// get messages before the client is, and what it stored comes in an order of its own.
type gate struct {
	ln   net.Listener
	open atomic.Bool
}

func startGate(t *testing.T, to string) *gate {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	g := &gate{ln: ln}
	g.open.Store(true)
	pipe := func(a, b net.Conn) {
		io.Copy(a, b)
		a.Close()
		b.Close()
	}
	go func() {
		for {
			a, err := ln.Accept()
			if err != nil {
				return
			}
			var b net.Conn
			if g.open.Load() {
				b, _ = net.Dial("tcp", to)
			}
			if b == nil {
				a.Close()
				continue
			}
			go pipe(a, b)
			go pipe(b, a)
		}
	}()
	return g
}

// A stanza that makes a real host close the connection costs the others nothing.
func TestPoison(t *testing.T) {
	h := startHost(t, "prosody")
	log := &logBuffer{}
	l, err := component.NewLink(component.LinkConfig{Server: h.ComponentAddr(), Domain: "one.example.org", Secret: "first",
		PingTo: "example.org", MaxStanza: 1 << 20, Log: slog.New(slog.NewTextHandler(log, nil))}, component.NewRouter())
	require.NoError(t, err)
	c := online(t, h)
	var taken atomic.Int32
	for i := range 10 {
		s := numbered("alice@example.org", i, func() { taken.Add(1) })
		if i == 5 {
			s.Add(component.NewElement("urn:x", "long", component.Text(strings.Repeat("x", 600<<10))))
		}
		require.NoError(t, l.Send(t.Context(), s))
	}
	run(t, l)
	eventually(t, func() bool { return taken.Load() == 10 })
	ask(t, c, "example.org", "get", component.NewElement(component.NSPing, "ping"))
	seen := map[string]bool{}
	for _, s := range c.Received() {
		seen[s.Body()] = true
	}
	for i := range 10 {
		assert.Equal(t, i != 5, seen[fmt.Sprint(i)], i)
	}
	assert.Contains(t, log.String(), "because of a stanza, which is dropped")
}

// run runs a link until the test ends.
func run(t *testing.T, l *component.Link) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
}

// A host that does not answer is left, and gets again what it did not confirm. An answer
// that comes too late, on the next connection, confirms nothing.
func TestNoAnswer(t *testing.T) {
	component.ShortTimes(t, 200*time.Millisecond, time.Minute)
	h := startRawHost(t)
	l, log, _ := attach(t, h.ln.Addr().String(), "one.example.org", "x", component.HandlerFunc(
		func(_ context.Context, s *component.Stanza) error {
			t.Errorf("the answer to a ping was handed on: %v", s)
			return nil
		}))
	var taken atomic.Int32
	require.NoError(t, l.Send(t.Context(), numbered("alice@example.org", 0, func() { taken.Add(1) })))
	first := h.accept()
	bodies, old := first.until()
	assert.Equal(t, []string{"0"}, bodies)
	assert.Nil(t, first.next(), "the link ends the connection")
	eventually(t, func() bool { return strings.Contains(log.String(), "has not answered a ping") })

	c := h.accept()
	require.NoError(t, l.Send(t.Context(), numbered("alice@example.org", 1, func() { taken.Add(1) })))
	c.answer(old)
	bodies, ping := c.until()
	assert.Contains(t, [][]string{{"0"}, {"0", "1"}}, bodies)
	assert.Zero(t, taken.Load())
	c.write(strings.Replace(fmt.Sprintf("<iq type='error' from='%s' to='%s' id='%s'/>", ping.To, ping.From, ping.ID), "/>",
		"><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", 1))
	if len(bodies) == 1 {
		bodies, ping = c.until()
		assert.Equal(t, []string{"1"}, bodies)
		c.answer(ping)
	}
	eventually(t, func() bool { return taken.Load() == 2 })
}

// Without a domain to ping, what is written counts as taken.
func TestTakenWithoutPing(t *testing.T) {
	h := startRawHost(t)
	l, err := component.NewLink(component.LinkConfig{Server: h.ln.Addr().String(), Domain: "one.example.org", Secret: "x"}, component.NewRouter())
	require.NoError(t, err)
	run(t, l)
	c := h.accept()
	taken := make(chan int, 1)
	require.NoError(t, l.Send(t.Context(), numbered("a@b", 1, func() { taken <- 1 })))
	assert.Equal(t, "1", c.next().Body())
	<-taken
}

// A Handler here takes a stanza by returning nil, and does not pass Taken on.
func TestTakenByHandler(t *testing.T) {
	r := component.NewRouter()
	var err error
	r.Handle("two.example.org", component.HandlerFunc(func(_ context.Context, s *component.Stanza) error {
		assert.Nil(t, s.Taken)
		return err
	}))
	taken := 0
	s := numbered("a@two.example.org", 1, func() { taken++ })
	err = errors.New("no")
	require.Error(t, r.Send(t.Context(), s))
	assert.Zero(t, taken)
	assert.NotNil(t, s.Taken, "it is given back as it was")
	assert.Nil(t, s.Error(err).Taken)
	assert.Nil(t, s.Result().Taken)
	err = nil
	require.NoError(t, r.Send(t.Context(), s))
	assert.Equal(t, 1, taken)
}

// From Send to a host that confirms all at once.
func BenchmarkSend(b *testing.B) {
	t := &testing.T{}
	h := startRawHost(t)
	defer h.ln.Close()
	l, err := component.NewLink(component.LinkConfig{Server: h.ln.Addr().String(), Domain: "one.example.org", Secret: "x", PingTo: "example.org"}, component.NewRouter())
	require.NoError(b, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.Run(ctx); close(done) }()
	c := h.accept()
	go func() {
		// Only pings are looked at, so that the host costs little.
		buf := make([]byte, 1<<16)
		const mark, end = "allium-link-ping-", "/></iq>"
		rest := ""
		for {
			n, err := c.conn.Read(buf)
			if err != nil {
				return
			}
			rest += string(buf[:n])
			for {
				at := strings.Index(rest, mark)
				if at < 0 || len(rest) < at+len(mark)+26 {
					rest = rest[max(0, len(rest)-100):]
					break
				}
				io.WriteString(c.conn, "<iq type='result' from='example.org' to='one.example.org' id='"+rest[at:at+len(mark)+26]+"'/>")
				rest = rest[at+len(mark):]
			}
		}
	}()
	s := numbered("alice@example.org", 1, func() {})
	s.Nodes[0] = component.NewElement(component.NSClient, "body", component.Text(strings.Repeat("x", 400))).Node()
	b.SetBytes(500)
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, l.Send(ctx, s))
	}
	stop()
	c.conn.Close()
	<-done
}
