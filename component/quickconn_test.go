package component

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is true of a connection is true of a quick one: whatever is written arrives, however
// slowly it is read, and what ends a read or write ends it.
func TestQuick(t *testing.T) {
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")} {
		t.Run(network, func(t *testing.T) {
			l, err := net.Listen(network, addr)
			require.NoError(t, err)
			defer l.Close()
			pair := func() (net.Conn, net.Conn) {
				near, err := net.Dial(network, l.Addr().String())
				require.NoError(t, err)
				far, err := l.Accept()
				require.NoError(t, err)
				t.Cleanup(func() { near.Close(); far.Close() })
				return Quick(near), far
			}
			c, far := pair()
			much := bytes.Repeat([]byte("0123456789"), 1<<20) // more than the kernel takes
			for _, from := range []net.Conn{c, far} {
				to := map[net.Conn]net.Conn{c: far, far: c}[from]
				wrote := make(chan error, 1)
				go func() {
					n, err := from.Write(much)
					assert.Equal(t, len(much), n)
					wrote <- err
				}()
				time.Sleep(20 * time.Millisecond)
				got := make([]byte, len(much))
				_, err := io.ReadFull(to, got)
				require.NoError(t, err)
				require.NoError(t, <-wrote)
				require.True(t, bytes.Equal(much, got))
			}
			n, err := c.Read(nil)
			require.NoError(t, err)
			require.Zero(t, n)

			c.SetDeadline(time.Now().Add(10 * time.Millisecond))
			_, err = c.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			n, err = c.Write(much)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Less(t, n, len(much))
			c.SetDeadline(time.Time{})
			go io.Copy(io.Discard, far)

			ended := make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				ended <- err
			}()
			time.Sleep(10 * time.Millisecond)
			c.Close()
			require.ErrorIs(t, <-ended, net.ErrClosed)
			_, err = c.Write(much)
			require.ErrorIs(t, err, net.ErrClosed)

			c, far = pair()
			_, err = far.Write([]byte("last"))
			require.NoError(t, err)
			far.Close()
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, "last", string(got))
			for err == nil {
				_, err = c.Write([]byte("?"))
			}
			require.True(t, network == "tcp" && errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), err)
			var op *net.OpError
			require.ErrorAs(t, err, &op)
			require.Equal(t, "write", op.Op)
		})
	}
	pipe, _ := net.Pipe()
	require.Equal(t, pipe, Quick(pipe), "what is no socket stays as it is")
}
