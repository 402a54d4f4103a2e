package main

import (
	"bytes"
	"crypto/rand"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A wiretap hears all that goes over loopback: between clients and their servers, between
// servers and their Alliums, and between the relays of Tor.
type wiretap struct {
	fd    int
	ended chan error

	mu    sync.Mutex
	heard map[string]int // how many packets had a word in them
	last  bool           // the next packet, or silence, is the last
}

// listenFor begins to listen for words, which must be long enough to be nowhere by chance.
func listenFor(t testing.TB, words ...string) *wiretap {
	const every = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in the network's order of octets
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, every)
	require.NoError(t, err)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) != nil { // that is for root
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<20))
	}
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}))
	w := &wiretap{fd: fd, ended: make(chan error, 1), heard: map[string]int{}}
	w.listen(words...)
	go func() { w.ended <- w.run() }()
	t.Cleanup(func() {
		w.mu.Lock()
		w.last = true
		w.mu.Unlock()
		assert.NoError(t, <-w.ended)
		unix.Close(fd)
	})
	return w
}

func (w *wiretap) listen(words ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, word := range words {
		w.heard[word] = 0
	}
}

func (w *wiretap) run() error {
	packet := make([]byte, 1<<18)
	for {
		n, err := unix.Read(w.fd, packet)
		if err != nil && err != unix.EAGAIN && err != unix.EINTR {
			return err
		}
		w.mu.Lock()
		for word := range w.heard {
			if n > 0 && bytes.Contains(packet[:n], []byte(word)) {
				w.heard[word]++
			}
		}
		last := w.last
		w.mu.Unlock()
		if last {
			return nil
		}
	}
}

// count tells how many packets with a word went by until now. None went by unheard.
func (w *wiretap) count(t testing.TB, word string) int {
	t.Helper()
	conn, err := net.Dial("udp", "127.0.0.1:9")
	require.NoError(t, err)
	defer conn.Close()
	now := rand.Text()
	w.listen(now)
	_, err = conn.Write([]byte(now))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return w.get(now) > 0 }, time.Minute, 10*time.Millisecond, "all before this was heard")
	st, err := unix.GetsockoptTpacketStats(w.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	require.NoError(t, err)
	require.Zero(t, st.Drops)
	return w.get(word)
}

func (w *wiretap) get(word string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard[word]
}

// filesWith are the files below a folder that have the text in them.
func filesWith(t testing.TB, dir, text string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var data []byte
		if err == nil && d.Type().IsRegular() {
			data, err = os.ReadFile(path)
		}
		if os.IsNotExist(err) { // it was removed meanwhile
			return nil
		}
		if bytes.Contains(data, []byte(text)) {
			files = append(files, path)
		}
		return err
	}))
	return files
}
