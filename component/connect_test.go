package component_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A quickHost answers before anything else can run, and counts how often a deadline is set.
type quickHost struct {
	net.Conn
	answers *strings.Reader
	set     atomic.Int32
}

func (h *quickHost) Read(p []byte) (int, error)    { return h.answers.Read(p) }
func (h *quickHost) Write(p []byte) (int, error)   { return len(p), nil }
func (h *quickHost) SetDeadline(_ time.Time) error { h.set.Add(1); return nil }

// What the handshake has started does not end a read after it, however late it runs: on a
// machine with much to do that cut off, seldom, a link that had just come up.
func TestHandshakeDeadline(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 50 {
		h := &quickHost{answers: strings.NewReader("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' " +
			"xmlns:stream='http://etherx.jabber.org/streams' from='one.example.org' id='3'><handshake/>")}
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, component.Handshake(ctx, h, jid.MustParse("one.example.org"), "first"))
		cancel()
		time.Sleep(time.Millisecond)
		assert.Zero(t, h.set.Load())
	}
}

// A host that takes the connection and says nothing is given up.
func TestHandshakeSilence(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go theirs.Read(make([]byte, 1000))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.Error(t, component.Handshake(ctx, ours, jid.MustParse("one.example.org"), "first"))
}
