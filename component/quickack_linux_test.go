package component

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// After a conversation, the kernel waits before it acknowledges; not so on a link.
func TestAckAtOnce(t *testing.T) {
	waits := func(wrap func(net.Conn) net.Conn) bool {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		near, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer near.Close()
		far, err := l.Accept()
		require.NoError(t, err)
		defer far.Close()
		c, b := wrap(near), make([]byte, 1)
		for range 20 {
			for _, p := range [][2]net.Conn{{c, far}, {far, c}} {
				_, err := p[0].Write(b)
				require.NoError(t, err)
				_, err = p[1].Read(b)
				require.NoError(t, err)
			}
		}
		raw, err := near.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		quick := 0
		require.NoError(t, raw.Control(func(fd uintptr) {
			quick, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK)
		}))
		require.NoError(t, err)
		return quick == 0
	}
	assert.True(t, waits(func(c net.Conn) net.Conn { return c }))
	assert.False(t, waits(Quick))
}
