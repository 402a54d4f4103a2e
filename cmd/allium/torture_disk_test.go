package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// diskFull makes a node's disk full while its peer is away. What it cannot keep comes back
// as an error, and all else arrives, also if it is killed then: a request for subscription
// from before.
func (w *torture) diskFull() {
	a, b, f := w.nodes[0], w.nodes[1], w.flows[0]
	filler := a.smallDisk(w)
	b.stopAllium()
	hangUp(a.watch(w)) // it may not have heard of that: what it writes to who is there is in memory alone
	asked := make(chan struct{}, 1)
	f.mu.Lock()
	f.presence = func(s *component.Stanza) {
		if s.Type == "subscribe" {
			asked <- struct{}{}
		}
	}
	f.mu.Unlock()
	require.True(w, f.from.send(&component.Stanza{Kind: component.Presence, Type: "subscribe", To: f.addr}))
	f.from.pause(w)
	time.Sleep(time.Second) // so it is on disk
	require.ErrorIs(w, fill(filler), syscall.ENOSPC)
	last := 0
	for range 100 {
		last, _ = f.say(true)
		time.Sleep(5 * time.Millisecond)
	}
	require.Eventually(w, func() bool {
		_, returned := f.has(last)
		if !returned { // there may have been room for it, as by what tor did not need any more
			last, _ = f.say(true)
		}
		return returned
	}, 20*time.Second, 500*time.Millisecond)
	a.allium.Process.Kill()
	<-a.exited
	require.NoError(w, os.Remove(filler))
	a.startAllium(w)
	b.startAllium(w)
	f.finish(w)
	select {
	case <-asked:
	default:
		w.Error("the request for subscription did not arrive before the last message")
	}
	r := f.reckon(w)
	assert.Empty(w, r.lost, "neither arrived nor returned")
	assert.Empty(w, r.twice)
	assert.Empty(w, r.both, "arrived, and was returned")
	assert.Empty(w, r.disorder)
	assert.NotZero(w, f.conditions[stanza.ResourceConstraint], "%v", f.conditions)
	w.Logf("answers: %v", f.conditions)
}

// smallDisk moves the files of a node's Allium to a small disk of their own until the end of
// the test, and gives the name of a file there to fill it with.
func (n *node) smallDisk(t testing.TB) (filler string) {
	state, old := filepath.Join(n.dir, "state"), filepath.Join(n.dir, "old")
	move := func(from, to string) {
		out, err := exec.Command("sh", "-ec", `for f in "$0"/*; do case $f in *control|*socks|*s2s*|*filler) ;; *) cp -a "$f" "$1";; esac; done`, from, to).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	n.stopAllium()
	require.NoError(t, os.Rename(state, old))
	require.NoError(t, os.Mkdir(state, 0o700))
	require.NoError(t, unix.Mount("small", state, "tmpfs", 0, "size=64m,mode=700"))
	move(old, state)
	n.startAllium(t)
	t.Cleanup(func() {
		n.stopAllium()
		require.NoError(t, os.RemoveAll(old))
		require.NoError(t, os.Mkdir(old, 0o700))
		move(state, old)
		require.NoError(t, unix.Unmount(state, 0))
		require.NoError(t, os.Remove(state))
		require.NoError(t, os.Rename(old, state))
		n.startAllium(t)
	})
	return filepath.Join(state, "filler")
}

// While the disk of the one who receives is full, messages are handed over and not
// acknowledged, and others wait where they are when there is no session for them, or it has to
// be resumed. When there is room again, all of that is made up for: nothing is lost, and
// nothing comes twice.
func TestReceiverHasDiskFull(t *testing.T) {
	a, b, c := alliumNode(t, "alpha", "prosody"), alliumNode(t, "beta", "prosody"), alliumNode(t, "gamma", "ejabberd")
	w := tortured(t, rand.New(rand.NewPCG(1, 2)), a, b)
	f, filler, ctx := w.flows[0], b.smallDisk(t), deadline(t, 4*time.Minute)
	f.finish(t)
	arrive := func() {
		require.Eventually(t, func() bool { return f.between(0, f.count()).arrived == f.count() }, time.Minute, 20*time.Millisecond)
	}
	waits := func() float64 { return a.metric(t, "waiting_octets") }
	acknowledged := func() bool { return waits() == 0 }
	require.Eventually(t, acknowledged, time.Minute, 20*time.Millisecond)
	fills := func() {
		from := b.logged()
		require.ErrorIs(t, fill(filler), syscall.ENOSPC)
		require.Eventually(t, func() bool {
			f.say(true)
			return logs(t, b, from, "what peers send is not acknowledged") > 0
		}, time.Minute, 5*time.Millisecond)
		for range 20 {
			f.say(true)
		}
		arrive()
		assert.Greater(t, waits(), 4e3)
	}
	fills()
	from, sent := c.logged(), []string(nil)
	for range 5 {
		sent = append(sent, c.send(t, c.to(t, b, component.Message, "chat", body("from another"))).ID)
	}
	require.Eventually(t, func() bool { return logs(t, c, from, "no stream management after all") > 2 }, time.Minute, 20*time.Millisecond)
	require.NoError(t, os.Remove(filler))
	require.Eventually(t, acknowledged, time.Minute, 20*time.Millisecond)
	another := func(s *component.Stanza) bool { return s.Body() == "from another" }
	for _, id := range sent {
		assert.Equal(t, id, b.expect(t, ctx, "message that waited", c, another).ID)
	}

	fills()
	from = b.logged()
	hangUp(a.watch(t), b.watch(t))
	require.Eventually(t, func() bool { return logs(t, b, from, `msg="peer cannot be reached"`) > 1 }, time.Minute, 20*time.Millisecond)
	f.say(true)
	require.NoError(t, os.Remove(filler))
	arrive()
	require.Eventually(t, acknowledged, time.Minute, 20*time.Millisecond)

	// What was acknowledged is on disk.
	b.allium.Process.Kill()
	<-b.exited
	b.startAllium(t)
	f.finish(t)
	says(t, ctx, c, b, "and more")
	r := f.reckon(t)
	assert.Zero(t, len(r.lost)+len(r.twice)+len(r.disorder)+r.returned, "%+v", r)
	assert.False(t, slices.ContainsFunc(b.client.Received(), another), "twice")
}

// logs counts how often a text is in what a node logged from an offset on.
func logs(t testing.TB, n *node, from int64, text string) int {
	log, err := os.ReadFile(n.log)
	require.NoError(t, err)
	return strings.Count(string(log[from:]), text)
}

// metric is a number about the federation that the node's Allium tells.
func (n *node) metric(t testing.TB, what string) (value float64) {
	r, err := http.Get("http://" + n.web + "/metrics")
	require.NoError(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), fmt.Sprintf("allium_federation{what=%q} ", what))
	require.True(t, found, "%s", text)
	_, err = fmt.Sscan(rest, &value)
	require.NoError(t, err)
	return value
}

// fill writes a file for as long as there is room.
func fill(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	return err
}
