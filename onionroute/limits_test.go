package onionroute

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// A peer that sends more than it may has to wait, by all its streams together; nothing is
// lost by that, and others do not wait.
func TestStanzaRate(t *testing.T) {
	w := newWire()
	a := startServerWith(t, w, "a.example", func(c *Config) { c.StanzaRate = 50 })
	x, y := startRawServer(t, w, believe), startRawServer(t, w, believe)
	one, two, other := x.proven(t, a), x.proven(t, a), y.proven(t, a)
	began := time.Now()
	for i := range 200 {
		for _, r := range []*raw{one, two} {
			r.write(fmt.Sprintf("<message from='eve@%s' to='alice@%s'><body>%d</body></message>", x.name, a.m.Identity, i))
		}
	}
	other.write("<message from='eve@" + y.name + "' to='alice@" + a.m.Identity + "'><body>other</body></message>")
	var order []string
	for range 401 {
		order = append(order, a.receive1(t).Body())
	}
	// 250 at once, and 150 at 50 a second.
	assert.Greater(t, time.Since(began), 2*time.Second)
	assert.Contains(t, order[:350], "other")
}

// A peer that begins an element and does not finish it is cut off.
func TestUnfinishedElement(t *testing.T) {
	nothingLeft(t)
	w := newWire()
	a := startServer(t, w, "a.example", func(s *times) { s.element = 100 * time.Millisecond })
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	r.write("<message from='eve@" + x.name + "' to='alice@" + a.m.Identity + "'><body>hi</body></message>")
	a.receive1(t)
	r.write("<message from='eve@" + x.name + "' to='alice@")
	r.fails("connection-timeout")
}

// One user cannot fill the spool for all others, nor one peer's messages it.
func TestQuotas(t *testing.T) {
	w := newWire()
	a := startServerWith(t, w, "a.example", func(c *Config) { c.QueueBytes, c.UserBytes, c.TotalBytes = 40_000, 20_000, 60_000 })
	fill := func(from, peer string) (n int) {
		for {
			err := a.HandleStanza(context.Background(), message(from, `bob\40`+onionName(peer)+"@onion.a.example", strings.Repeat("x", 1000)))
			if err != nil {
				assert.ErrorContains(t, err, "Too much is waiting")
				return n
			}
			n++
		}
	}
	alice := fill("alice@a.example", "one")
	assert.InDelta(t, 20_000/1700, alice, 2)
	assert.Zero(t, fill("alice@a.example", "two"), "what waits of one user, for all peers")
	carol, dave := fill("carol@a.example", "one"), fill("dave@a.example", "one")
	assert.InDelta(t, 40_000/1700, alice+carol+dave, 2, "what waits for one peer")
	assert.Positive(t, fill("dave@a.example", "two"))
	fill("erin@a.example", "three")
	assert.Zero(t, fill("frank@a.example", "four"), "what waits in all")
}

// After all that can happen to streams, nothing is left of them.
func TestNothingOfStreamsLeft(t *testing.T) {
	nothingLeft(t)
	w, a, b, bob, alice := two(t, quick)
	x := startRawServer(t, w, believe)
	for i := range 20 {
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
		require.NoError(t, b.HandleStanza(context.Background(), message("bob@b.example", alice, "hi")))
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `eve\40`+x.name+"@onion.a.example", "hi")))
		a.receive1(t)
		b.receive1(t)
		x.proven(t, a)
		c, err := net.Dial("unix", a.Ports()[portServerTLS])
		require.NoError(t, err)
		defer c.Close()
		if i%3 == 0 {
			w.cut()
		}
	}
}

// Whatever comes by a stream: nothing breaks, and nothing arrives that is not from whom
// the stream proved to be.
func FuzzStream(f *testing.F) {
	w := newWire()
	a := startServer(f, w, "a.example", func(s *times) { s.header, s.auth, s.element = time.Second, time.Second, time.Second })
	id, err := CreateIdentity(f.TempDir() + "/key")
	require.NoError(f, err)
	peer, err := newCredentials(id)
	require.NoError(f, err)
	me, us := id.Name(), a.m.Identity
	open := string(appendHeader(nil, header{from: me, to: us}))
	external := string(externalAuth("").AppendXML(nil, component.NSServer))
	for _, s := range []string{"", open, open + external + open, open + "<bidi xmlns='urn:xmpp:bidi'/>" + external + open + "<enable xmlns='urn:xmpp:sm:3' resume='true'/>" +
		"<message from='eve@" + me + "' to='alice@" + us + "'><body>hi</body></message><r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='0'/></stream:stream>",
		open + external + open + "<enable xmlns='urn:xmpp:sm:3' resume='true'/><a xmlns='urn:xmpp:sm:3' h='0'/>",
		open + external + open + "<resume xmlns='urn:xmpp:sm:3' previd='x' h='4294967295'/><enable xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='7'/>",
		open + "<db:result from='" + me + "' to='" + us + "'>k</db:result><db:verify from='" + me + "' to='" + us + "' id='1'>k</db:verify>",
		open + "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"} {
		f.Add(true, s)
		f.Add(false, s)
	}
	f.Fuzz(func(t *testing.T, secure bool, text string) {
		port := portServer
		if secure {
			port = portServerTLS
		}
		c, err := net.Dial("unix", a.Ports()[port])
		require.NoError(t, err)
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if secure {
			c = tls.Client(c, peer.clientTLS(us, true))
		}
		c.Write([]byte(text))
		if u, ok := c.(*net.UnixConn); ok {
			u.CloseWrite()
		} else if u, ok := c.(*tls.Conn); ok {
			u.CloseWrite()
		}
		for buf := make([]byte, 4096); err == nil; {
			_, err = c.Read(buf)
		}
		for {
			select {
			case s := <-a.toUs:
				if s.Type != "error" && a.m.Identity != "" {
					o, err := a.m.ToOnion(s.From)
					require.NoError(t, err)
					require.Equal(t, me, Base(o.Domainpart()), s)
					require.True(t, secure)
				}
				continue
			default:
			}
			return
		}
	})
}

// A stanza whose id is too long to be kept is refused, and the stream goes on.
func TestLongID(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	x.got = make(chan string, 10)
	r := x.proven(t, a)
	for _, n := range []int{component.MaxID, component.MaxID + 1, 1} {
		r.write(fmt.Sprintf("<message id='%s' from='eve@%s' to='alice@%s'><body>%d</body></message>", strings.Repeat("x", n), x.name, a.m.Identity, n))
	}
	assert.Len(t, a.receive1(t).ID, component.MaxID)
	assert.Equal(t, "1", a.receive1(t).Body())
	assert.Empty(t, <-x.got, "the error for the second")
	a.silent(t)
}

// Strangers together may send no more than one peer may, however many they are. Who is
// somebody's contact does not wait for them.
func TestStrangersRate(t *testing.T) {
	w := newWire()
	a := startServerWith(t, w, "a.example", func(c *Config) { c.StanzaRate = 50 })
	friend := newStranger(t)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+friend.name+"@onion.a.example", "hi")))
	f := friend.opens(t, a)
	began := time.Now()
	for k := range 8 {
		r := newStranger(t)
		s := r.opens(t, a)
		for i := range 50 {
			s.write(fmt.Sprintf("<message from='eve@%s' to='alice@%s'><body>%d %d</body></message>", r.name, a.m.Identity, k, i))
		}
	}
	for i := range 100 {
		f.write(fmt.Sprintf("<message from='bob@%s' to='alice@%s'><body>friend %d</body></message>", friend.name, a.m.Identity, i))
	}
	last := 0
	for n := range 500 {
		if strings.HasPrefix(a.receive1(t).Body(), "friend") {
			last = n
		}
	}
	// 250 at once, and 150 at 50 a second.
	assert.Greater(t, time.Since(began), 2*time.Second)
	assert.Less(t, last, 450)
}

// A peer has one rate, also if we have opened a stream too.
func TestOneRate(t *testing.T) {
	w := newWire()
	a, b := startServer(t, w, "a.example"), startServer(t, w, "b.example")
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+b.m.Identity+"@onion.a.example", "hi")))
	b.receive1(t)
	a.mu.Lock()
	p := a.peers[b.m.Identity]
	a.mu.Unlock()
	p.mu.Lock()
	assert.Same(t, p.rate, p.cur.rate.Load())
	p.mu.Unlock()
	in := a.newStream(t.Context(), newConn(nil, component.Limits{}, time.Minute))
	a.claim(in, b.m.Identity)
	assert.Same(t, p.rate, in.rate.Load())
}

// A user here who writes to ever more names at one peer, which takes them all, does not fill
// the memory by them.
func TestManyPairs(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	x.got = make(chan string, 2*maxPairs)
	for i := range maxPairs + 100 {
		bob := fmt.Sprintf(`bob\40a%d.%s@onion.a.example`, i, x.name)
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
		if i%100 == 0 {
			require.Eventually(t, func() bool { return len(x.got) == i+1 }, 10*time.Second, time.Millisecond)
		}
	}
	a.empties(t)
	assert.Len(t, x.got, maxPairs+100)
	st := a.streamTo(t, x.name)
	st.mu.Lock()
	defer st.mu.Unlock()
	assert.LessOrEqual(t, len(st.pairs), maxPairs)
}
