package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
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
	state := filepath.Join(a.dir, "state")
	move := func(from, to string) {
		out, err := exec.Command("sh", "-ec", `for f in "$0"/*; do case $f in *control|*socks|*s2s*) ;; *) cp -a "$f" "$1";; esac; done`, from, to).CombinedOutput()
		require.NoError(w, err, "%s", out)
	}
	a.stopAllium()
	old := filepath.Join(a.dir, "old")
	require.NoError(w, os.Rename(state, old))
	require.NoError(w, os.Mkdir(state, 0o700))
	require.NoError(w, unix.Mount("small", state, "tmpfs", 0, "size=64m,mode=700"))
	move(old, state)
	a.startAllium(w)
	w.Cleanup(func() {
		a.stopAllium()
		require.NoError(w, os.RemoveAll(old))
		require.NoError(w, os.Mkdir(old, 0o700))
		move(state, old)
		require.NoError(w, unix.Unmount(state, 0))
		require.NoError(w, os.Remove(state))
		require.NoError(w, os.Rename(old, state))
		a.startAllium(w)
	})

	b.stopAllium()
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
	filler := filepath.Join(state, "filler")
	require.ErrorIs(w, fill(filler), syscall.ENOSPC)
	last := 0
	for range 100 {
		last, _ = f.say(true)
		time.Sleep(5 * time.Millisecond)
	}
	require.Eventually(w, func() bool { _, returned := f.has(last); return returned }, 20*time.Second, 10*time.Millisecond)
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
