package onionroute

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

type countingConn struct {
	net.Conn
	writes int
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes++
	return c.Conn.Write(b)
}

// Who speaks first behind a handshake does so in one write with the end of that. Who does
// not leaves nothing unwritten, nor does one that fails.
func TestFlight(t *testing.T) {
	cr := testCredentials(t, 1)
	refuses := cr.clientTLS(cr.name, true)
	refuses.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not that one") }
	older := cr.clientTLS(cr.name, true)
	older.MaxVersion = tls.VersionTLS12
	for _, c := range []struct {
		name   string
		client *tls.Config
		writes int // of the client, with hello
		err    string
	}{
		{"TLS 1.3", cr.clientTLS(cr.name, true), 2, ""},
		{"TLS 1.2, where the server has the last word", older, 3, ""},
		{"refused", refuses, 2, "bad certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			require.NoError(t, err)
			defer l.Close()
			near, err := net.Dial("unix", l.Addr().String())
			require.NoError(t, err)
			defer near.Close()
			far, err := l.Accept()
			require.NoError(t, err)
			defer far.Close()
			for _, c := range []net.Conn{near, far} {
				c.SetDeadline(time.Now().Add(10 * time.Second))
			}
			heard := make(chan error, 1)
			go func() {
				s, err := newConn(far, component.Limits{}, time.Minute).startTLS(false, func(c net.Conn) *tls.Conn { return tls.Server(c, cr.serverTLS(true)) })
				if err == nil {
					_, err = s.Read(make([]byte, 10))
				}
				heard <- err
			}()
			count := &countingConn{Conn: near}
			speaks := newConn(count, component.Limits{}, time.Minute)
			_, err = speaks.startTLS(true, func(n net.Conn) *tls.Conn { return tls.Client(n, c.client) })
			if c.err == "" {
				require.NoError(t, err)
				require.NoError(t, speaks.write([]byte("hello")))
				require.NoError(t, <-heard)
			} else {
				require.ErrorContains(t, err, "not that one")
				require.ErrorContains(t, <-heard, c.err)
			}
			assert.Equal(t, c.writes, count.writes)
		})
	}
}

// Between two Alliums nothing waits for an answer but the handshake: what proves who we are,
// the request to open the stream and the first stanzas are there, and handed to the host,
// before we have heard anything else from the other side.
func TestOneFlight(t *testing.T) {
	w, a, b, bob, alice := two(t)
	held, release := w.holdBack(t, b)
	for _, text := range []string{"1", "2"} {
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, text)))
		require.Equal(t, text, b.receive1(t).Body())
	}
	<-held
	assert.Equal(t, []bool{true}, b.believes())
	assert.NotZero(t, a.waits(), "nothing is acknowledged yet")
	release()
	a.empties(t)
	require.NoError(t, b.HandleStanza(context.Background(), message("bob@b.example", alice, "3")))
	assert.Equal(t, "3", a.receive1(t).Body())
	assert.Len(t, w.dialled(), 1)
}

// holdBack has the next stream to the server by TLS go by somebody who keeps what the server
// says, from when the caller has answered its part of the handshake until release is called.
// held is closed when there is something of that.
func (w *wire) holdBack(t testing.TB, s *server) (held <-chan struct{}, release func()) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	w.mu.Lock()
	w.tls[s.m.Identity] = l.Addr().String()
	w.mu.Unlock()
	holds, released := make(chan struct{}), make(chan struct{})
	pass := func(from, to net.Conn, before func()) {
		defer to.Close()
		for b := make([]byte, 1<<16); ; {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			before()
			if _, err = to.Write(b[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		caller, err := l.Accept()
		if err != nil {
			return
		}
		called, err := net.Dial("unix", s.Ports()[portServerTLS])
		if err != nil {
			return
		}
		var spoke, answered atomic.Bool
		go pass(caller, called, func() { answered.Store(spoke.Load()) })
		pass(called, caller, func() {
			if !answered.Load() {
				spoke.Store(true)
				return
			}
			select {
			case <-holds:
			default:
				close(holds)
			}
			<-released
		})
	}()
	return holds, func() { close(released) }
}
