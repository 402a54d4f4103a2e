package onionroute

import (
	"context"
	"crypto/tls"
	"database/sql"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// A session that the peer opens just after ours broke off is one with that, whenever its
// stream ends: also if that is while the peer's goroutine is about to use it.
func TestOpenedAndCut(t *testing.T) {
	s := startServer(t, newWire(), "a.example")
	<-s.loaded
	p, ours, theirs := s.newPeer("x.onion"), newSession("x.onion", "ours"), newSession("x.onion", "theirs")
	require.True(t, p.ownNew(ours))
	c, other := net.Pipe()
	go io.Copy(io.Discard, other)
	st := s.newStream(t.Context(), newConn(c, component.Limits{}, time.Minute))
	theirs.accepted = true
	require.NoError(t, p.offer(st, theirs))
	st.session().received(st)()
	require.Same(t, st, p.otherThan(nil))
	close(st.ended)
	require.True(t, p.drop(st))
	p.takeOrphan()
	require.Same(t, ours, p.session)
	assert.True(t, ours.is("ours"))
	assert.True(t, ours.is("theirs"))
	h, _ := ours.handled()
	assert.EqualValues(t, 1, h)
}

// The same with streams: whichever name the peer resumes it by, each message arrives once.
func TestOpenedAndCutResumed(t *testing.T) {
	for i := range 20 {
		w := newWire()
		a, x := startServer(t, w, "a.example", quick), newStranger(t)
		dialled := x.listens(t, w)
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", x.bob(), "hi")))
		broken := <-dialled
		ours := broken.smID()
		require.Equal(t, "enable", broken.next().Name.Local)
		w.lose(x.name)
		broken.Close()
		in := x.opens(t, a)
		theirs := in.smID()
		in.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>" + x.says(a, "1") + x.says(a, "2"))
		in.Close()
		in = x.opens(t, a)
		in.write("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + []string{ours, theirs}[i%2] + "'/>")
		h := uint32(0)
		if e := in.next(); e.Name.Local == "resumed" {
			var err error
			h, err = smNumber(e)
			require.NoError(t, err)
		} else { // it came before what opened theirs
			require.Equal(t, "failed", e.Name.Local)
			require.Equal(t, 1, i%2, "it knows ours")
			in.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
		}
		for n := h + 1; n <= 2; n++ {
			in.write(x.says(a, number(n)))
		}
		require.Equal(t, "1", a.receive1(t).Body())
		require.Equal(t, "2", a.receive1(t).Body())
		a.silent(t)
	}
}

// While we ask to resume our session, the peer gets to know how far it was read. So nothing
// is read of one that it opened before it had heard of ours, nor later by a stream from
// before it answered: it comes again with the answer.
func TestOpenedWhileAsked(t *testing.T) {
	for range 4 { // either may be the one that yields
		w := newWire()
		a, x := startServer(t, w, "a.example", quick), newStranger(t)
		dialled := x.listens(t, w)
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", x.bob(), "hi")))
		out := <-dialled
		ours := out.smID()
		require.Equal(t, "enable", out.next().Name.Local)
		out.Close()
		out = <-dialled
		e := out.next()
		require.Equal(t, "resume", e.Name.Local)
		require.Equal(t, ours, e.AttrValue("previd"))
		require.Equal(t, "0", e.AttrValue("h"))
		late := x.opens(t, a)
		in := x.opens(t, a)
		in.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>" + x.says(a, "1"))
		in.fails("conflict")
		a.silent(t)
		out.write("<resumed xmlns='urn:xmpp:sm:3' h='0' previd='" + ours + "'/>" + x.says(a, "1"))
		require.Equal(t, "1", a.receive1(t).Body())
		e = out.next()
		for !isStanzaName(e.Name) {
			e = out.next()
		}
		require.Equal(t, "hi", e.Child(component.NSClient, "body").Text())
		late.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>" + x.says(a, "1"))
		late.fails("conflict")
		a.silent(t)
		w.lose(x.name)
		out.Close()
	}
}

// What comes late by a stream that the peer has given up for another is not read.
func TestOutdatedStream(t *testing.T) {
	a, x := startServer(t, newWire(), "a.example"), newStranger(t)
	var late []*raw
	for range 2 {
		late = append(late, x.opens(t, a))
	}
	in := x.opens(t, a)
	id := in.smID()
	in.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>" + x.says(a, "1"))
	require.Equal(t, "1", a.receive1(t).Body())
	late[0].write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>" + x.says(a, "1"))
	late[0].fails("conflict")
	late[1].write("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>" + x.says(a, "1"))
	late[1].fails("conflict")
	a.silent(t)
	in.write(x.says(a, "2"))
	require.Equal(t, "2", a.receive1(t).Body())
}

// lose makes a name one that cannot be reached any more.
func (w *wire) lose(onion string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ports, onion)
}

// listens makes the stranger an onion service. It accepts who proves itself by its chain, and
// leaves the rest to the test: what is read next is about the session.
func (k strangerKey) listens(t testing.TB, w *wire) <-chan *raw {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	w.mu.Lock()
	w.ports[k.name], w.tls[k.name] = path, path
	w.mu.Unlock()
	out := make(chan *raw, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if r := k.accepts(t, c); r != nil {
				out <- r
			}
		}
	}()
	return out
}

// accepts is nil if the other side has given up meanwhile.
func (k strangerKey) accepts(t testing.TB, c net.Conn) *raw {
	c = tls.Server(c, k.serverTLS(true))
	c.SetDeadline(time.Now().Add(time.Minute))
	r := &raw{t, c, component.NewDecoder(c, component.Limits{})}
	_, err := r.d.Header()
	for range 2 { // bidi and auth
		if err == nil {
			_, err = r.d.Next()
		}
	}
	r.d.Restart()
	if err == nil {
		_, err = r.d.Header()
	}
	if err == nil {
		opening := string(appendHeader(nil, header{from: k.name, id: "1"})) + "<stream:features/>"
		_, err = io.WriteString(c, opening+string(component.NewElement(nsSASL, "success").AppendXML(nil, component.NSServer))+opening)
	}
	if err != nil {
		c.Close()
		return nil
	}
	return r
}

// bob is the address of a user there, as it is written at a.example.
func (k strangerKey) bob() string { return `bob\40` + k.name + "@onion.a.example" }

// says is a message of bob's.
func (k strangerKey) says(a *server, body string) string {
	return "<message from='bob@" + k.name + "' to='alice@" + a.m.Identity + "' type='chat' id='1'><body>" + body + "</body></message>"
}

// smID is the SM-ID of a session that begins on the connection.
func (r *raw) smID() string {
	id, err := smID(r.Conn.(*tls.Conn))
	require.NoError(r.t, err)
	return id
}

// A peer that asks to resume its session, and for another one before the answer, gets one of
// them at most: of the other nothing would ever end.
func TestResumedAndEnabled(t *testing.T) {
	a, x := startServer(t, newWire(), "a.example", quick), newStranger(t)
	in := x.enables(t, a)
	previd := in.smID()
	in.write(x.says(a, "hi"))
	require.Equal(t, "hi", a.receive1(t).Body())
	in.Close()
	for range 20 {
		in = x.opens(t, a)
		in.write("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + previd + "'/><enable xmlns='urn:xmpp:sm:3' resume='true'/>")
		for e, err := in.d.Next(); err == nil; e, err = in.d.Next() {
			require.NotEqual(t, "enabled", e.Name.Local)
		}
	}
	in = x.opens(t, a)
	in.write("<resume xmlns='urn:xmpp:sm:3' h='0' previd='another'/>")
	require.Equal(t, "failed", in.next().Name.Local)
	in.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	require.Equal(t, "enabled", in.next().Name.Local)
	require.Eventually(t, func() bool { all, err := a.spool.settled(t).sessions(); return err == nil && len(all) == 1 }, 5*time.Second, 10*time.Millisecond)
}

// A session that we have opened, and that the peer has lost when it opens another one, is not
// made one with that: the peer counts anew, in both directions.
func TestLostByPeer(t *testing.T) {
	for _, says := range []string{"", "1"} {
		w := newWire()
		a, x := startServer(t, w, "a.example", quick), newStranger(t)
		dialled := x.listens(t, w)
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", x.bob(), "hi")))
		out := <-dialled
		require.Equal(t, "enable", out.next().Name.Local)
		out.write("<enabled xmlns='urn:xmpp:sm:3' id='" + out.smID() + "' resume='true'/><a xmlns='urn:xmpp:sm:3' h='1'/>")
		if says != "" {
			out.write(x.says(a, says))
			require.Equal(t, says, a.receive1(t).Body())
		}
		a.empties(t)
		w.lose(x.name)
		out.Close()
		in := x.enables(t, a)
		in.write(x.says(a, "2") + "<r xmlns='urn:xmpp:sm:3'/>")
		require.Equal(t, "2", a.receive1(t).Body())
		e := in.next()
		for ; e.AttrValue("h") == "" || e.AttrValue("h") == "0"; e = in.next() {
		}
		assert.Equal(t, "1", e.AttrValue("h"), "of what it says")
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", x.bob(), "more")))
		for e = in.next(); !isStanzaName(e.Name); e = in.next() {
		}
		require.Equal(t, "more", e.Child(component.NSClient, "body").Text())
		in.write("<a xmlns='urn:xmpp:sm:3' h='1'/>")
		a.empties(t)
	}
}

// A kill between the peer's next session and the end of its last one, which it has lost, leaves
// both: what was read in the last one does not count for the next one.
func TestNextSessionAtStart(t *testing.T) {
	for last := range uint32(2) {
		a, x := startServer(t, newWire(), "a.example", quick), newStranger(t)
		in := x.opens(t, a)
		require.NoError(t, a.spool.handled(storedSession{id: "last", peer: x.name, h: last}))
		require.NoError(t, a.spool.handled(storedSession{id: "next", peer: x.name}))
		in.Close()
		a.crash(t)
		a.start()
		in = x.opens(t, a)
		in.write("<resume xmlns='urn:xmpp:sm:3' h='0' previd='next'/>")
		assert.Equal(t, "0", in.next().AttrValue("h"), "%d were read in the last one", last)
		require.Eventually(t, func() bool { all, err := a.spool.settled(t).sessions(); return err == nil && len(all) == 1 }, 5*time.Second, 10*time.Millisecond)
	}
}

// A peer that acknowledges what is about to be written, and is not yet, breaks the rules: if
// it went to the spool after that, it would stay there.
func TestAcknowledgedBeforeWritten(t *testing.T) {
	a, x := startServer(t, newWire(), "a.example", quick), newStranger(t)
	in := x.enables(t, a)
	in.write(x.says(a, "hi"))
	require.Equal(t, "hi", a.receive1(t).Body())
	st := a.streamTo(t, x.name)
	require.NoError(t, a.spool.change(func(*sql.Tx) error { // nothing is kept meanwhile
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", x.bob(), "early")))
		numbered := func() uint32 { _, last := st.session().open(); return last }
		require.Eventually(t, func() bool { return numbered() == 1 }, 5*time.Second, time.Millisecond)
		in.write("<a xmlns='urn:xmpp:sm:3' h='1'/>")
		require.Eventually(t, func() bool { return !st.alive() || st.openNow() == 0 }, 5*time.Second, time.Millisecond)
		return nil
	}))
	in.fails("undefined-condition")
	in = x.enables(t, a)
	e := in.next()
	for ; !isStanzaName(e.Name); e = in.next() {
	}
	assert.Equal(t, "early", e.Child(component.NSClient, "body").Text())
	in.write("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	a.empties(t)
	require.Eventually(t, func() bool { left, err := a.spool.settled(t).items(); return err == nil && len(left) == 0 }, 5*time.Second, 10*time.Millisecond)
}
