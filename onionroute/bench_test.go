package onionroute

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/allium-xmpp/allium/component"
)

// message500 is a chat message of about 500 octets, as today's clients send them.
func message500(b *testing.B, to string) func() *component.Stanza {
	m := message("alice@a.example/phone", to, strings.Repeat("x", 140))
	m.Add(component.NewElement("http://jabber.org/protocol/chatstates", "active"), component.NewElement("urn:xmpp:receipts", "request"),
		component.NewElement("urn:xmpp:sid:0", "origin-id").With("id", "7c1f1d7a"))
	xml := string(m.AppendXML(nil, component.NSAccept))
	b.SetBytes(int64(len(xml)))
	return func() *component.Stanza {
		e, err := component.NewContentDecoder(strings.NewReader(xml), component.NSAccept, component.Limits{}).Next()
		require.NoError(b, err)
		s, err := component.ParseStanza(e)
		require.NoError(b, err)
		return s
	}
}

// The addresses of a message and of its payload, without parsing and serialising.
func BenchmarkTranslate(b *testing.B) {
	m := testMap()
	s := message500(b, `bob\40`+testX+"@onion.example.org")()
	s.From = name("alice@example.org/phone")
	b.ReportAllocs()
	for b.Loop() {
		from, err := m.ToOnion(s.From)
		require.NoError(b, err)
		to, err := m.ToOnion(s.To)
		require.NoError(b, err)
		translation(m.ToOnion).payload(s.Nodes)
		_, _ = from, to
	}
}

// From the router into the queue of a peer: parsed before, translated, serialised.
func BenchmarkRoute(b *testing.B) {
	w := newWire()
	a := startServer(b, w, "a.example")
	x := startRawServer(b, w, func(d dialback) dialback {
		return d.answer(map[string]string{"result": "valid", "verify": "invalid"}[d.name])
	})
	make := message500(b, `bob\40`+x.name+"@onion.a.example")
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s := make()
		b.StartTimer()
		for a.HandleStanza(context.Background(), s) != nil {
			s = make() // its queue is full: the peer is behind
		}
	}
}

// From one gateway through a stream to the other: both sides, all of XML and both spools
// included. Beside the time it tells the CPU time, which a busy machine changes less.
func BenchmarkBetweenGateways(b *testing.B) {
	const ahead = 2000 // messages under way at most
	w, unlimited := newWire(), func(c *Config) { c.StanzaRate, c.QueueBytes, c.UserBytes = 1_000_000, 64<<20, 64<<20 }
	from, to := startServerWith(b, w, "a.example", unlimited), startServerWith(b, w, "b.example", unlimited)
	make := message500(b, `bob\40`+to.m.Identity+"@onion.a.example")
	b.ReportAllocs()
	began := cpuTime(b)
	sent, done := 0, 0
	receive := func() {
		to.receive1(b)
		done++
	}
	for b.Loop() {
		if sent-done == ahead {
			receive()
		}
		require.NoError(b, from.HandleStanza(context.Background(), make()))
		sent++
	}
	for done < sent {
		receive()
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
}

// cpuTime is the CPU time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The CPU time that a message takes in the spool: it is stored, and removed, and what was
// handled of a session is kept, each in one change with others.
func BenchmarkSpool(b *testing.B) {
	for _, together := range []int{1, 50} {
		b.Run(strconv.Itoa(together), func(b *testing.B) {
			s, err := openSpool(filepath.Join(b.TempDir(), "spool.db"), nil)
			require.NoError(b, err)
			defer s.close()
			xml := []byte(strings.Repeat("x", 500))
			began, n := cpuTime(b), 0
			for b.Loop() {
				var items []*item
				for range together {
					items = append(items, newItem(message("alice@a.example/phone", "bob@b.example", "x"), testX, pair{"a.onion", testX}, xml))
				}
				done := make(chan error, 2)
				s.store(items, "session", func(err error) { done <- err })
				require.NoError(b, <-done)
				require.NoError(b, s.handled(storedSession{id: "session", peer: testX, h: uint32(n)}))
				s.remove(items, func(err error) { done <- err })
				require.NoError(b, <-done)
				n += together
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(n), "cpu-ns/message")
		})
	}
}
