package onionroute

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// streamTo is the stream that items for a peer go by, once there is one.
func (s *server) streamTo(t testing.TB, onion string) (st *stream) {
	require.Eventually(t, func() bool {
		for _, p := range s.known() {
			if p.onion == onion {
				p.mu.Lock()
				st = p.cur
				p.mu.Unlock()
			}
		}
		return st != nil
	}, 5*time.Second, time.Millisecond)
	return st
}

// What a peer is asked to verify for somebody else is not so long that it ends our stream.
func TestLongKey(t *testing.T) {
	w, a, b, bob, alice := two(t)
	talk(t, a, b, bob, alice, "hi")
	before := a.streamTo(t, b.m.Identity)
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	r.write("<db:result from='" + b.m.Identity + "' to='" + a.m.Identity + "'><![CDATA[" + strings.Repeat("<", 200_000) + "]]></db:result>")
	r.fails("policy-violation")
	talk(t, a, b, bob, alice, "more")
	assert.True(t, before == a.streamTo(t, b.m.Identity), "our stream has ended")
}

// On a stream that we have opened to one onion service, nobody else is asked if it comes from
// them: that one could choose a question which makes the other end our stream to it.
func TestDialbackOnOurStream(t *testing.T) {
	w, a, b, bob, alice := two(t)
	talk(t, a, b, bob, alice, "hi")
	before := a.streamTo(t, b.m.Identity)
	x := newStranger(t)
	dialled := x.listens(t, w)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", x.bob(), "hi")))
	out := <-dialled
	require.Equal(t, "enable", out.next().Name.Local)
	out.write("<enabled xmlns='urn:xmpp:sm:3' id='" + out.smID() + "' resume='true'/>" + claims(b.m.Identity, a))
	assert.Equal(t, stanza.NotAllowed, out.answer().condition)
	talk(t, a, b, bob, alice, "more")
	assert.True(t, before == a.streamTo(t, b.m.Identity), "our stream has ended")
	out.write(claims("rooms."+x.name, a))
	assert.Equal(t, "valid", out.answer().typ)
}

// A stream that its chain has proved to be from one onion service is not made one from
// another by dialback, whichever comes first: the session of the one would be the other's.
func TestChainAndDialback(t *testing.T) {
	w := newWire()
	a, x := startServer(t, w, "a.example"), newStranger(t)
	y := startRawServer(t, w, believe)
	r := x.opens(t, a)
	r.write(claims(y.name, a))
	assert.Equal(t, stanza.NotAllowed, r.answer().condition)
	r.write(claims("rooms."+x.name, a))
	assert.Equal(t, "valid", r.answer().typ)

	r = x.greets(t, a)
	r.write(claims(y.name, a) + string(externalAuth("").AppendXML(nil, component.NSServer)))
	r.fails("not-authorized")
}

// claims asks a server to take stanzas from that domain.
func claims(from string, a *server) string {
	return "<db:result xmlns:db='jabber:server:dialback' from='" + from + "' to='" + a.m.Identity + "'>key</db:result>"
}

// answer reads up to the answer to that.
func (r *raw) answer() dialback {
	r.t.Helper()
	for {
		if e := r.next(); isDialback(e, "result") {
			return parseDialback(e)
		}
	}
}

// Who asks for verifications and goes away leaves nothing behind, though they are never
// answered: neither while the peer is being connected to, nor on a stream to it.
func TestVerificationsGivenUp(t *testing.T) {
	for _, reached := range []bool{true, false} {
		a := startServer(t, newWire(), "a.example", quick)
		x := startRawServer(t, a.w, func(dialback) dialback { return dialback{name: "verify", from: "x", to: "y", typ: "invalid"} })
		if !reached {
			a.w.slow = time.Minute
			a.w.lose(x.name)
		}
		underWay := func() int { a.mu.Lock(); defer a.mu.Unlock(); return a.verifying[x.name] }
		for range 50 {
			r := dialRaw(t, a, portServer)
			r.greet(x.name, a.m.Identity)
			r.write(claims(x.name, a))
			require.Eventually(t, func() bool { return underWay() > 0 }, 5*time.Second, time.Millisecond)
			r.Close()
			require.Eventually(t, func() bool { return underWay() == 0 }, 5*time.Second, time.Millisecond)
		}
		kept := 0
		for _, p := range a.known() {
			p.mu.Lock()
			kept += len(p.verifies)
			p.mu.Unlock()
		}
		if reached {
			st := a.streamTo(t, x.name)
			st.mu.Lock()
			kept += len(st.asked)
			st.mu.Unlock()
		}
		assert.LessOrEqual(t, kept, 1)
	}
}
