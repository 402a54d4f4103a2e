package onionroute

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// isCalled is a server without a chain to which somebody here writes, its name and its end of
// the stream. It has told those features.
func isCalled(t *testing.T, w *wire, a *server, features string) (name string, r *raw) {
	dir, err := os.MkdirTemp("", "called")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	id, err := CreateIdentity(filepath.Join(dir, "key"))
	require.NoError(t, err)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	w.mu.Lock()
	w.ports[id.Name()] = l.Addr().String()
	w.mu.Unlock()
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+id.Name()+"@onion.a.example", "hi")))
	c, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	r = &raw{t, c, component.NewDecoder(c, component.Limits{})}
	r.header()
	r.write("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' id='x' version='1.0'>" +
		"<stream:features>" + features + "</stream:features>")
	return id.Name(), r
}

// isAskedToManage is such a server with bidi (XEP-0288) and stream management (XEP-0198), which
// is asked for that now.
func isAskedToManage(t *testing.T, w *wire, a *server) (name string, r *raw) {
	name, r = isCalled(t, w, a, "<bidi xmlns='urn:xmpp:features:bidi'/><sm xmlns='urn:xmpp:sm:3'/>")
	require.True(t, r.next().Is(nsBidi, "bidi"))
	require.Equal(t, "result", r.believes().name)
	require.True(t, r.next().Is(nsSM, "enable"))
	return name, r
}

// A server without a chain that has bidi (XEP-0288) and stream management (XEP-0198): it
// answers by the stream that we opened, only for the domains that it is reached by, and
// what it acknowledges is done with.
func TestBidiWithOthers(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x, r := isAskedToManage(t, w, a)
	next, write := r.next, r.write
	write("<enabled xmlns='urn:xmpp:sm:3'/>")
	require.Equal(t, "hi", next().Child(component.NSClient, "body").Text())
	require.True(t, next().Is(nsSM, "r"))
	assert.NotZero(t, a.waits())
	write("<a xmlns='urn:xmpp:sm:3' h='1'/><message from='bob@rooms." + x + "' to='alice@" + a.m.Identity + "'><body>back</body></message><r xmlns='urn:xmpp:sm:3'/>")
	assert.Equal(t, "back", a.receive1(t).Body())
	for e := next(); e.AttrValue("h") != "1"; e = next() {
		require.True(t, e.Is(nsSM, "a"), e)
	}
	a.empties(t)
	assert.Len(t, w.dialled(), 1)
	write("<message from='bob@" + onionName("y") + "' to='alice@" + a.m.Identity + "'><body>forged</body></message>")
	require.NotNil(t, next().Child(component.NSStreams, "invalid-from"))
	a.silent(t)
}

// What a peer writes before it answers that it manages the stream is not counted
// (XEP-0198 §4): or one that was never read would count for it.
func TestBeforeManaged(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x, r := isAskedToManage(t, w, a)
	says := func(body string) {
		r.write("<message from='bob@" + x + "' to='alice@" + a.m.Identity + "'><body>" + body + "</body></message>")
		require.Equal(t, body, a.receive1(t).Body())
	}
	says("before")
	r.write("<message from='bob@" + x + "' to='alice@" + a.m.Identity + "' id='" + strings.Repeat("x", component.MaxID+1) + "'/><enabled xmlns='urn:xmpp:sm:3'/>")
	says("behind")
	told := func() string {
		r.write("<r xmlns='urn:xmpp:sm:3'/>")
		for {
			if e := r.next(); e.Is(nsSM, "a") {
				return e.AttrValue("h")
			}
		}
	}
	require.Eventually(t, func() bool { return told() != "0" }, time.Minute, time.Millisecond)
	for range 20 {
		require.Equal(t, "1", told())
		time.Sleep(5 * time.Millisecond)
	}
}

// A server with other rules has users with addresses that cannot be read here, and lets others write
// to some: such a stanza is refused, and counts; what others write comes.
func TestMisaddressed(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x, r := isAskedToManage(t, w, a)
	r.write("<enabled xmlns='urn:xmpp:sm:3'/>")
	require.Equal(t, "hi", r.next().Child(component.NSClient, "body").Text())
	require.True(t, r.next().Is(nsSM, "r"))
	says := func(from, to string) {
		r.write("<message from='" + from + "' to='" + to + "@" + a.m.Identity + "'><body>hi</body></message>")
	}
	says("bob@"+x, "\u2603")
	says("bob@"+x+"/\U0010fffd@/", "alice")
	says("\u2603@"+x, "\u2603")
	says("bob@"+x, "alice")
	assert.Equal(t, `bob\40`+x+"@onion.a.example", a.receive1(t).From.String())
	var s *component.Stanza
	for all := false; s == nil || !all; {
		e := r.next()
		all = all || e.AttrValue("h") == "4"
		if !e.Is(nsSM, "a") && !e.Is(nsSM, "r") {
			require.Nil(t, s, "there is one answer")
			s, _ = component.ParseStanza(e)
		}
	}
	assert.Equal(t, a.m.Identity, s.From.String())
	assert.Equal(t, "bob@"+x, s.To.String())
	assert.Equal(t, stanza.JIDMalformed, s.StanzaError().Condition)
	r.write("<message from='\u2603@" + onionName("y") + "' to='alice@" + a.m.Identity + "'/>")
	r.fails("improper-addressing")
	a.silent(t)
}

// While the host lets us wait, nothing is read: that such a peer has not answered then is no sign
// that it is gone. What it has acknowledged would go out again, and it would take what it wrote for
// lost.
func TestHostLetsWait(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", quick, func(s *times) {
		s.tick, s.answerMin, s.answerMax = 10*time.Millisecond, 500*time.Millisecond, time.Second
	})
	x, r := isAskedToManage(t, w, a)
	for range cap(a.toUs) {
		a.toUs <- nil
	}
	r.write("<enabled xmlns='urn:xmpp:sm:3'/><message from='bob@" + x + "' to='alice@" + a.m.Identity + "'><body>back</body></message><a xmlns='urn:xmpp:sm:3' h='1'/>")
	require.Equal(t, "hi", r.next().Child(component.NSClient, "body").Text())
	require.True(t, r.next().Is(nsSM, "r"))
	time.Sleep(2 * a.times.answerMax)
	for range cap(a.toUs) {
		require.Nil(t, <-a.toUs)
	}
	assert.Equal(t, "back", a.receive1(t).Body())
	a.empties(t)
	assert.Len(t, w.dialled(), 1)
}

// A peer that manages a stream which is for one direction has nothing to acknowledge, and may
// say so.
func TestNothingAcknowledged(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	r.write("<enable xmlns='urn:xmpp:sm:3'/>")
	require.True(t, r.next().Is(nsSM, "enabled"))
	r.write("<a xmlns='urn:xmpp:sm:3' h='0'/><message from='bob@" + x.name + "' to='alice@" + a.m.Identity + "'><body>hi</body></message>")
	assert.Equal(t, "hi", a.receive1(t).Body())
	r.write("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	r.fails("undefined-condition")
}

// A peer that offers to manage the stream, and then does not, is talked with all the same, and
// what was written is asked about as with those that never offered it.
func TestManagesNothingAfterAll(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	_, r := isCalled(t, w, a, "<sm xmlns='urn:xmpp:sm:3'/>")
	r.believes()
	require.True(t, r.next().Is(nsSM, "enable"))
	r.write("<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
	require.Equal(t, "hi", r.next().Child(component.NSClient, "body").Text())
	ask := r.next()
	if ask.Is(nsSM, "r") { // it was under way
		ask = r.next()
	}
	require.True(t, isDialback(ask, "verify"), ask)
	assert.NotZero(t, a.waits())
	r.write(string(parseDialback(ask).answer("invalid").element().AppendXML(nil, component.NSServer)))
	a.empties(t)
	assert.Len(t, w.dialled(), 1)
}
