package onionroute

import (
	"context"
	"database/sql"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A peer is called by what worked the last time, also after a restart, and by what is better
// once it is long ago.
func TestPortThatWorked(t *testing.T) {
	w, a, b, bob, _ := two(t, quick)
	x := startRawServer(t, w, believe)
	x.got = make(chan string, 10)
	says := func(text string) {
		t.Helper()
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, text)))
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `eve\40`+x.name+"@onion.a.example", text)))
		require.Equal(t, text, b.receive1(t).Body())
		require.Equal(t, text, <-x.got)
		a.empties(t)
		a.spool.settled(t)
	}
	tried := func(ofX ...int) {
		t.Helper()
		assert.Equal(t, ofX, w.portsOf(x.name))
		for _, port := range w.portsOf(b.m.Identity) {
			assert.Equal(t, portServerTLS, port)
		}
		w.cut()
		require.Eventually(t, func() bool { return a.connected() == 0 }, 10*time.Second, time.Millisecond)
		w.mu.Lock()
		defer w.mu.Unlock()
		clear(w.tried)
	}
	says("1")
	tried(portServerTLS, portServer)
	says("2")
	tried(portServer)
	a.stop()
	a.start()
	says("3")
	tried(portServer)
	require.NoError(t, a.spool.change(func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE peer SET seen = seen - ?", int64(a.times.abilities/time.Second)+1)
		return err
	}))
	says("4")
	tried(portServerTLS, portServer)

	// It has no TLS any more that it had.
	w.mu.Lock()
	w.tls[b.m.Identity] = ""
	w.mu.Unlock()
	says("5")
	assert.Equal(t, []int{portServerTLS, portServer}, w.portsOf(b.m.Identity))
}

// connected is with how many peers the server has a stream.
func (s *server) connected() (n int) {
	for _, p := range s.known() {
		p.mu.Lock()
		if p.cur != nil {
			n++
		}
		p.mu.Unlock()
	}
	return n
}

// A peer that closes connections to the one port at once, as a proxy does with nothing behind
// it, is called at the other.
func TestPortThatCloses(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", quick)
	x := startRawServer(t, w, believe)
	x.got = make(chan string, 10)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			c.Read(make([]byte, 10_000))
			c.Close()
		}
	}()
	w.mu.Lock()
	w.tls[x.name] = l.Addr().String()
	w.mu.Unlock()
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `eve\40`+x.name+"@onion.a.example", "hi")))
	require.Eventually(t, func() bool { return len(x.got) == 1 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, []int{portServerTLS, portServer}, w.portsOf(x.name))
	a.empties(t)
}
