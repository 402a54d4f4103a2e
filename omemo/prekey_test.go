package omemo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gives is what the directory gives of a bundle whose owner is away.
func (w *world) gives(asker string, f *Format) *Bundle {
	w.t.Helper()
	require.NoError(w.t, w.says(hostSide, read(asker, bob, f.nodeFor(7), map[*Format]string{Legacy: current, OMEMO2: "7"}[f])))
	b, err := f.ParseBundle(payload(w.t, w.gets(hostSide)))
	require.NoError(w.t, err)
	return b
}

func itemID(f *Format) string {
	if f == OMEMO2 {
		return "7"
	}
	return current
}

// Nobody gets a pre-key that somebody else has had, while there are others, and nobody gets
// all.
func TestPreKeys(t *testing.T) {
	const n = 20
	for name, f := range formats {
		w := newWorld(t)
		b := newBundle(t, f, newSigner(t, f), n)
		w.knows(alice, bob, f.nodeFor(7), itemID(f), b.Element())
		w.away(peerSide, down)
		had := map[uint32]string{}
		take := func(who string, times, fresh int) {
			for range times {
				got := w.gives(who, f)
				require.Len(t, got.PreKeys, 1)
				assert.Equal(t, b.SignedPreKey, got.SignedPreKey)
				assert.Contains(t, b.PreKeys, got.PreKeys[0])
				if had[got.PreKeys[0].ID] == "" {
					fresh--
				} else {
					assert.Equal(t, who, had[got.PreKeys[0].ID], "%s: it has been another's", name)
				}
				had[got.PreKeys[0].ID] = who
			}
			assert.Zero(t, fresh, "%s: %s", name, who)
		}
		take("greedy@example.org/x", n, n/4)
		for i := range n - n/4 {
			if i == 5 {
				w.close()
				w.open()
				w.away(peerSide, down)
			}
			take(fmt.Sprintf("u%d@example.org/x", i), 1, 1)
		}
		assert.Len(t, had, n)
		before := had[w.gives("late@example.org/x", f).PreKeys[0].ID]
		assert.NotEmpty(t, before, "then the one that was handed out first is as good as any")

		// The device has replaced one: that is free, and the others are not.
		b.PreKeys[3] = PreKey{77, newKey(t)}
		w.away(peerSide, nil)
		w.knows(alice, bob, f.nodeFor(7), itemID(f), b.Element())
		w.away(peerSide, down)
		assert.EqualValues(t, 77, w.gives("last@example.org/x", f).PreKeys[0].ID)

		// What another directory gives of the bundle does not replace it, but tells that it is
		// not old.
		one := *b
		one.PreKeys = b.PreKeys[3:4]
		w.away(peerSide, nil)
		w.shift(-29 * 24 * time.Hour)
		w.knows(alice, bob, f.nodeFor(7), itemID(f), one.Element())
		w.shift(-2 * 24 * time.Hour)
		w.away(peerSide, down)
		assert.NotEqual(t, uint32(77), w.gives("last2@example.org/x", f).PreKeys[0].ID)
		one.PreKeys = []PreKey{{1, newKey(t)}}
		w.away(peerSide, nil)
		w.knows(alice, bob, f.nodeFor(7), itemID(f), one.Element())
		w.away(peerSide, down)
		assert.Equal(t, one.PreKeys, w.gives("last3@example.org/x", f).PreKeys, "a device that has this one alone")
	}
}

// Real clients begin sessions with what the directory gives while the owner's server is away,
// and the owner's device can read what all of them wrote: it takes each pre-key once.
func TestSessions(t *testing.T) {
	folder := t.TempDir()
	cmd := exec.Command("/usr/bin/python3", "-B", filepath.Join("testdata", "peer.py"), "meet", folder)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer in.Close()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "it has published")

	w := newWorld(t)
	const clients = 25
	for name, f := range formats {
		w.away(peerSide, nil)
		w.knows(alice, bob, f.nodeFor(7), itemID(f), load(t, folder, name+"-bundle"))
		w.away(peerSide, down)
		for i := range clients {
			save(t, folder, fmt.Sprintf("%s-given-%d", name, i), w.gives(fmt.Sprintf("u%d@example.org/x", i), f).Element())
		}
	}
	_, err = fmt.Fprintln(in, clients)
	require.NoError(t, err)
	require.True(t, lines.Scan())
	var read map[string][]string
	require.NoError(t, json.Unmarshal(lines.Bytes(), &read))
	for name := range formats {
		require.Len(t, read[name], clients)
		for i, text := range read[name] {
			assert.Equal(t, fmt.Sprintf("hello from %d", i), text, name)
		}
	}
}
