package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// BenchmarkSteady measures a conversation that is under way: how long a message and the
// answer to it take, and 2000 messages at once. Both ends have Allium, or both have
// mod_onions, in turns; beside them is an onion service that sends back what it gets.
//
// Each round has new circuits. The network has few relays, and where a circuit goes from one
// to another twice, the second time waits until the first is acknowledged: 40 ms (Nagle's
// algorithm), for as long as the circuit is used. That is not so in a large network.
//
// What a round takes differs by half and more from one to the next, for both. So the ratios
// are of rounds beside each other, and of these the one in the middle.
func BenchmarkSteady(b *testing.B) {
	const rounds, talks, count = 15, 50, 2000
	bare := newBareOnion(b)
	pairs := []*pairOfNodes{
		{name: "Allium", a: alliumNode(b, "alpha", "prosody"), b: alliumNode(b, "beta", "prosody")},
		{name: "mod_onions", a: modOnionsNode(b, "theirs"), b: modOnionsNode(b, "sink")},
	}
	for _, p := range pairs {
		p.tors = []*torWatch{p.a.watch(b), p.b.watch(b)}
	}
	var echoes []time.Duration
	for i := range rounds {
		for k := range pairs {
			p := pairs[(i+k)%len(pairs)]
			hangUp(p.tors...)
			p.warmUp(b)
			p.talk(b, talks)
			p.flood(b, count)
		}
		hangUp(bare.tor)
		echo, err := bare.visitor.Dial(deadline(b, time.Minute), bare.name, 7, "steady", nil)
		require.NoError(b, err)
		echoes = append(echoes, roundTrips(b, echo, talks)...)
		echo.Close()
	}
	fmt.Printf("\n%-44s %-10s %s\n", "round trip", "bare", millis(echoes))
	for _, p := range pairs {
		fmt.Printf("%-44s %-10s %s\n", "round trip", p.name, millis(p.roundTrip))
		fmt.Printf("%-44s %-10s %s\n", "one way", p.name, millis(p.oneWay))
		perRound := func(what, format string, values []float64) {
			fmt.Printf("%-44s %-10s "+format+" ("+format+"-"+format+"), n=%d\n", what, p.name, quantile(values, 0.5), quantile(values, 0), quantile(values, 1), rounds)
		}
		perRound(fmt.Sprintf("%d messages of 200 octets, messages a second", count), "%5.0f", p.rate)
		perRound("CPU s of them, sending server", "%5.2f", p.cpuA)
		if p.a.allium != nil {
			perRound("  of it Allium", "%5.2f", p.oursA)
		}
		perRound("CPU s of them, receiving server", "%5.2f", p.cpuB)
		if p.b.allium != nil {
			perRound("  of it Allium", "%5.2f", p.oursB)
		}
	}
	compare := func(what string, ours, theirs []float64) {
		var r []float64
		for i := range ours {
			r = append(r, ours[i]/theirs[i])
		}
		fmt.Printf("%-44s ratio      ×%.2f (middle half %.2f-%.2f)\n", what, quantile(r, 0.5), quantile(r, 0.25), quantile(r, 0.75))
	}
	us, they := pairs[0], pairs[1]
	compare("round trip", middles(us.roundTrip, talks), middles(they.roundTrip, talks))
	compare("one way", middles(us.oneWay, talks), middles(they.oneWay, talks))
	compare("messages a second", us.rate, they.rate)
	compare("CPU, sending server", us.cpuA, they.cpuA)
	compare("CPU, receiving server", us.cpuB, they.cpuB)
	compare("CPU, both", sums(us.cpuA, us.cpuB), sums(they.cpuA, they.cpuB))
	b.ReportMetric(0, "ns/op") // the table above is the result
}

// A pairOfNodes is two servers whose users talk.
type pairOfNodes struct {
	name string
	a, b *node
	tors []*torWatch

	oneWay, roundTrip []time.Duration
	rate, cpuA, cpuB  []float64 // messages a second; CPU seconds of Allium and host for all of them
	oursA, oursB      []float64 // of these, Allium's
}

// warmUp talks, which is not measured.
func (p *pairOfNodes) warmUp(b *testing.B) {
	oneWay, roundTrip := p.oneWay, p.roundTrip
	p.talk(b, 10)
	p.oneWay, p.roundTrip = oneWay, roundTrip
}

// talk sends messages, each when the one before has been answered.
func (p *pairOfNodes) talk(b *testing.B, n int) {
	ctx := deadline(b, 2*time.Minute)
	for range n {
		began := time.Now()
		says(b, ctx, p.a, p.b, "a message")
		p.oneWay = append(p.oneWay, time.Since(began))
		says(b, ctx, p.b, p.a, "its answer")
		p.roundTrip = append(p.roundTrip, time.Since(began))
	}
}

// flood sends messages as fast as they go. All must arrive, in order.
func (p *pairOfNodes) flood(b *testing.B, n int) {
	ctx := deadline(b, 2*time.Minute)
	text := strings.Repeat("x", 195)
	cpuA, cpuB, oursA, oursB, began := p.a.cpu(b), p.b.cpu(b), p.a.ours(b), p.b.ours(b), time.Now()
	for i := range n {
		p.a.send(b, p.a.to(b, p.b, component.Message, "chat", body(fmt.Sprintf("%04d %s", i, text))))
	}
	for i := range n {
		got := p.b.expect(b, ctx, "message", p.a, func(s *component.Stanza) bool { return s.Body() != "" })
		require.Equal(b, fmt.Sprintf("%04d %s", i, text), got.Body())
	}
	p.rate = append(p.rate, float64(n)/time.Since(began).Seconds())
	time.Sleep(100 * time.Millisecond) // for what is done behind the last one
	p.cpuA, p.cpuB = append(p.cpuA, p.a.cpu(b)-cpuA), append(p.cpuB, p.b.cpu(b)-cpuB)
	p.oursA, p.oursB = append(p.oursA, p.a.ours(b)-oursA), append(p.oursB, p.b.ours(b)-oursB)
}

// cpu is the CPU time that the server has used, in seconds: the host, and the Allium
// that it may have.
func (n *node) cpu(b *testing.B) float64 { return processCPU(b, n.host.PID()) + n.ours(b) }

// ours is what of it is Allium's.
func (n *node) ours(b *testing.B) float64 {
	if n.allium == nil {
		return 0
	}
	return processCPU(b, n.allium.Process.Pid)
}

// middles are the medians of each round of n, in milliseconds.
func middles(d []time.Duration, n int) (m []float64) {
	for round := range slices.Chunk(d, n) {
		m = append(m, ms(quantile(round, 0.5)))
	}
	return m
}

func sums(a, b []float64) (s []float64) {
	for i := range a {
		s = append(s, a[i]+b[i])
	}
	return s
}

func millis(d []time.Duration) string {
	return fmt.Sprintf("%5.1f ms (middle half %.1f-%.1f), n=%d", ms(quantile(d, 0.5)), ms(quantile(d, 0.25)), ms(quantile(d, 0.75)), len(d))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
