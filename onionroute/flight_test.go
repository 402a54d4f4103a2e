package onionroute

import (
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
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
