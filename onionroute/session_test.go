package onionroute

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// quick makes a gateway try again soon.
func quick(s *times) { s.retryMin, s.retryMax = 5*time.Millisecond, 20*time.Millisecond }

// Whatever is cut, and when: each message arrives once, and in order (XEP-0198 §5).
func TestOnceAcrossCuts(t *testing.T) {
	w, a, b, bob, alice := two(t, quick)
	const n = 1500
	done := make(chan error, 1)
	defer func() { require.NoError(t, <-done) }()
	go func() {
		var failed error
		defer func() { done <- failed }()
		for i := range n {
			failed = errors.Join(failed, a.HandleStanza(context.Background(), message("alice@a.example", bob, strconv.Itoa(i))),
				b.HandleStanza(context.Background(), message("bob@b.example", alice, strconv.Itoa(i))))
			if rand.IntN(50) == 0 {
				w.cut()
			}
			time.Sleep(200 * time.Microsecond)
		}
	}()
	for i := range n {
		require.Equal(t, strconv.Itoa(i), a.receive1(t).Body())
		require.Equal(t, strconv.Itoa(i), b.receive1(t).Body())
	}
	a.silent(t)
	b.silent(t)
	// Nothing is left of what has arrived.
	for _, s := range []*server{a, b} {
		s.empties(t)
		require.Eventually(t, func() bool { items, err := s.spool.settled(t).items(); return err == nil && len(items) == 0 }, 5*time.Second, 10*time.Millisecond)
	}
}

// Two servers that dial each other at the same moment end with one stream, and what
// they sent arrives once and in order.
func TestBothDial(t *testing.T) {
	nothingLeft(t)
	for range 20 {
		w, a, b, bob, alice := two(t, quick, func(s *times) { s.tick = 20 * time.Millisecond })
		for i := range 10 {
			go b.HandleStanza(context.Background(), message("bob"+strconv.Itoa(i)+"@b.example", alice, "hi"))
			require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, strconv.Itoa(i))))
		}
		for i := range 10 {
			require.Equal(t, strconv.Itoa(i), b.receive1(t).Body())
			a.receive1(t)
		}
		require.Eventually(t, func() bool { return a.streams()+b.streams() == 1 }, 20*time.Second, 5*time.Millisecond)
		// It is used in both directions.
		dials := len(w.dialled())
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "more")))
		require.NoError(t, b.HandleStanza(context.Background(), message("bob@b.example", alice, "more")))
		require.Equal(t, "more", a.receive1(t).Body())
		require.Equal(t, "more", b.receive1(t).Body())
		require.Len(t, w.dialled(), dials)
		a.silent(t)
		b.silent(t)
	}
}

// Two servers that dial each other at the same moment, each to resume a session that the
// other does not know, or one of them that, do not wait for each other's answer.
func TestBothResume(t *testing.T) {
	for i := range 15 {
		w, a, b, bob, alice := two(t, quick)
		a.outdate(t, message("alice@a.example", bob, "1"), "A", i%3 != 1)
		b.outdate(t, message("bob@b.example", alice, "1"), "B", i%3 != 2)
		w.meet(2)
		a.start()
		b.start()
		require.Equal(t, "1", a.receive1(t).Body())
		require.Equal(t, "1", b.receive1(t).Body())
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "2")))
		require.NoError(t, b.HandleStanza(context.Background(), message("bob@b.example", alice, "2")))
		require.Equal(t, "2", a.receive1(t).Body())
		require.Equal(t, "2", b.receive1(t).Body())
		a.silent(t)
		b.silent(t)
	}
}

// outdate stops a server, with a stanza that waits for the peer: written in a session
// that only this server knows, or not at all.
func (s *server) outdate(t *testing.T, st *component.Stanza, id string, written bool) {
	s.detach = func() { require.NoError(t, s.HandleStanza(context.Background(), st)) }
	s.stop()
	s.detach = nil
	if !written {
		return
	}
	sp, err := openSpool(s.config.Spool, nil)
	require.NoError(t, err)
	defer sp.close()
	items, err := sp.items()
	require.NoError(t, err)
	require.Len(t, items, 1)
	items[0].seq = 1
	require.NoError(t, sp.handled(storedSession{id: id, peer: items[0].onion}))
	done := make(chan error, 1)
	sp.store(items, id, func(err error) { done <- err })
	require.NoError(t, <-done)
}

// What is read does not wait for what is written, or two servers that have much for each
// other would wait until both give up.
func TestBothHaveMuch(t *testing.T) {
	_, a, b, bob, alice := two(t, quick)
	const n = 500
	text := strings.Repeat("x", 2000)
	a.toUs, b.toUs = make(chan *component.Stanza), make(chan *component.Stanza) // the hosts take nothing yet
	for i := range n {
		require.NoError(t, a.HandleStanza(context.Background(), message("alice"+strconv.Itoa(i)+"@a.example", bob, text)))
		require.NoError(t, b.HandleStanza(context.Background(), message("bob"+strconv.Itoa(i)+"@b.example", alice, text)))
	}
	time.Sleep(300 * time.Millisecond) // until nothing more can be written
	for i := range 2 * n {
		select {
		case <-a.toUs:
		case <-b.toUs:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d arrived", i, 2*n)
		}
	}
}

// streams is how many streams others have open to the server.
func (s *server) streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inbound)
}

// One stream and one connection for a conversation, with all services at both ends.
func TestOneStream(t *testing.T) {
	w, a, b, bob, alice := two(t)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "1")))
	b.receive1(t)
	require.NoError(t, b.HandleStanza(context.Background(), message("bob@b.example", alice, "2")))
	a.receive1(t)
	require.NoError(t, b.HandleStanza(context.Background(), message("room@rooms.b.example/nick", alice, "3")))
	a.receive1(t)
	require.NoError(t, a.HandleStanza(context.Background(), message("room@rooms.a.example/nick", `room\40rooms.`+b.m.Identity+"@onion.a.example", "4")))
	b.receive1(t)
	assert.Len(t, w.dialled(), 1)
}

// A session that the peer has opened just when the peer's goroutine ends is kept by who
// reads the stream.
func TestOpenedAtTheEnd(t *testing.T) {
	s := startServer(t, newWire(), "a.example")
	p, st, sess := s.newPeer("x.onion"), s.newStream(t.Context(), newConn(nil, component.Limits{}, time.Minute)), newSession("x.onion", "id")
	st.sess, p.offered = sess, st
	sess.goOn(st)
	p.gone = true
	require.True(t, p.drop(st))
	require.True(t, sess.broke(st))
	require.Nil(t, p.orphan)
}

func TestSession(t *testing.T) {
	c := newCounter(1<<32 - 2) // it wraps around (XEP-0198 §4)
	one, two, three := c.received(), c.received(), c.received()
	two()
	h, all := c.handled()
	assert.Equal(t, uint32(1<<32-2), h)
	assert.False(t, all)
	one()
	one()
	h, _ = c.handled()
	assert.Equal(t, uint32(0), h)
	three()
	h, all = c.handled()
	assert.Equal(t, uint32(1), h)
	assert.True(t, all)

	s := newSession("x", "id")
	s.acked = 1<<32 - 2
	s.out, s.written = 1<<32-2, 1<<32-2
	items := []*item{{}, {}, {}, {}}
	s.number(items)
	assert.Equal(t, uint32(0), items[1].seq)
	_, ok := s.acknowledged(1<<32 - 1)
	assert.False(t, ok, "what is not written yet")
	s.wrote()
	got, ok := s.acknowledged(1<<32 - 1)
	assert.Equal(t, items[:1], got)
	assert.True(t, ok)
	_, ok = s.acknowledged(3)
	assert.False(t, ok, "more than was sent")
	handled, again, ok := s.resume(1)
	assert.True(t, ok)
	assert.Equal(t, items[1:3], handled)
	assert.Equal(t, items[3:], again)
	assert.Equal(t, uint32(1), s.out)
	_, _, ok = s.resume(0)
	assert.False(t, ok, "less than it had handled")
}
