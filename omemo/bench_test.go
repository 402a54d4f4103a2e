package omemo

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// BenchmarkServed is a look-up of somebody whose server is away: one after the other, and a
// thousand at a time.
func BenchmarkServed(b *testing.B) {
	for _, c := range []struct {
		name   string
		atOnce int
	}{{"one", 1}, {"thousand", 1000}} {
		for _, what := range []string{NodeLegacyDevices, NodeLegacyBundles + "7"} {
			w := newWorld(b)
			bundle := newBundle(b, Legacy, newSigner(b, Legacy), 100)
			w.knows(alice, bob, NodeLegacyDevices, current, list(Legacy, 7))
			w.knows(alice, bob, NodeLegacyBundles+"7", current, bundle.Element())
			w.away(peerSide, down)
			name := map[bool]string{true: "list/", false: "bundle/"}[what == NodeLegacyDevices] + c.name
			xml := read(alice, bob, what)
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; i < b.N; i += c.atOnce {
					for range c.atOnce {
						require.NoError(b, w.says(hostSide, xml))
					}
					for range c.atOnce {
						w.gets(hostSide)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
			})
			w.close()
		}
	}
}

// BenchmarkRoom is what the directory takes for all keys of fifty people with a device each:
// when their server answers at once, and when it is away.
func BenchmarkRoom(b *testing.B) {
	const people = 50
	payloads := map[string]*component.Element{
		NodeLegacyDevices:       list(Legacy, 7),
		NodeLegacyBundles + "7": newBundle(b, Legacy, newSigner(b, Legacy), 100).Element(),
	}
	for _, name := range []string{"up", "down"} {
		w := newWorld(b)
		w.ways[peerSide] = func(ctx context.Context, s *component.Stanza) error {
			w.mu.Lock()
			err := w.fail[peerSide]
			w.mu.Unlock()
			if err != nil {
				return err
			}
			node := s.Payload().Child(NSPubsub, "items").AttrValue("node")
			return w.peer.Send(ctx, s.Result(items(node, current, payloads[node])))
		}
		round := func() {
			for i := range people {
				for node := range payloads {
					require.NoError(b, w.says(hostSide, read(alice, user(i), node)))
				}
			}
			for range 2 * people {
				require.Equal(b, "result", w.gets(hostSide).Type)
			}
		}
		round()
		if name == "down" {
			w.away(peerSide, down)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				round()
			}
		})
		w.close()
	}
}
