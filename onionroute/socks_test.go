package onionroute

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeSocks is a Tor that is up, whose SOCKS port does what the test says with each
// connection, once it has read the request.
func fakeSocks(t *testing.T, answer func(c net.Conn, request []byte)) *Tor {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socks"))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				read := func(n int) []byte {
					b := make([]byte, n)
					io.ReadFull(c, b)
					return b
				}
				read(int(read(2)[1]))
				c.Write([]byte{5, 2})
				read(int(read(2)[1]))
				read(int(read(1)[0]))
				c.Write([]byte{1, 0})
				head := read(5)
				answer(c, append(head, read(int(head[4])+2)...))
			}()
		}
	}()
	tor := NewTor(TorConfig{})
	tor.setConnected(nil, l.Addr(), nil)
	return tor
}

// What is to be written first goes along with the request, and does not wait for the
// answer. What comes behind the answer is the connection's.
func TestDialEagerly(t *testing.T) {
	tor := fakeSocks(t, func(c net.Conn, request []byte) {
		first := make([]byte, 5)
		io.ReadFull(c, first) // and only then:
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		c.Write(append(request, first...))
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c := &eagerConn{dial: func(first []byte) (net.Conn, error) {
		return tor.Dial(ctx, testX, portServerTLS, "isolation", first)
	}}
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
	_, err := c.Write([]byte("first"))
	require.NoError(t, err)
	defer c.Close()
	want := "\x05\x01\x00\x03" + string(rune(len(testX))) + testX + "\x14\x96first"
	got := make([]byte, len(want))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	assert.Equal(t, want, string(got))
}

func TestDialFails(t *testing.T) {
	nothingLeft(t)
	for _, code := range []byte{1, 5, socksTimeout, 0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7} {
		tor := fakeSocks(t, func(c net.Conn, _ []byte) { c.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0}) })
		_, err := tor.Dial(t.Context(), testX, portServer, "isolation", nil)
		assert.Equal(t, &SOCKSError{code}, err)
	}
	// Tor ends, or says nothing.
	tor := fakeSocks(t, func(net.Conn, []byte) {})
	_, err := tor.Dial(t.Context(), testX, portServer, "isolation", nil)
	assert.ErrorIs(t, err, io.EOF)
	silent := fakeSocks(t, func(c net.Conn, _ []byte) { io.ReadFull(c, make([]byte, 1)) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c := &eagerConn{dial: func(first []byte) (net.Conn, error) { return silent.Dial(ctx, testX, portServer, "isolation", first) }}
	_, err = c.Write(nil)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	_, again := c.Write(nil)
	assert.Equal(t, err, again, "it is tried once")
	// What is closed meanwhile does not stay open.
	a, b := net.Pipe()
	defer b.Close()
	c = &eagerConn{}
	c.dial = func([]byte) (net.Conn, error) { return a, c.Close() }
	c.Write(nil)
	_, err = a.Write(nil)
	assert.ErrorIs(t, err, io.ErrClosedPipe)
	_, err = tor.Dial(t.Context(), "example.org", portServer, "isolation", nil)
	assert.Equal(t, &SOCKSError{socksBadAddress}, err)
}

// Who has to be found waits for the upload of our descriptor, and for nothing when there is
// no Tor: what is for the peer must not wait then without a word.
func TestFindable(t *testing.T) {
	tor := NewTor(TorConfig{})
	waits := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		tor.Findable(ctx)
		return ctx.Err() != nil
	}
	assert.False(t, waits(), "no Tor yet")
	for _, end := range []func(){tor.setUp, func() { tor.setDown(ErrTorDown) }} {
		tor.setDown(ErrTorDown)
		tor.setConnected(nil, nil, nil)
		assert.True(t, waits())
		waiting := make(chan struct{})
		go func() { defer close(waiting); tor.Findable(t.Context()) }()
		end()
		<-waiting
		assert.False(t, waits())
	}
}

// Tor asks one directory after the other for a descriptor. When it has asked the last one,
// nobody waits for another.
func TestFetched(t *testing.T) {
	for _, c := range []struct {
		tells []string
		found bool
	}{
		{[]string{descRequested, descFailed, descRequested, descReceived}, true},
		{[]string{descRequested, descFailed, descUploaded}, false},
	} {
		tells := make(chan string, len(c.tells))
		for _, action := range c.tells {
			tells <- action
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		assert.Equal(t, c.found, fetched(ctx, tells))
		assert.NoError(t, ctx.Err())
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*fetchNext)
	defer cancel()
	tells := make(chan string, 2)
	tells <- descFailed
	tells <- descRequested
	assert.False(t, fetched(ctx, tells))
	assert.Error(t, ctx.Err(), "it did not wait for the one that is asked")
}
