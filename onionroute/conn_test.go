package onionroute

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// What is not urgent goes along with the next write; of several only the last does, and
// by itself when nothing else is written.
func TestWriteLater(t *testing.T) {
	near, far := net.Pipe() // each write is one read
	defer far.Close()
	far.SetReadDeadline(time.Now().Add(10 * time.Second))
	c := newConn(near, component.Limits{})
	c.opened.Store(true)
	read := func() string {
		b := make([]byte, 1000)
		n, err := far.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	ack := func(h uint32) string {
		return string(smElement("a").With("h", number(h)).AppendXML(nil, component.NSServer))
	}
	later := func(h uint32) { c.later(smElement("a").With("h", number(h))) }
	later(1)
	later(2)
	go c.write([]byte("<message/>"))
	assert.Equal(t, ack(2)+"<message/>", read())
	later(3)
	assert.Equal(t, ack(3), read())
	later(4)
	go c.finish(nil)
	assert.Equal(t, ack(4)+"</stream:stream>", read())
}
