package main

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/omemo"
)

// BenchmarkKeys is how long a client takes to get all keys of fifty devices at a peer, as it
// does when it encrypts in a room for the first time: by Tor when the peer is up, and from
// what is kept when it is down.
func BenchmarkKeys(b *testing.B) {
	const devices, rounds = 50, 5
	peer, ours := alliumNode(b, "keys-peer", "prosody"), alliumNode(b, "keys-ours", "prosody")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	says(b, ctx, ours, peer, "Tor has found the way")
	bundle, err := os.ReadFile("../../omemo/testdata/legacy-bundle.xml")
	require.NoError(b, err)
	l := &omemo.DeviceList{Format: omemo.Legacy}
	nodes := []string{omemo.NodeLegacyDevices}
	for i := range devices {
		l.Devices = append(l.Devices, omemo.Device{ID: uint32(i + 1)})
		nodes = append(nodes, omemo.NodeLegacyBundles+fmt.Sprint(i+1))
		publishKeys(b, peer, nodes[i+1], "current", string(bundle))
	}
	publishKeys(b, peer, nodes[0], "current", l.Element().String())
	round := func() time.Duration {
		began := time.Now()
		asked := map[string]bool{}
		for _, node := range nodes {
			asked[ours.send(b, ours.to(b, peer, component.IQ, "get", items(node))).ID] = true
		}
		for range nodes {
			got := ours.expect(b, ctx, "keys", peer, func(s *component.Stanza) bool { return asked[s.ID] })
			require.Equal(b, "result", got.Type, got)
		}
		return time.Since(began)
	}
	measure := func(what string) {
		var took []float64
		for range rounds {
			took = append(took, round().Seconds()*1000)
		}
		fmt.Printf("keys of %d devices, peer is %-5s %6.0f ms (median of %d)\n", devices, what, quantile(took, 0.5), rounds)
	}
	round()
	measure("up")
	peer.stopAllium()
	fmt.Printf("keys of %d devices, peer has just vanished: %.0f ms\n", devices, round().Seconds()*1000)
	measure("down")
	b.ReportMetric(0, "ns/op") // what is printed is the result
}
