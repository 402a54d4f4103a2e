package onionroute

import (
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// Each message arrives once, and in order, when either side is stopped and started
// again and again, while both send.
func TestOnceAcrossRestarts(t *testing.T) {
	_, a, b, bob, alice := two(t, quick)
	a.slow, b.slow = true, true
	var mu [2]sync.RWMutex // held while a server is not there
	servers := []*server{a, b}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	sent := [2]int{}
	for i, s := range servers {
		from, to := "alice@a.example", bob
		if i == 1 {
			from, to = "bob@b.example", alice
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				mu[i].RLock()
				if s.HandleStanza(context.Background(), message(from, to, strconv.Itoa(sent[i]))) == nil {
					sent[i]++
				}
				mu[i].RUnlock()
				time.Sleep(300 * time.Microsecond)
			}
		})
	}
	for range 60 {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		i := rand.IntN(2)
		s := servers[i]
		s.detach = mu[i].Lock // what comes until then is kept, or refused
		s.stop()
		s.detach = nil
		s.start()
		mu[i].Unlock()
	}
	cancel()
	wg.Wait()
	for i, s := range servers {
		assert.Eventually(t, func() bool { return len(s.toUs) >= sent[1-i] }, time.Minute, 10*time.Millisecond, "at %d", i)
		time.Sleep(50 * time.Millisecond) // for what should not come
		want := 0
		for len(s.toUs) > 0 {
			n, err := strconv.Atoi((<-s.toUs).Body())
			require.NoError(t, err)
			assert.Equal(t, want, n, "at %d", i)
			want = n + 1
		}
		assert.Equal(t, sent[1-i], want, "at %d", i)
		s.empties(t)
	}
	assert.Greater(t, min(sent[0], sent[1]), 100)
	t.Log(sent)
}

// When either side is killed again and again, while both send, nothing is lost but what came
// in right before its server was killed, and nothing comes twice but what was being handed to
// a host that was killed.
func TestOrderAcrossCrashes(t *testing.T) {
	w, a, b, bob, alice := two(t, quick)
	servers := []*server{a, b}
	var mu [2]sync.RWMutex // held while a server is not there
	var sent [2]atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i, s := range servers {
		s.mortal = true
		go s.carry()
		defer func() { s.stop(); close(s.toHost) }()
		wg.Go(func() {
			for ctx.Err() == nil && sent[i].Load() < most {
				mu[i].RLock()
				if s.HandleStanza(context.Background(), numbered(i, alice, bob, sent[i].Load())) == nil {
					sent[i].Add(1)
				}
				mu[i].RUnlock()
				time.Sleep(300 * time.Microsecond)
			}
		})
	}
	type kill struct{ last, end int64 } // before it came last; the first one after its end
	var kills [2][]kill
	for round := range 24 {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		i := rand.IntN(2)
		s, other := servers[i], servers[1-i]
		if round%3 == 0 { // so that much waits
			w.vanish(other)
			time.Sleep(200 * time.Millisecond)
		}
		last := sent[i].Load()
		bury := s.kill(t)
		mu[i].Lock()
		kills[i] = append(kills[i], kill{last, sent[i].Load()})
		bury()
		s.start()
		w.appear(other)
		mu[i].Unlock()
	}
	cancel()
	wg.Wait()
	for i, s := range servers {
		sent, kills, receiverKills := sent[1-i].Load(), kills[1-i], len(kills[i])
		require.Greater(t, sent, int64(100))
		require.Eventually(t, func() bool {
			return servers[1-i].HandleStanza(context.Background(), numbered(1-i, alice, bob, sent)) == nil // else too much waits
		}, time.Minute, 10*time.Millisecond)
		lost, twice, returns, next, last := 0, 0, 0, int64(0), int64(-1)
		for last != sent {
			n, err := strconv.ParseInt(s.receive1(t).Body(), 10, 64)
			require.NoError(t, err)
			if n < next { // again
				twice++
				if n != last+1 {
					returns++
				}
			} else {
				if n > next {
					k := slices.IndexFunc(kills, func(k kill) bool { return k.end == n })
					if assert.GreaterOrEqual(t, k, 0, "at %d: %d to %d are lost, and their server was not killed then", i, next, n-1) && next < kills[k].last {
						lost += int(kills[k].last - next)
					}
				}
				next = n + 1
			}
			last = n
		}
		assert.LessOrEqual(t, lost, maxUnread*len(kills))
		assert.LessOrEqual(t, twice, maxAgain*receiverKills)
		assert.LessOrEqual(t, returns, receiverKills, "at %d: it begins again without a kill of the receiver", i)
		t.Logf("at %d: of %d, %d lost by %d kills of the sender, %d twice by %d of the receiver", i, sent, lost, len(kills), twice, receiverKills)
	}
}

// Messages: that a server which is killed has not kept yet, in the middle; that a host has
// not confirmed; and that there is room for, however long it takes.
const maxUnread, maxAgain, most = 30, 300, 6000

// numbered is a message by one of two to the other.
func numbered(by int, alice, bob string, n int64) *component.Stanza {
	body := strconv.FormatInt(n, 10)
	if by == 0 {
		return message("alice@a.example", bob, body)
	}
	return message("bob@b.example", alice, body)
}

// What a peer that cannot resume a stream has written before it hears that we stop arrives.
func TestReadToTheEnd(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	stopped := make(chan struct{})
	go func() { a.stop(); close(stopped) }()
	require.NotNil(t, r.next().Child(component.NSStreams, "system-shutdown"))
	r.write("<message from='bob@" + x.name + "' to='alice@" + a.m.Identity + "'><body>under way</body></message></stream:stream>")
	assert.Equal(t, "under way", a.receive1(t).Body())
	<-stopped
}

// So it does when the stream ends because nothing came by it for long.
func TestReadToTheEndOfSilence(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", func(s *times) { s.silence = 2 * time.Second })
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	says := "<message from='bob@" + x.name + "' to='alice@" + a.m.Identity + "'><body>under way</body></message>"
	for range 2 {
		r.write(says)
		assert.Equal(t, "under way", a.receive1(t).Body())
		time.Sleep(a.times.silence * 3 / 5)
		r.write("<db:verify from='" + x.name + "' to='" + a.m.Identity + "' id='1'>key</db:verify>")
		require.True(t, isDialback(r.next(), "verify"))
	}
	require.NotNil(t, r.next().Child(component.NSStreams, "connection-timeout"))
	r.write(says + "</stream:stream>")
	assert.Equal(t, "under way", a.receive1(t).Body())
	for err := error(nil); err != io.EOF; _, err = r.d.Next() {
		require.NoError(t, err)
	}
}

// So it does when the peer has opened too many.
func TestReadToTheEndOfTooMany(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	for range maxOfPeer {
		x.proven(t, a)
	}
	require.NotNil(t, r.next().Child(component.NSStreams, "resource-constraint"))
	r.write("<message from='bob@" + x.name + "' to='alice@" + a.m.Identity + "'><body>under way</body></message></stream:stream>")
	assert.Equal(t, "under way", a.receive1(t).Body())
}

// So it does if we have opened the stream, which goes both ways.
func TestReadToTheEndBothWays(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x, r := isCalled(t, w, a, "<bidi xmlns='urn:xmpp:features:bidi'/>")
	require.True(t, r.next().Is(nsBidi, "bidi"))
	r.believes()
	require.Equal(t, "hi", r.next().Child(component.NSClient, "body").Text())
	stopped := make(chan struct{})
	go func() { a.stop(); close(stopped) }()
	for err := error(nil); err != io.EOF; _, err = r.d.Next() {
		require.NoError(t, err)
	}
	for range 10 {
		r.write("<message from='bob@" + x + "' to='alice@" + a.m.Identity + "'><body>under way</body></message>")
		assert.Equal(t, "under way", a.receive1(t).Body())
	}
	r.write("</stream:stream>")
	<-stopped
}

// Who has their stanzas acknowledged knows how many came by the stream when it ends.
func TestAcknowledgedAtTheEnd(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x, r := isAskedToManage(t, w, a)
	r.write("<enabled xmlns='urn:xmpp:sm:3'/><message from='bob@" + x + "' to='alice@" + a.m.Identity + "'><body>back</body></message>")
	assert.Equal(t, "back", a.receive1(t).Body())
	for acknowledged, asked := false, false; !acknowledged || !asked; {
		e := r.next()
		acknowledged, asked = acknowledged || e.AttrValue("h") == "1", asked || e.Is(nsSM, "r")
	}
	r.write("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	a.empties(t)
	stopped := make(chan struct{})
	go func() { a.stop(); close(stopped) }()
	require.Equal(t, "1", r.next().AttrValue("h"))
	_, err := r.d.Next()
	require.Equal(t, io.EOF, err)
	r.write("</stream:stream>")
	<-stopped
}

// What was written to such a peer waits for the next start, if the peer does not end the stream in
// its turn: it is cut off, or stops too and has not read any more.
func TestCutAtTheEnd(t *testing.T) {
	for _, says := range []string{"", "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>", "</stream:stream>"} {
		w := newWire()
		a := startServer(t, w, "a.example", quick)
		_, r := isCalled(t, w, a, "")
		r.believes()
		require.Equal(t, "hi", r.next().Child(component.NSClient, "body").Text())
		stopped := make(chan struct{})
		go func() { a.stop(); close(stopped) }()
		for err := error(nil); err != io.EOF; _, err = r.d.Next() {
			require.NoError(t, err)
		}
		r.write(says)
		r.Close()
		<-stopped
		a.start()
		<-a.loaded
		assert.Equal(t, says == "</stream:stream>", a.waits() == 0, says)
	}
}

// What was written to a peer without stream management, and not asked about with success when the
// stream broke off, goes out again, answers too; but requests are not made twice.
func TestWrittenAgain(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", quick)
	var cut atomic.Bool
	x := startRawServer(t, w, func(d dialback) dialback {
		if d.name == "verify" && cut.CompareAndSwap(true, false) {
			w.cut()
		}
		return d.answer(map[string]string{"result": "valid", "verify": "invalid"}[d.name])
	})
	x.got = make(chan string, 10)
	bob := `bob\40` + x.name + "@onion.a.example"
	says := func(s *component.Stanza, body string) {
		require.NoError(t, a.HandleStanza(context.Background(), s))
		require.Equal(t, body, <-x.got)
	}
	iq := func(typ string) *component.Stanza {
		s := &component.Stanza{Kind: component.IQ, Type: typ, ID: typ, From: jid.MustParse("alice@a.example/c"), To: jid.MustParse(bob)}
		return s.Add(component.NewElement(component.NSPing, "ping"))
	}
	says(message("alice@a.example", bob, "1"), "1")
	a.empties(t)
	cut.Store(true)
	says(message("alice@a.example", bob, "2"), "2")
	assert.Equal(t, "2", <-x.got)
	a.empties(t)
	cut.Store(true)
	says(iq("result"), "")
	assert.Empty(t, <-x.got)
	a.empties(t)
	cut.Store(true)
	says(iq("get"), "")
	assert.Equal(t, "error", a.receive1(t).Type)
	says(message("alice@a.example", bob, "3"), "3")
	a.silent(t)
}
