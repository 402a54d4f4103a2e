package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/onionroute"
)

// BenchmarkCold measures the first message between two servers that know nothing of each
// other, its answer, and a room on a third server that two others join: with Allium on
// all servers, and with mod_onions on all, in turns. Beside it is what nobody can be
// faster than who waits for tor to connect: the time of a connection to an onion service
// and half a round trip. All of it once on a network without distance, and once on one
// with 300 ms of round trip more, where it shows how often each waits for the other side.
func BenchmarkCold(b *testing.B) {
	for _, n := range []struct {
		name   string
		delay  time.Duration
		rounds int
	}{{"plain", 0, 9}, {"delay", 300 * time.Millisecond, 9}} {
		b.Run(n.name, func(b *testing.B) {
			newNetwork(n.delay)
			b.Cleanup(func() { newNetwork(0) })
			cold(b, n.rounds)
		})
	}
}

func cold(b *testing.B, rounds int) {
	ours := newTrio(b, alliumNode(b, "alpha", "prosody"), alliumNode(b, "beta", "prosody"), nativeProsody(b, "rho"))
	ours.room = `den\40rooms.` + ours.c.onion + "@onion.alpha.example"
	ours.roomOfB = `den\40rooms.` + ours.c.onion + "@onion.beta.example"
	theirs := newTrio(b, modOnionsNode(b, "theirs"), modOnionsNode(b, "sink"), modOnionsNode(b, "third"))
	theirs.room = "den@rooms." + theirs.c.onion
	theirs.roomOfB = theirs.room
	bare := newBareOnion(b)
	tors := append(append([]*torWatch{bare.tor}, ours.tors...), theirs.tors...)
	var limits []time.Duration
	for i := range rounds {
		ours.forget(b)
		chill(tors...)
		steps := []func(){func() { limits = append(limits, bare.limit(b)) }, func() { ours.talk(b, i) }, func() { theirs.talk(b, i) }}
		for k := range steps {
			steps[(i+k)%len(steps)]()
		}
	}
	for i := range 3 {
		ours.forget(b)
		chill(tors...)
		ours.gather(b, i)
		theirs.gather(b, i)
	}
	limit := median(limits)
	fmt.Printf("\n%-44s %s, n=%d\n", "added round trip", shared.delay, rounds)
	fmt.Printf("%-44s %s\n", "bare connection and half a round trip", spread(limits))
	for _, row := range []struct {
		what string
		of   func(*trio) *measured
	}{
		{"first message", func(t *trio) *measured { return &t.first }},
		{"reply", func(t *trio) *measured { return &t.reply }},
		{"room on a third server, 2 join, 1 message", func(t *trio) *measured { return &t.gathered }},
	} {
		for _, s := range []struct {
			name string
			*trio
		}{{"Allium", ours}, {"mod_onions", theirs}} {
			m := row.of(s.trio)
			fmt.Printf("%-44s %-10s %s, ×%.2f; %s\n", row.what, s.name, spread(m.took), ratio(median(m.took), limit), counts(m.counts))
		}
	}
	b.ReportMetric(0, "ns/op") // the table above is the result, and:
	b.ReportMetric(ratio(median(ours.first.took), limit), "ratio_allium")
	b.ReportMetric(ratio(median(theirs.first.took), limit), "ratio_mod_onions")
}

// A trio is two servers whose users talk, and a third one that has a room.
type trio struct {
	a, b, c       *node
	room, roomOfB string // as the users of a and b write it
	tors          []*torWatch

	first, reply, gathered measured
}

// measured is what one thing took each time.
type measured struct {
	took   []time.Duration
	counts []torCount
}

func newTrio(t testing.TB, a, b, c *node) *trio {
	tr := &trio{a: a, b: b, c: c}
	for _, n := range []*node{a, b, c} {
		tr.tors = append(tr.tors, n.watch(t))
	}
	return tr
}

// forget restarts the Alliums that open streams, and makes them know nobody: so all streams
// end in order, and no session waits to be resumed.
func (tr *trio) forget(b *testing.B) {
	nodes := []*node{tr.a, tr.b}
	for _, n := range nodes {
		n.stopAllium()
		spool, err := filepath.Glob(filepath.Join(n.dir, "state", "spool.sqlite*"))
		require.NoError(b, err)
		require.NotEmpty(b, spool)
		for _, file := range spool {
			require.NoError(b, os.Remove(file))
		}
	}
	for _, n := range nodes {
		n.startAllium(b)
	}
}

// measure notes how long f takes, and what tors do meanwhile.
func (tr *trio) measure(m *measured, f func()) {
	before, began := countAll(tr.tors), time.Now()
	f()
	m.took = append(m.took, time.Since(began))
	time.Sleep(time.Second) // for what goes on behind it
	m.counts = append(m.counts, countAll(tr.tors).plus(before, -1))
}

// talk sends the first message, and the answer to it.
func (tr *trio) talk(b *testing.B, i int) {
	ctx := deadline(b, 2*time.Minute)
	tr.measure(&tr.first, func() { says(b, ctx, tr.a, tr.b, fmt.Sprint("first ", i)) })
	tr.measure(&tr.reply, func() { says(b, ctx, tr.b, tr.a, fmt.Sprint("reply ", i)) })
}

// gather makes both users join the room, and one say something there.
func (tr *trio) gather(b *testing.B, i int) {
	ctx := deadline(b, 2*time.Minute)
	join := func(n *node, room, nick string) {
		to := jid.MustParse(room + "/" + nick)
		n.send(b, &component.Stanza{Kind: component.Presence, To: to, Nodes: []component.Node{
			component.NewElement("http://jabber.org/protocol/muc", "x").Node()}})
		_, err := n.client.Expect(ctx, "own presence in the room", func(s *component.Stanza) bool { return s.From.Equal(to) && is(component.Presence, "")(s) })
		require.NoError(b, err)
	}
	text := fmt.Sprint("hello room ", i)
	tr.measure(&tr.gathered, func() {
		join(tr.a, tr.room, "a")
		join(tr.b, tr.roomOfB, "b")
		m := &component.Stanza{Kind: component.Message, Type: "groupchat", ID: text, To: jid.MustParse(tr.room)}
		tr.a.send(b, m.Add(body(text)))
		for _, n := range []*node{tr.a, tr.b} {
			_, err := n.client.Expect(ctx, "message in the room", func(s *component.Stanza) bool { return s.Body() == text })
			require.NoError(b, err)
		}
	})
	for n, room := range map[*node]string{tr.a: tr.room + "/a", tr.b: tr.roomOfB + "/b"} {
		n.send(b, &component.Stanza{Kind: component.Presence, Type: "unavailable", To: jid.MustParse(room)})
		_, err := n.client.Expect(ctx, "end of the visit", func(s *component.Stanza) bool { return s.Type == "unavailable" && s.From.String() == room })
		require.NoError(b, err)
	}
}

// A bareOnion is an onion service that sends back what it gets, and a tor to reach it by.
type bareOnion struct {
	visitor *onionroute.Tor
	name    string
	tor     *torWatch
}

func newBareOnion(b *testing.B) *bareOnion {
	dir, err := os.MkdirTemp("", "echo")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "echo"))
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	// Both have a service, since a tor with one has other circuits ready than one without.
	var tors []*onionroute.Tor
	o := &bareOnion{}
	for _, name := range []string{"visitor", "service"} {
		id, err := onionroute.CreateIdentity(filepath.Join(dir, name, "key"))
		require.NoError(b, err)
		tor := onionroute.NewTor(onionroute.TorConfig{Dir: filepath.Join(dir, name), Torrc: torNetwork(b).Torrc(), Log: quiet()})
		tor.Publish(id, map[int]string{7: l.Addr().String()})
		runUp(b, tor)
		tors, o.name = append(tors, tor), id.Name()
	}
	o.visitor = tors[0]
	o.tor = watchTor(b, filepath.Join(dir, "visitor", "control"), filepath.Join(dir, "visitor", "cookie"))
	for range 10 {
		o.visitor.Refresh(deadline(b, time.Minute), o.name)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if c, err := o.visitor.Dial(ctx, o.name, 7, "warm", nil); err == nil {
			c.Close()
			cancel()
			return o
		}
		cancel()
	}
	b.Fatal("the echo is not reached")
	return nil
}

// limit is the time of a connection and half a round trip by it.
func (o *bareOnion) limit(b *testing.B) time.Duration {
	began := time.Now()
	c, err := o.visitor.Dial(deadline(b, time.Minute), o.name, 7, fmt.Sprint(began), nil)
	require.NoError(b, err)
	defer c.Close()
	took := time.Since(began)
	return took + median(roundTrips(b, c, 5))/2
}

// roundTrips measures round trips of one octet.
func roundTrips(b *testing.B, c net.Conn, n int) (took []time.Duration) {
	ball := make([]byte, 1)
	for range n {
		began := time.Now()
		_, err := c.Write(ball)
		require.NoError(b, err)
		_, err = io.ReadFull(c, ball)
		require.NoError(b, err)
		took = append(took, time.Since(began))
	}
	return took
}

func median(d []time.Duration) time.Duration { return quantile(d, 0.5) }

// quantile is the value that part q of all are not above.
func quantile[T cmp.Ordered](all []T, q float64) T {
	s := slices.Sorted(slices.Values(all))
	return s[int(q*float64(len(s)-1)+0.5)]
}

func spread(d []time.Duration) string {
	return fmt.Sprintf("%6.3f s (%.3f-%.3f)", median(d).Seconds(), slices.Min(d).Seconds(), slices.Max(d).Seconds())
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// counts tells which counts there were, and how often each if they differ.
func counts(all []torCount) (text string) {
	times, order := map[torCount]int{}, []torCount{}
	for _, c := range all {
		c.fetches = 0
		if times[c]++; times[c] == 1 {
			order = append(order, c)
		}
	}
	for i, c := range order {
		if i > 0 {
			text += "; "
		}
		text += c.String()
		if len(order) > 1 {
			text += fmt.Sprintf(" %d times", times[c])
		}
	}
	return text
}
