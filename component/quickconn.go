package component

import (
	"io"
	"net"
	"os"
	"syscall"

	"github.com/allium-xmpp/allium/component/unwatched"
)

// Quick gives a connection over TCP or a Unix socket that costs less CPU time (see package
// unwatched), and is otherwise the same.
//
// One over TCP also acknowledges what it has read at once. Else the kernel waits for up to
// 40 ms for something to send along with it, and a host that leaves Nagle's algorithm on, as
// Prosody does, keeps back what comes next for as long: so each stanza behind the answer to a
// ping of ours would be late.
func Quick(c net.Conn) net.Conn {
	s, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return c
	}
	_, tcp := c.(*net.TCPConn)
	return &quickConn{c, raw, tcp}
}

type quickConn struct {
	net.Conn
	raw syscall.RawConn
	tcp bool
}

// Read reads as the connection below does.
func (c *quickConn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	failed := c.raw.Read(func(fd uintptr) (done bool) {
		if n, err = unwatched.Read(fd, p); err == syscall.EAGAIN {
			return false
		}
		if c.tcp { // the kernel goes back to waiting by itself, so it is told each time
			acknowledge(fd)
		}
		return true
	})
	switch {
	case failed != nil:
		return 0, failed
	case err != nil:
		return 0, c.failure("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write writes all of p, as the connection below does.
func (c *quickConn) Write(p []byte) (n int, err error) {
	failed := c.raw.Write(func(fd uintptr) (done bool) {
		for n < len(p) {
			k, e := unwatched.Write(fd, p[n:])
			if e != nil {
				err = e
				return e != syscall.EAGAIN
			}
			n, err = n+k, nil
		}
		return true
	})
	switch {
	case failed != nil:
		return n, failed
	case err != nil:
		return n, c.failure("write", err)
	}
	return n, nil
}

func (c *quickConn) failure(call string, err error) error {
	return &net.OpError{Op: call, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(call, err)}
}
