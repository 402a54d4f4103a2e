package onionroute

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const streamHead = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' id='x' version='1.0'>"

// listed makes a gateway one that wants nobody.
func listed(c *Config) { c.Listed = true }

// assertRefused asserts that a stanza was returned because the other server does not want us.
func assertRefused(t *testing.T, s *component.Stanza) {
	t.Helper()
	e := s.StanzaError()
	assert.Equal(t, stanza.NotAllowed, e.Condition, s)
	assert.Equal(t, stanza.Cancel, e.Type)
	assert.Contains(t, e.Text["en"], "does not accept contact")
}

// What is for another Allium that does not want us is returned at once, with words that say
// so; the log tells it once, and the peer is not asked again for each.
func TestRefused(t *testing.T) {
	w, log := newWire(), &infoLog{}
	a := startServerWith(t, w, "a.example", log.config, func(s *times) { s.retryMin, s.retryMax = 5*time.Millisecond, time.Hour })
	b := startServerWith(t, w, "b.example", listed)
	ctx, bob := context.Background(), `bob\40`+b.m.Identity+"@onion.a.example"
	require.NoError(t, a.HandleStanza(ctx, says("alice@a.example/x", bob, "hi")))
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "1")))
	assertRefused(t, a.receive1(t))
	require.Eventually(t, func() bool { return a.isDown(b.m.Identity) }, 10*time.Second, time.Millisecond)
	dials := len(w.dialled())
	for range 20 {
		for _, s := range []*component.Stanza{message("alice@a.example", bob, "2"), presence("alice@a.example", bob, "subscribe"), ping("alice@a.example/x", bob)} {
			err := a.HandleStanza(ctx, s)
			require.Error(t, err)
			assertRefused(t, s.Error(err))
		}
	}
	assert.Len(t, w.dialled(), dials)
	assert.Equal(t, 1, strings.Count(log.String(), "does not accept contact"))
	assert.NotContains(t, log.String(), "reached again")
	b.silent(t)
	// Presence tells, when the admin there has changed their mind.
	b.stop()
	b.config.Listed = false
	b.start()
	a.TryAgain()
	assert.Equal(t, "hi", statusOf(b.receive1(t)))
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "3")))
	assert.Equal(t, "3", b.receive1(t).Body())
	a.empties(t)
	assert.Contains(t, log.String(), "reached again")
}

// What was under way when a peer began to refuse us is returned too.
func TestRefusedMeanwhile(t *testing.T) {
	_, a, b, bob, _ := two(t, quick)
	ctx := context.Background()
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "1")))
	b.receive1(t)
	a.empties(t)
	b.stop()
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "2")))
	require.NoError(t, a.HandleStanza(ctx, message("room@rooms.a.example/nick", bob, "3")))
	b.config.Listed = true
	b.start()
	got := map[string]*component.Stanza{}
	for range 2 {
		s := a.receive1(t)
		got[s.To.String()] = s
	}
	assertRefused(t, got["alice@a.example"])
	// A room takes it for gone, and who is there hears nothing of another server's rules.
	assert.Equal(t, stanza.RemoteServerNotFound, got["room@rooms.a.example/nick"].StanzaError().Condition)
	a.empties(t)
	b.silent(t)
}

// Other servers say the same while they start: what they say is believed when they have said
// nothing else for a while, and until then messages wait.
func TestRefusedForAMoment(t *testing.T) {
	for _, cond := range []string{"policy-violation", "host-unknown", "not-authorized"} {
		t.Run(cond, func(t *testing.T) {
			const grace = 300 * time.Millisecond
			w := newWire()
			a := startServer(t, w, "a.example", quick, func(s *times) { s.grace = grace })
			x := startScript(t, w, streamHead+"<stream:error><"+cond+" xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>", "")
			began := time.Now()
			require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `eve\40`+x+"@onion.a.example", "hi")))
			assertRefused(t, a.receive1(t))
			assert.Greater(t, time.Since(began), grace)
			assert.Greater(t, len(w.dialled()), 2)
			a.empties(t)
		})
	}
}

// A server that refuses us by Dialback: the sender gets the same words.
func TestRefusedByDialback(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", quick)
	x := startRawServer(t, w, func(d dialback) dialback { return d.refuse(stanza.PolicyViolation) })
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `eve\40`+x.name+"@onion.a.example", "hi")))
	assertRefused(t, a.receive1(t))
	a.empties(t)
}

// An answer to a request to take stanzas that comes at the moment when it is late: one of the
// two counts, and the other does nothing.
func TestRefusedWhenLate(t *testing.T) {
	a := startServer(t, newWire(), "a.example")
	<-a.loaded
	c, other := net.Pipe()
	defer other.Close()
	pr := pair{a.m.Identity, testX}
	for typ, returned := range map[string]bool{"error": true, "valid": false} {
		st := a.newStream(t.Context(), newConn(c, component.Limits{}, time.Minute))
		st.p = a.newPeer(testX)
		s := message("alice@a.example", `bob\40`+testX+"@onion.a.example", "hi")
		it := newItem(s, testX, pr, []byte("xml"))
		require.True(t, a.reserve(it))
		st.p.bytes = it.cost()
		st.pairs[pr] = &outPair{asked: time.Now(), waiting: []*item{it}}
		require.NoError(t, st.authorized(dialback{name: "result", from: pr.to, to: pr.from, typ: typ, condition: stanza.ItemNotFound}))
		st.refused(pr, dialback{typ: "error", condition: stanza.RemoteServerTimeout})
		if returned {
			assert.Equal(t, "error", a.receive1(t).Type)
			assert.Empty(t, st.pairs)
		} else {
			assert.True(t, st.pairs[pr].valid)
			assert.Equal(t, []*item{it}, st.ready)
			a.unreserve(it)
		}
		a.silent(t)
		a.empties(t)
	}
}
