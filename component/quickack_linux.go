package component

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ackAtOnce makes a connection acknowledge (in the sense of TCP) what it has read at once.
// Else the kernel waits for up to 40 ms for something to send along with it, and a host
// that leaves Nagle's algorithm on, as Prosody does, keeps back what comes next for as
// long: so each stanza behind the answer to a ping of ours would be late.
func ackAtOnce(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	return &quickConn{t, raw}
}

type quickConn struct {
	*net.TCPConn
	raw syscall.RawConn
}

func (c *quickConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	// The kernel goes back to waiting by itself, so it is told each time.
	c.raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	return n, err
}
