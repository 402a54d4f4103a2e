package main

import (
	"fmt"
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
func BenchmarkSteady(b *testing.B) {
	const rounds, talks, count = 7, 100, 2000
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
		fmt.Printf("%-44s %-10s %5.0f (%.0f-%.0f), n=%d\n", fmt.Sprintf("%d messages of 200 octets, messages a second", count), p.name, quantile(p.rate, 0.5), quantile(p.rate, 0), quantile(p.rate, 1), rounds)
		for _, c := range []struct {
			end       string
			cpu, ours []float64
		}{{"sending", p.cpuA, p.oursA}, {"receiving", p.cpuB, p.oursB}} {
			fmt.Printf("%-44s %-10s %5.2f (%.2f-%.2f), n=%d\n", "CPU s of them, "+c.end+" server", p.name, quantile(c.cpu, 0.5), quantile(c.cpu, 0), quantile(c.cpu, 1), rounds)
			if p.a.allium != nil {
				fmt.Printf("%-44s %-10s %5.2f\n", "  of it Allium", p.name, quantile(c.ours, 0.5))
			}
		}
	}
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

func millis(d []time.Duration) string {
	return fmt.Sprintf("%5.1f ms (middle half %.1f-%.1f), n=%d", ms(quantile(d, 0.5)), ms(quantile(d, 0.25)), ms(quantile(d, 0.75)), len(d))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
