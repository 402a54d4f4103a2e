package onionroute

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A torless wire is one of a Tor that can be down.
type torless struct {
	*wire
	down atomic.Bool
}

func (w *torless) Dial(ctx context.Context, onion string, port int, isolation string, first []byte) (net.Conn, error) {
	if w.down.Load() {
		return nil, ErrTorDown
	}
	return w.wire.Dial(ctx, onion, port, isolation, first)
}

func ping(from, to string) *component.Stanza {
	s := &component.Stanza{Kind: component.IQ, Type: "get", ID: "p", From: jid.MustParse(from), To: jid.MustParse(to)}
	return s.Add(component.NewElement(component.NSPing, "ping"))
}

// However often a peer is tried, and also when it is forgotten meanwhile, the log tells once
// that it cannot be reached, and once that it can be again.
func TestOutageIsToldOnce(t *testing.T) {
	w, log := newWire(), &infoLog{}
	a := startServerWith(t, w, "a.example", log.config, quick, func(s *times) { s.peerIdle, s.sessionAge = 10*time.Millisecond, 0 })
	b := startServer(t, w, "b.example", quick)
	ctx, bob := context.Background(), `bob\40`+b.m.Identity+"@onion.a.example"
	count := func(what string) int { return strings.Count(log.String(), what) }
	for outage := range 2 {
		w.vanish(b)
		for range 2 {
			if a.HandleStanza(ctx, ping("alice@a.example/x", bob)) == nil {
				a.receive1(t)
			}
			require.Eventually(t, func() bool { return len(a.known()) == 0 }, 10*time.Second, time.Millisecond)
		}
		assert.Equal(t, outage+1, count("peer cannot be reached"))
		assert.Equal(t, outage, count("peer is reached again"))
		require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "hi")))
		dials := len(w.dialled())
		require.Eventually(t, func() bool { return len(w.dialled()) > dials+10 }, 10*time.Second, time.Millisecond)
		w.appear(b)
		a.TryAgain()
		for b.receive1(t).Body() != "hi" {
		}
		a.empties(t)
		assert.Equal(t, outage+1, count("peer is reached again"))
	}
	w.cut()
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "2")))
	b.receive1(t)
	a.empties(t)
	assert.Equal(t, 2, count("peer is reached again"), "of what was not told to be away")
}

// That Tor is not up is nothing that the log tells of each peer.
func TestNoTorIsNoOutage(t *testing.T) {
	w, log := &torless{wire: newWire()}, &infoLog{}
	a := startServerWith(t, w.wire, "a.example", log.config, quick)
	b := startServer(t, w.wire, "b.example", quick)
	w.down.Store(true)
	a.dialer = w
	bob := `bob\40` + b.m.Identity + "@onion.a.example"
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
	require.Eventually(t, func() bool { return a.isDown(b.m.Identity) }, 10*time.Second, time.Millisecond)
	w.down.Store(false)
	assert.Equal(t, "hi", b.receive1(t).Body())
	a.empties(t)
	assert.Empty(t, log.String())
}
