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
	c := newConn(near, component.Limits{}, time.Minute)
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
	c.delay = time.Minute
	later(1)
	later(2)
	go c.write([]byte("<message/>"))
	assert.Equal(t, ack(2)+"<message/>", read())
	c.ahead([]byte("<head>"))
	later(3)
	go c.write([]byte("<message/>"))
	assert.Equal(t, "<head>"+ack(3)+"<message/>", read())

	c.delay = time.Millisecond
	later(4)
	assert.Equal(t, ack(4), read())
	c.ahead([]byte("<head>"))
	assert.Equal(t, "<head>", read())

	c.delay = time.Minute
	later(5)
	go c.finish(nil)
	assert.Equal(t, ack(5)+"</stream:stream>", read())
}
