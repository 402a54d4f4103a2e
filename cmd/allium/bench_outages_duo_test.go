package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// A duo is two servers of the same kind, with somebody on each.
type duo struct {
	name        string
	a, b        *node
	there, back *flow
	first       int         // number in there that was sent in the outage
	asked       atomic.Bool // the request for subscription is there

	broken time.Time
	mended time.Time // guarded by there.mu
}

// newDuo logs both in, until ctx is done.
func newDuo(b *testing.B, ctx context.Context, name string, from, to *node) *duo {
	ann := &person{n: from, account: from.second(), pong: make(chan struct{}, 1)}
	ben := &person{n: to, account: to.second(), pong: make(chan struct{}, 1)}
	d := &duo{name: name, a: from, b: to, there: newFlow(ann, ben), back: newFlow(ben, ann)}
	ann.take = func(s *component.Stanza) { d.back.arrived(s); d.there.cameBack(s) }
	ben.take = func(s *component.Stanza) { d.there.arrived(s); d.back.cameBack(s) }
	d.there.presence = func(s *component.Stanza) {
		if s.Type == "subscribe" {
			d.asked.Store(true)
		}
	}
	for _, p := range []*person{ann, ben} {
		go p.live(ctx)
		p.resume(b)
	}
	return d
}

// calm makes sure that messages pass in both directions. Where the last outage left
// something that does not mend by itself, the servers are restarted.
func (d *duo) calm(b *testing.B) {
	for range 4 {
		if d.passes(d.there) && d.passes(d.back) {
			return
		}
		b.Logf("%s: restarted, as no messages pass", d.name)
		for _, n := range []*node{d.a, d.b} {
			require.NoError(b, n.host.Stop())
			require.NoError(b, n.host.Start(deadline(b, time.Minute)))
		}
		chill(d.a.watch(b), d.b.watch(b))
	}
	b.Fatalf("%s: no messages pass", d.name)
}

// passes tells if a message arrives within a while.
func (d *duo) passes(f *flow) bool {
	for end := time.Now().Add(outageSettle); time.Now().Before(end); time.Sleep(outageAgain) {
		number, ok := f.say(false)
		for ok && time.Now().Before(end) {
			got, returned := f.has(number)
			if got {
				return true
			}
			if returned {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return false
}

// speak says the numbers of the outage, and then one from time to time until something
// is through, or ctx is done.
func (d *duo) speak(ctx context.Context, n int, span time.Duration) {
	tick := time.NewTicker(span / time.Duration(n))
	defer tick.Stop()
	for i := 0; ; i++ {
		if i == n {
			tick.Reset(outageAgain)
		}
		if i >= n {
			if _, through := d.again(); through {
				return
			}
		}
		d.there.say(false)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// subscribe asks for the presence of the one at the other server.
func (d *duo) subscribe(b *testing.B) {
	require.True(b, d.there.from.send(&component.Stanza{Kind: component.Presence, Type: "subscribe", To: d.there.addr}))
}

// forget begins anew.
func (d *duo) forget() {
	d.there.mu.Lock()
	defer d.there.mu.Unlock()
	d.mended = time.Time{}
	d.asked.Store(false)
}

// mends takes note that the cause is about to be gone.
func (d *duo) mends() {
	d.there.mu.Lock()
	defer d.there.mu.Unlock()
	d.mended = time.Now()
}

// early is what arrived while nothing could.
func (d *duo) early() (numbers []int) {
	d.there.mu.Lock()
	defer d.there.mu.Unlock()
	for _, a := range d.there.got {
		if a.at.After(d.broken.Add(outageSlack)) && a.at.Before(d.mended) {
			numbers = append(numbers, a.number)
		}
	}
	return numbers
}

// again is when the first message arrived after all was mended.
func (d *duo) again() (at time.Time, ok bool) {
	d.there.mu.Lock()
	defer d.there.mu.Unlock()
	if d.mended.IsZero() {
		return at, false
	}
	for _, a := range d.there.got {
		if a.at.After(d.mended) {
			return a.at, true
		}
	}
	return at, false
}

// await waits until a message is through, and it is known what became of n others.
func (d *duo) await(n int) {
	through := func() bool { _, ok := d.again(); return ok }
	settled := func() bool { return len(d.there.between(d.first, d.first+n).lost) == 0 }
	wait := func(end time.Time, for_ func() bool) {
		for time.Now().Before(end) && !for_() {
			time.Sleep(20 * time.Millisecond)
		}
	}
	wait(d.mended.Add(outageCap), through)
	wait(time.Now().Add(outageSettle), settled)
}

// startServer starts a server again. It does not wait for Allium.
func (n *node) startServer(b *testing.B) {
	require.NoError(b, n.host.Start(deadline(b, time.Minute)))
	if n.allium != nil {
		n.launchAllium(b)
	}
}

// killServer kills a server and its tor, as when the power fails.
func (n *node) killServer(b *testing.B) {
	require.NoError(b, n.host.Kill())
	if n.allium != nil {
		n.allium.Process.Kill()
		<-n.exited
	}
	n.killTor()
}

// ghostTime is how long a contact is watched whose server was killed.
const ghostTime = 4 * time.Minute

// A ghost is a contact whose server was killed.
type ghost struct {
	name   string
	killed time.Time
	told   chan time.Time // when the other one was told that the contact is off-line; zero: never
}

func newGhost(b *testing.B, ctx context.Context, name string, witness, contact *node) *ghost {
	acquaint(b, witness, contact)
	says(b, ctx, contact, witness, "all that was said before is there")
	witness.client.Received()
	g := &ghost{name: name, killed: time.Now(), told: make(chan time.Time, 1)}
	contact.killServer(b)
	of := witness.to(b, contact, component.Presence, "").To
	go func() {
		ctx, cancel := context.WithDeadline(ctx, g.killed.Add(ghostTime))
		defer cancel()
		_, err := witness.client.Expect(ctx, "end of presence", func(s *component.Stanza) bool {
			return s.From.Bare().Equal(of) && s.Kind == component.Presence && (s.Type == "unavailable" || s.Type == "error")
		})
		at := time.Now()
		if err != nil {
			at = time.Time{}
		}
		g.told <- at
	}()
	return g
}

// row waits until the other one was told, and tells when that was.
func (g *ghost) row(b *testing.B) string {
	told := fmt.Sprintf("on-line still after %v", ghostTime)
	if at := <-g.told; !at.IsZero() {
		told = fmt.Sprintf("off-line after %.0f s", at.Sub(g.killed).Seconds())
	} else {
		assert.NotEqual(b, "Allium", g.name, "the contact stays on-line")
	}
	return fmt.Sprintf("%-34s %-10s %s", "contact's server killed", g.name, told)
}
