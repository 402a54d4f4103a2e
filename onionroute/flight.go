package onionroute

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// A flightConn is below TLS, and makes one write of what is written one after the other
// without a read in between: the last of a handshake, which tells who we are, goes along
// with what is said by the stream that it is for (see conn.later for what two writes cost).
type flightConn struct {
	net.Conn
	shaking atomic.Bool // the handshake is under way: nothing is written before a read

	mu   sync.Mutex // held while writing
	held []byte
}

func newFlightConn(c net.Conn) *flightConn {
	f := &flightConn{Conn: c}
	f.shaking.Store(true)
	return f
}

func (c *flightConn) Read(b []byte) (int, error) {
	if c.shaking.Load() {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
}

func (c *flightConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shaking.Load() {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	if len(c.held) == 0 {
		return c.Conn.Write(b)
	}
	all := slices.Concat(c.held, b)
	n, err := c.Conn.Write(all)
	n = max(0, n-len(c.held))
	c.held = nil
	return n, err
}

// flush writes what is held back.
func (c *flightConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.held
	c.held = nil
	if len(held) == 0 {
		return nil
	}
	_, err := c.Conn.Write(held)
	return err
}

// shaken ends the handshake. What is held back then goes with the next write.
func (c *flightConn) shaken() { c.shaking.Store(false) }
