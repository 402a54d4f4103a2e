package component_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// What is not confirmed takes room, and a sender with Taken waits as long as it wants
// to, also for a host that is away; others get an error.
func TestWait(t *testing.T) {
	component.ShortTimes(t, 10*time.Second, 0)
	h := startRawHost(t)
	l, err := component.NewLink(component.LinkConfig{Server: h.ln.Addr().String(), Domain: "one.example.org", Secret: "x", PingTo: "example.org",
		Buffer: 400, SendTimeout: 20 * time.Millisecond}, component.NewRouter())
	require.NoError(t, err)
	assert.ErrorIs(t, l.Send(t.Context(), numbered("a@b", 0, nil)), component.ErrHostAway)
	to := component.NewRecipient(jid.MustParse("a@b"))
	l.SendCopies(t.Context(), []component.Copy{{Draft: component.NewDraft(numbered("a@b", 0, nil), nil, nil, nil), To: &to}}, func(_ component.Copy, err error) {
		assert.ErrorIs(t, err, component.ErrHostAway)
		assert.ErrorIs(t, err, stanza.Error{Condition: stanza.RemoteServerTimeout})
	})
	n, full := 0, error(nil)
	var taken atomic.Int32
	for full == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		full = l.Send(ctx, numbered("a@b", n, func() { taken.Add(1) }))
		cancel()
		n++
	}
	assert.ErrorIs(t, full, stanza.Error{Condition: stanza.RemoteServerTimeout})
	assert.Greater(t, n, 2)
	run(t, l)
	c := h.accept()
	_, ping := c.until()
	up(t, l)
	assert.Error(t, l.Send(t.Context(), numbered("a@b", n, nil)), "full, though all is written")
	sent := make(chan error, 1)
	go func() { sent <- l.Send(t.Context(), numbered("a@b", n, func() { taken.Add(1) })) }()
	time.Sleep(100 * time.Millisecond) // five times SendTimeout
	assert.Empty(t, sent)
	c.answer(ping)
	require.NoError(t, <-sent)
	_, ping = c.until()
	c.answer(ping)
	eventually(t, func() bool { return int(taken.Load()) == n })
}

// Who answers the host waits for room, and what makes room is read meanwhile.
func TestAnswerWhenFull(t *testing.T) {
	h := startRawHost(t)
	l, err := component.NewLink(component.LinkConfig{Server: h.ln.Addr().String(), Domain: "one.example.org", Secret: "x", PingTo: "example.org",
		Buffer: 400, SendTimeout: time.Minute}, component.NewRouter())
	require.NoError(t, err)
	run(t, l)
	c := h.accept()
	up(t, l)
	require.NoError(t, l.Send(t.Context(), numbered("a@b", 1, nil).Add(component.NewElement("x", strings.Repeat("x", 400)))))
	_, ping := c.until()
	for range 3 {
		c.write("<iq type='get' id='i' from='a@example.org' to='one.example.org'><query xmlns='x'/></iq>")
	}
	c.answer(ping)
	c.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	for range 3 {
		s := c.next()
		for s.Child(component.NSPing, "ping") != nil {
			c.answer(s)
			s = c.next()
		}
		assert.Equal(t, stanza.ItemNotFound, s.StanzaError().Condition)
	}
}

// Where the host writes more than can wait to be handled, who answers it does not wait for room:
// there would be none until what the host has confirmed is read.
func TestManyAnswersWhenFull(t *testing.T) {
	h := startRawHost(t)
	l, err := component.NewLink(component.LinkConfig{Server: h.ln.Addr().String(), Domain: "one.example.org", Secret: "x", PingTo: "example.org",
		Buffer: 400, SendTimeout: time.Hour}, component.NewRouter())
	require.NoError(t, err)
	run(t, l)
	c := h.accept()
	up(t, l)
	taken := make(chan int, 1)
	require.NoError(t, l.Send(t.Context(), numbered("a@b", 1, func() { taken <- 1 }).Add(component.NewElement("x", strings.Repeat("x", 400)))))
	_, ping := c.until()
	for range 300 {
		c.write("<iq type='get' id='i' from='a@example.org' to='one.example.org'><query xmlns='x'/></iq>")
	}
	c.answer(ping)
	select {
	case <-taken:
	case <-time.After(30 * time.Second):
		t.Fatal("the confirmation is not read")
	}
}

// Nor are the errors lost by which a sender knows that a message was not delivered.
func TestManyErrorsWhenFull(t *testing.T) {
	h := startRawHost(t)
	const n, room = 300, 200_000
	l, err := component.NewLink(component.LinkConfig{Server: h.ln.Addr().String(), Domain: "one.example.org", Secret: "x", PingTo: "example.org",
		Buffer: room, SendTimeout: time.Hour}, component.NewRouter())
	require.NoError(t, err)
	run(t, l)
	c := h.accept()
	up(t, l)
	require.NoError(t, l.Send(t.Context(), numbered("a@b", 1, nil).Add(component.NewElement("x", strings.Repeat("x", room)))))
	_, ping := c.until()
	for range n {
		c.write("<message id='i' from='a@example.org' to='x@one.example.org'><body>hi</body></message>")
	}
	c.answer(ping)
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for got := 0; got < n; {
		if s := c.next(); s.Child(component.NSPing, "ping") != nil {
			c.answer(s)
		} else {
			require.Equal(t, "error", s.Type)
			got++
		}
	}
}
