package component_test

import (
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// A rawHost is a component listener for what a real host does not do when it is told to.
type rawHost struct {
	t  *testing.T
	ln net.Listener
}

func startRawHost(t *testing.T) *rawHost {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return &rawHost{t, ln}
}

// A rawConn is one connection to a rawHost, behind the handshake.
type rawConn struct {
	t    *testing.T
	conn net.Conn
	d    *component.Decoder
}

func (h *rawHost) accept() *rawConn {
	conn, err := h.ln.Accept()
	require.NoError(h.t, err)
	h.t.Cleanup(func() { conn.Close() })
	c := &rawConn{h.t, conn, component.NewDecoder(conn, component.Limits{})}
	_, err = c.d.Header()
	require.NoError(h.t, err)
	c.write("<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' from='one.example.org' id='1'>")
	_, err = c.d.Next()
	require.NoError(h.t, err)
	c.write("<handshake/>")
	return c
}

func (c *rawConn) write(xml string) {
	_, err := io.WriteString(c.conn, xml)
	require.NoError(c.t, err)
}

// next reads a stanza; at the end of the stream it is nil.
func (c *rawConn) next() *component.Stanza {
	e, err := c.d.Next()
	if err == io.EOF {
		return nil
	}
	require.NoError(c.t, err)
	s, err := component.ParseStanza(e)
	require.NoError(c.t, err)
	return s
}

// until reads up to a ping, and returns the bodies of what came before it.
func (c *rawConn) until() (bodies []string, ping *component.Stanza) {
	for {
		s := c.next()
		require.NotNil(c.t, s)
		if s.Child(component.NSPing, "ping") != nil {
			return bodies, s
		}
		bodies = append(bodies, s.Body())
	}
}

func (c *rawConn) answer(ping *component.Stanza) {
	c.write(fmt.Sprintf("<iq type='result' from='%s' to='%s' id='%s'/>", ping.To, ping.From, ping.ID))
}
