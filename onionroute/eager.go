package onionroute

import (
	"net"
	"sync"
	"time"
)

// An eagerConn is a connection that is made when something is written for the first time,
// which goes along with the request to connect. Who speaks first spares a round trip so.
// Before the first write there is nothing to be read, and no deadline; after it, it is an
// ordinary connection. Close is safe at any time.
type eagerConn struct {
	net.Conn // nil until the first write
	dial     func(first []byte) (net.Conn, error)
	failed   error // of dial

	mu     sync.Mutex // held while Conn or closed is set, and by Close
	closed bool
}

func (c *eagerConn) Write(b []byte) (int, error) {
	if c.Conn != nil {
		return c.Conn.Write(b)
	}
	if c.failed != nil {
		return 0, c.failed
	}
	conn, err := c.dial(b)
	if err != nil {
		c.failed = err
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Conn = conn
	if c.closed {
		conn.Close()
	}
	return len(b), nil
}

func (c *eagerConn) SetWriteDeadline(t time.Time) error {
	if c.Conn == nil {
		return nil // dial has its own
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *eagerConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.Conn == nil {
		return nil
	}
	return c.Conn.Close()
}
