package onionroute

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A peer that takes connections and ends every stream is tried again with back-off,
// and what is for it comes back to its sender.
func TestPeerThatClosesStreams(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", func(s *times) {
		s.maxAge, s.retryMin, s.retryMax = 500*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond
	})
	x := startRawServer(t, w, believe)
	x.refuses.Store(true)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+x.name+"@onion.a.example", "hi")))
	assert.Equal(t, stanza.RemoteServerTimeout, a.receive1(t).StanzaError().Condition)
	assert.Less(t, len(w.dialled()), 20)
	a.empties(t)
}

// A stanza that peers would end the stream for is refused, and does not stand in the
// way of others.
func TestTooLargeForPeers(t *testing.T) {
	_, a, b, bob, _ := two(t)
	deep := message("alice@a.example", bob, "")
	e := component.NewElement("urn:x", "a")
	deep.Add(e)
	for range 100 {
		c := component.NewElement("urn:x", "a")
		e.Add(c)
		e = c
	}
	for _, s := range []*component.Stanza{message("alice@a.example", bob, strings.Repeat("x", 250_000)), deep} {
		err := a.HandleStanza(context.Background(), s)
		require.ErrorIs(t, err, stanza.Error{Condition: stanza.PolicyViolation})
		assert.Equal(t, bob, s.Error(err).From.String())
	}
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, strings.Repeat("x", 240_000))))
	assert.Len(t, b.receive1(t).Body(), 240_000)
}

// What a peer sends too large by is told to it, and its stream goes on, also when it says nothing
// for a while then.
func TestTooLargeFromPeer(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", func(s *times) { s.element = 500 * time.Millisecond })
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	head := " from='eve@" + x.name + "' to='alice@" + a.m.Identity + "'>"
	tooLarge := "<message id='1'" + head + strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100) + "</message>"
	r.write(tooLarge + "<message" + head + "<body>hi</body></message>")
	assert.Equal(t, "hi", a.receive1(t).Body())
	r.write(tooLarge)
	time.Sleep(2 * a.times.element)
	r.write("<message" + head + "<body>again</body></message>")
	assert.Equal(t, "again", a.receive1(t).Body())
}

// One peer that lets verifications wait, or opens many streams, does not keep out
// others.
func TestPeersDoNotStarveOthers(t *testing.T) {
	nothingLeft(t)
	w := newWire()
	a := startServer(t, w, "a.example")
	evil := startRawServer(t, w, func(dialback) dialback { return dialback{name: "verify", from: "x", to: "y", typ: "invalid"} })
	greedy, honest := startRawServer(t, w, believe), startRawServer(t, w, believe)
	for i := range 100 {
		r := dialRaw(t, a, portServer)
		r.greet("", a.m.Identity)
		for j := range 3 {
			r.write(fmt.Sprintf("<db:result from='a%d.%s' to='%s'>k</db:result>", i*8+j, evil.name, a.m.Identity))
		}
	}
	honest.proven(t, a)
	for range maxInbound {
		greedy.proven(t, a)
	}
	a.mu.Lock()
	n := 0
	for in := range a.inbound {
		if in.claimed == greedy.name {
			n++
		}
	}
	a.mu.Unlock()
	assert.LessOrEqual(t, n, maxOfPeer)
	honest.proven(t, a)
}

// A peer that asks and does not read the answers costs little, and none of what local
// users have.
func TestAnswersThatAreNotRead(t *testing.T) {
	nothingLeft(t)
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	w.mu.Lock()
	delete(w.ports, x.name) // it cannot be reached any more
	w.mu.Unlock()
	for i := range 6000 {
		r.write(fmt.Sprintf("<iq type='get' id='%d' from='eve@%s' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>", i, x.name, a.m.Identity))
	}
	r.write("<message from='eve@" + x.name + "' to='alice@" + a.m.Identity + "'><body>hi</body></message>")
	assert.Equal(t, "hi", a.receive1(t).Body())
	assert.Zero(t, a.waits())
	a.mu.Lock()
	p := a.peers[x.name]
	a.mu.Unlock()
	if p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		assert.LessOrEqual(t, p.answers, maxAnswers)
	}
}

// Strangers who ask and do not read cost no more together than is set aside for them, and
// nothing when they are gone. Others get their answers meanwhile.
func TestAnswersForStrangers(t *testing.T) {
	a := startServerWith(t, newWire(), "a.example", func(c *Config) { c.bounds = defaultBounds; c.bounds.answers = 100_000 })
	fill := func(p *peer) (n int) {
		for range 1000 {
			s := readStanza(t, "<iq type='result' id='1' from='alice@a.example' to='eve@x.example'/>")
			it := newItem(s, p.onion, pair{"a", "x"}, make([]byte, 1000))
			it.answer = true
			require.NoError(t, p.send(it))
		}
		return p.answers
	}
	one, two, friend := a.newPeer(onionName("one")), a.newPeer(onionName("two")), a.newPeer(onionName("friend"))
	friend.friend.Store(true)
	assert.InDelta(t, 100_000, fill(one), 2000)
	assert.Zero(t, fill(two))
	assert.InDelta(t, maxAnswers, fill(friend), 2000)
	for _, p := range []*peer{one, friend} {
		p.bounce(func(*item) error { return errUnreachable() })
		assert.Zero(t, p.answers)
	}
	assert.Zero(t, a.quota.answers)
	assert.InDelta(t, 100_000, fill(two), 2000)
}

// After dialback there is no STARTTLS: what was proven was proven of another stream.
func TestNoTLSAfterDialback(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, func(d dialback) dialback { return d.answer("invalid") })
	r := dialRaw(t, a, portServer)
	r.greet(x.name, a.m.Identity)
	r.write("<db:result from='" + x.name + "' to='other." + a.m.Identity + "'>k</db:result>")
	require.Equal(t, stanza.ItemNotFound, parseDialback(r.next()).condition)
	r.write("<db:result from='attacker.example' to='" + a.m.Identity + "'>k</db:result>")
	require.Equal(t, stanza.NotAuthorized, parseDialback(r.next()).condition)
	silent := startRawServer(t, w, func(dialback) dialback { return dialback{name: "verify", from: "x", to: "y", typ: "invalid"} })
	r.write("<db:result from='" + silent.name + "' to='" + a.m.Identity + "'>k</db:result><starttls xmlns='" + nsTLS + "'/>")
	r.fails("policy-violation")
}

// A peer that reads slowly is cut off, and what it has not read comes by the next stream.
func TestSlowReader(t *testing.T) {
	nothingLeft(t)
	w := newWire()
	a := startServer(t, w, "a.example", quick, func(s *times) { s.write, s.tick = 300*time.Millisecond, 20*time.Millisecond })
	x := startRawServer(t, w, believe)
	x.got = make(chan string, 1000)
	x.stops.Store(true)
	fillFor(t, a, x)
	require.Eventually(t, func() bool { return len(x.cut) > 0 }, 10*time.Second, 10*time.Millisecond)
	x.stops.Store(false)
	require.Eventually(t, func() bool { return len(x.got) >= 70 }, 10*time.Second, 10*time.Millisecond)
	a.empties(t)
	a.silent(t)
}

// Nor does such a peer hold up the end of the program.
func TestSlowReaderAtTheEnd(t *testing.T) {
	nothingLeft(t)
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	x.stops.Store(true)
	fillFor(t, a, x)
	time.Sleep(200 * time.Millisecond)
	// startServer's clean-up asserts that it ends.
}

// fillFor sends 70 messages to x, which are more than fit into sockets.
func fillFor(t *testing.T, a *server, x *rawServer) {
	for range 70 {
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+x.name+"@onion.a.example", strings.Repeat("x", 50_000))))
	}
}

// A stream that is full of declarations, or that never ends its elements, is bounded
// too.
func TestNeverEndingElement(t *testing.T) {
	nothingLeft(t)
	a := startServer(t, newWire(), "a.example")
	c, err := net.Dial("unix", a.Ports()[portServer])
	require.NoError(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.WriteString(c, "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='"+a.m.Identity+"' version='1.0'>")
	require.NoError(t, err)
	for err == nil { // until it is closed
		_, err = io.WriteString(c, strings.Repeat("<a>", 1000))
	}
	var timeout net.Error
	if e, ok := err.(net.Error); ok {
		timeout = e
	}
	assert.False(t, timeout != nil && timeout.Timeout())
}

// Nor does one that asks, and does not read the answers.
func TestNoReaderAtTheEnd(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	a.mu.Lock()
	in := a.oldest(func(in *stream) bool { return in.claimed == x.name })
	a.mu.Unlock()
	written := func() bool {
		in.c.waiting.Lock()
		defer in.c.waiting.Unlock()
		return len(in.c.replies) == 0
	}
	for full := false; !full; {
		r.write(strings.Repeat("<db:result from='"+x.name+"' to='other."+a.m.Identity+"'>k</db:result>", 20) +
			"<message from='bob@" + x.name + "' to='alice@" + a.m.Identity + "'><body>hi</body></message>")
		a.receive1(t)
		for i := 0; i < 300 && !written(); i++ {
			time.Sleep(time.Millisecond)
		}
		full = !written()
	}
	a.stop() // which asserts that it ends
}
