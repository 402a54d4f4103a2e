package onionroute

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// An answerer is a server that answers as it should, but for one of the streams that are
// opened to it: there it says what the test says, and nothing more.
type answerer struct {
	strangerKey
	says  string
	wrong int32 // the number of that stream
	took  atomic.Int32
	got   chan string // bodies of messages
	heard chan string // all that came by the wrong stream
}

func newAnswerer(t testing.TB, w *wire, secure bool, wrong int32, says string) *answerer {
	x := &answerer{strangerKey: newStranger(t), says: says, wrong: wrong, got: make(chan string, 10), heard: make(chan string, 1)}
	listen := func(port string, secure bool) string {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), port))
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				go x.serve(c, secure)
			}
		}()
		return l.Addr().String()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports[x.name] = listen("s", false)
	if secure {
		w.tls[x.name] = listen("t", true)
	}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.ports, x.name)
		delete(w.tls, x.name)
	})
	return x
}

func (x *answerer) serve(c net.Conn, secure bool) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	id := ""
	if secure {
		s := tls.Server(c, x.serverTLS(true))
		if s.Handshake() != nil {
			return
		}
		id, _ = smID(s)
		c = s
	}
	if x.took.Add(1) == x.wrong {
		go func() {
			io.WriteString(c, strings.NewReplacer("{X}", x.name, "{ID}", id).Replace(x.says))
			c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		all, _ := io.ReadAll(c)
		x.heard <- string(all)
		return
	}
	x.answer(c, id)
}

// answer answers as a server should. The session can be resumed if it has a name.
func (x *answerer) answer(c net.Conn, id string) {
	d := component.NewDecoder(c, component.Limits{})
	handled := uint32(0)
	opening := string(appendHeader(nil, header{from: x.name, id: "1"})) + "<stream:features/>"
	say := func(e *component.Element) { c.Write(e.AppendXML(nil, component.NSServer)) }
	_, err := d.Header()
	io.WriteString(c, opening)
	for err == nil {
		var e *component.Element
		if e, err = d.Next(); err != nil {
			return
		}
		switch {
		case isStanzaName(e.Name):
			handled++
			x.got <- e.Child(component.NSClient, "body").Text()
		case e.Is(nsSASL, "auth"):
			say(component.NewElement(nsSASL, "success"))
			d.Restart()
			_, err = d.Header()
			io.WriteString(c, opening)
		case e.Is(nsSM, "enable"):
			say(smElement("enabled").With("id", id).With("resume", "true"))
		case e.Is(nsSM, "resume"):
			say(smFailed("item-not-found"))
		case e.Is(nsSM, "r"):
			say(smElement("a").With("h", number(handled)))
		case isDialback(e, "result"):
			say(parseDialback(e).answer("valid").element())
		case isDialback(e, "verify"):
			say(parseDialback(e).answer("invalid").element())
		}
	}
}

// answerSeeds are where FuzzAnswers begins, with placeholders for what is another one each time.
func answerSeeds() []string {
	const (
		opening  = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' id='x' version='1.0'>"
		features = "<stream:features/>"
		proven   = opening + features + "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + opening + features
		says     = "<message from='eve@{X}' to='alice@{A}'><body>from a peer</body></message>"
	)
	return []string{
		"",
		opening,
		opening + features,
		opening + "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features><proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
		opening + "<stream:features><bidi xmlns='urn:xmpp:features:bidi'/><sm xmlns='urn:xmpp:sm:3'/></stream:features><db:result type='valid' from='{X}' to='{A}'/><enabled xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='1'/>" + says,
		opening + features + "<db:result type='invalid' from='{X}' to='{A}'/>",
		"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' id='x'>",
		opening + features + "<db:result type='error' from='{X}' to='{A}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
		opening + features + "<db:verify type='valid' from='{X}' to='{A}' id='x'/><db:result from='{X}' to='{A}'>key</db:result>",
		opening + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
		opening + features + "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
		proven + "<enabled xmlns='urn:xmpp:sm:3' id='{ID}' resume='true'/><a xmlns='urn:xmpp:sm:3' h='1'/><r xmlns='urn:xmpp:sm:3'/>" + says + "</stream:stream>",
		proven + "<enabled xmlns='urn:xmpp:sm:3' id='another'/>",
		proven + "<failed xmlns='urn:xmpp:sm:3'/>",
		proven + "<a xmlns='urn:xmpp:sm:3' h='4294967295'/>",
		proven + "<resumed xmlns='urn:xmpp:sm:3' h='1'/>" + says + "<a xmlns='urn:xmpp:sm:3' h='2'/>",
		proven + "<resumed xmlns='urn:xmpp:sm:3' h='7'/>",
		proven + "<failed xmlns='urn:xmpp:sm:3'/><enabled xmlns='urn:xmpp:sm:3' id='{ID}'/><a xmlns='urn:xmpp:sm:3' h='1'/>",
	}
}

// FuzzAnswers: whatever a peer answers on a stream that we open, in the clear, by TLS, or
// when we ask to resume a session, nothing breaks, and nothing is left of it. What was
// written to the peer gets there, then or by the next stream, or comes back to its sender.
func FuzzAnswers(f *testing.F) {
	for _, seed := range answerSeeds() {
		for kind := range byte(3) {
			f.Add(kind, seed)
		}
	}
	w := newWire()
	a := startServer(f, w, "a.example", quick, brief, func(s *times) {
		s.tick, s.streamIdle, s.peerIdle = 5*time.Millisecond, 20*time.Millisecond, 10*time.Millisecond
	})
	f.Fuzz(func(t *testing.T, kind byte, says string) {
		secure, resumes := kind%3 > 0, kind%3 == 2
		nothingLeft(t)
		wrong := int32(1)
		if resumes {
			wrong = 2
		}
		x := newAnswerer(t, w, secure, wrong, strings.ReplaceAll(says, "{A}", a.m.Identity))
		write := func(body string) {
			require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", x.bob(), body)))
			require.Eventually(t, func() bool { return a.waits() == 0 }, 20*time.Second, time.Millisecond, "it waits for ever")
		}
		if resumes {
			write("before")
			require.Equal(t, "before", <-x.got)
			w.cut()
		}
		write("the one")
		heard, returned := <-x.heard, false
		for len(a.toUs) > 0 {
			s := <-a.toUs
			o, err := a.m.ToOnion(s.From)
			require.NoError(t, err)
			require.Equal(t, x.name, Base(o.Domainpart()), s)
			returned = returned || s.Type == "error" && s.From.String() == x.bob()
		}
		if strings.Contains(says, nsSM) && strings.Contains(says, "h=") {
			return // it may have acknowledged what it was about to get
		}
		require.True(t, returned || strings.Contains(heard, "the one") || len(x.got) > 0 && <-x.got == "the one", "it is lost")
	})
}
