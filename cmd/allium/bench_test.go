package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/allium-xmpp/allium/component"
)

// BenchmarkRelay sends the same messages over the same Tor network to the same server,
// a Prosody with mod_onions: from a Prosody with Allium, and from a Prosody with
// mod_onions. Every message must arrive, once and in order. It prints how they compare.
func BenchmarkRelay(b *testing.B) {
	sink := modOnionsNode(b, "sink")
	ours, theirs := alliumNode(b, "alpha", "prosody"), modOnionsNode(b, "theirs")
	type result struct{ rate, relay, all float64 } // messages a second; CPU µs for each
	results := map[string][]result{}
	for _, n := range []*node{ours, theirs} {
		warm, cancel := context.WithTimeout(context.Background(), time.Minute)
		m := n.send(b, n.to(b, sink, component.Message, "chat", body("warm")))
		sink.expect(b, warm, "first message", n, func(s *component.Stanza) bool { return s.ID == m.ID })
		cancel()
	}
	const count = 2000
	text := strings.Repeat("x", 200)
	round := func(b *testing.B, n *node) result {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cpu := func() (relay, all float64) {
			host := processCPU(b, n.host.PID())
			if n == ours {
				relay = processCPU(b, n.allium.Process.Pid)
				return relay, relay + host
			}
			return host, host
		}
		relay, all := cpu()
		began := time.Now()
		for i := range count {
			n.send(b, n.to(b, sink, component.Message, "chat", body(fmt.Sprintf("%d %s", i, text))))
		}
		for i := range count {
			got := sink.expect(b, ctx, "message", n, func(s *component.Stanza) bool { return s.Body() != "" })
			require.Equal(b, fmt.Sprintf("%d %s", i, text), got.Body())
		}
		took := time.Since(began).Seconds()
		relay2, all2 := cpu()
		return result{count / took, (relay2 - relay) / count * 1e6, (all2 - all) / count * 1e6}
	}
	for range 5 { // side by side, so that both see the same machine
		for name, n := range map[string]*node{"allium": ours, "mod_onions": theirs} {
			results[name] = append(results[name], round(b, n))
		}
	}
	median := func(name string, f func(result) float64) float64 {
		var v []float64
		for _, r := range results[name] {
			v = append(v, f(r))
		}
		return quantile(v, 0.5)
	}
	for _, row := range []struct {
		what string
		f    func(result) float64
	}{
		{"messages a second", func(r result) float64 { return r.rate }},
		{"CPU µs a message, relay", func(r result) float64 { return r.relay }},
		{"CPU µs a message, relay and host", func(r result) float64 { return r.all }},
	} {
		us, them := median("allium", row.f), median("mod_onions", row.f)
		fmt.Printf("%-36s Allium %8.0f   mod_onions %8.0f   ratio %.2f\n", row.what, us, them, us/them)
	}
	b.ReportMetric(0, "ns/op") // the table above is the result
}

// processCPU is the CPU time that a process has used, in seconds, by its own clock
// (clock_getcpuclockid(3)).
func processCPU(b *testing.B, pid int) float64 {
	const scheduled = 2 // of the clocks of a process, the one in nanoseconds
	var t unix.Timespec
	require.NoError(b, unix.ClockGettime(int32(^pid<<3|scheduled), &t))
	return time.Duration(t.Nano()).Seconds()
}
