package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	outageCap    = 35 * time.Second       // that is waited for a message to be through again
	outageSettle = 10 * time.Second       // and then for what else was sent
	outageAgain  = 250 * time.Millisecond // from one further message to the next
	outageSlack  = time.Second            // what was under way when something broke has arrived then
)

// An outage is what breaks between two servers, and what is said meanwhile.
type outage struct {
	name       string
	messages   int
	span       time.Duration // that they are spread over
	from, to   time.Duration // of the span: when it breaks (0: before anything is said), and when it is mended
	subscribes bool          // somebody asks for a subscription meanwhile

	breaks, mends func(*testing.B, *duo)
}

var outages = []outage{
	{name: "peer stopped cleanly for 30 s", messages: 10, span: 30 * time.Second, to: 30 * time.Second, subscribes: true,
		breaks: func(b *testing.B, d *duo) { d.b.stopAllium(); require.NoError(b, d.b.host.Stop()) },
		mends:  func(b *testing.B, d *duo) { d.b.startServer(b) }},
	{name: "peer and its tor killed for 10 s", messages: 10, span: 10 * time.Second, to: 10 * time.Second,
		breaks: func(b *testing.B, d *duo) { d.b.killServer(b) },
		mends:  func(b *testing.B, d *duo) { d.b.startTor(b); d.b.startServer(b) }},
	{name: "own tor killed and restarted", messages: 10, span: 5 * time.Second, from: 750 * time.Millisecond, to: 750 * time.Millisecond,
		breaks: func(_ *testing.B, d *duo) { d.a.killTor() },
		mends:  func(b *testing.B, d *duo) { d.a.startTor(b) }},
	{name: "peer's tor killed for 5 s", messages: 1000, span: 10 * time.Second, from: 2 * time.Second, to: 7 * time.Second,
		breaks: func(_ *testing.B, d *duo) { d.b.killTor() },
		mends:  func(b *testing.B, d *duo) { d.b.startTor(b) }},
}

// BenchmarkOutages counts what becomes of numbered messages when something breaks: what is
// lost, comes more than once, or comes back, and how long it takes from when the cause is
// gone until a message is through. Both ends have Allium, or both have mod_onions, and the
// same happens to both at the same time. A contact whose server is gone for good is watched
// meanwhile. Single outages can be chosen: -bench Outages/own_tor.
func BenchmarkOutages(b *testing.B) {
	b.Cleanup(func() { newNetwork(0) }) // others do not begin with what is left of this one
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var gone []*ghost
	b.Run("contact's server killed", func(b *testing.B) {
		b.ReportMetric(0, "ns/op") // the table is the result
		gone = []*ghost{
			newGhost(b, ctx, "Allium", alliumNode(b, "witness", "prosody"), alliumNode(b, "gone", "prosody")),
			newGhost(b, ctx, "mod_onions", modOnionsNode(b, "their-witness"), modOnionsNode(b, "their-gone")),
		}
	})
	var table strings.Builder
	var duos []*duo
	for _, o := range outages {
		b.Run(o.name, func(b *testing.B) {
			b.ReportMetric(0, "ns/op")
			if duos == nil {
				duos = []*duo{newDuo(b, ctx, "Allium", alliumNode(b, "alpha", "prosody"), alliumNode(b, "beta", "prosody")),
					newDuo(b, ctx, "mod_onions", modOnionsNode(b, "theirs"), modOnionsNode(b, "sink"))}
			}
			o.happen(b, duos)
			for _, d := range duos {
				fmt.Fprintln(&table, o.row(b, d))
			}
		})
	}
	for _, g := range gone {
		fmt.Fprintln(&table, g.row(b))
	}
	fmt.Printf("\n%-34s %-10s %5s %8s %5s %8s %9s   %s\n%s", "", "", "sent", "arrived", "lost", "doubled", "bounced", "through again", &table)
}

// happen makes it happen between both pairs of servers, while people talk there.
func (o *outage) happen(b *testing.B, duos []*duo) {
	for _, d := range duos {
		d.calm(b)
		d.forget()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	breaks := func() {
		for _, d := range duos {
			o.breaks(b, d)
			d.broken = time.Now()
		}
	}
	if o.from == 0 {
		breaks()
	}
	began := time.Now()
	for _, d := range duos {
		d.first = d.there.count()
		go d.speak(ctx, o.messages, o.span)
	}
	if o.from > 0 {
		time.Sleep(time.Until(began.Add(o.from)))
		breaks()
	}
	if o.subscribes {
		for _, d := range duos {
			d.subscribe(b)
		}
	}
	time.Sleep(time.Until(began.Add(o.to)))
	for _, d := range duos {
		d.mends()
		o.mends(b, d)
	}
	time.Sleep(time.Until(began.Add(o.span)))
	for _, d := range duos {
		d.await(o.messages)
	}
}

// row makes sure of what was counted, and tells it.
func (o *outage) row(b *testing.B, d *duo) string {
	require.GreaterOrEqual(b, d.there.count(), d.first+o.messages)
	r := d.there.between(d.first, d.first+o.messages)
	assert.Empty(b, d.there.strange(), d.name)
	assert.Empty(b, d.early(), "%s: it was not broken", d.name)
	assert.Equal(b, r.sent, r.arrived+r.returned+len(r.lost)-len(r.both), d.name)
	through := fmt.Sprintf("not within %v", outageCap)
	again, ok := d.again()
	if ok {
		through = fmt.Sprintf("%.2f s", again.Sub(d.mended).Seconds())
	}
	if o.subscribes {
		through += map[bool]string{true: "; the subscription arrived", false: "; the subscription did not"}[d.asked.Load()]
	}
	if d.a.allium != nil {
		assert.Empty(b, r.lost, "lost: %s", d.there.when(r.lost))
		assert.Empty(b, r.twice, "more than once: %s", d.there.when(r.twice))
		assert.Empty(b, r.disorder, "not in order: %s", d.there.when(r.disorder))
		assert.Zero(b, r.returned)
		assert.True(b, ok, "no message is through")
		assert.True(b, d.asked.Load() || !o.subscribes, "the subscription did not arrive")
	}
	return fmt.Sprintf("%-34s %-10s %5d %8d %5d %8d %9d   %s", o.name, d.name, r.sent, r.arrived, len(r.lost), len(r.twice), r.returned, through)
}
