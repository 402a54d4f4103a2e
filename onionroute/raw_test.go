package onionroute

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// A raw is the other end of a stream, with no manners but those that the test has.
type raw struct {
	t testing.TB
	net.Conn
	d *component.Decoder
}

func dialRaw(t testing.TB, s *server, port int) *raw {
	c, err := net.Dial("unix", s.Ports()[port])
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	if port == portServerTLS {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	return &raw{t, c, component.NewDecoder(c, component.Limits{})}
}

func (r *raw) write(s string) {
	_, err := io.WriteString(r, s)
	require.NoError(r.t, err)
}

func (r *raw) open(from, to string) {
	r.write("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='" + from + "' to='" + to + "' version='1.0'>")
}

func (r *raw) header() *component.Element {
	r.t.Helper()
	h, err := r.d.Header()
	require.NoError(r.t, err)
	return h
}

func (r *raw) next() *component.Element {
	r.t.Helper()
	e, err := r.d.Next()
	require.NoError(r.t, err)
	return e
}

// greet opens a stream and reads up to the features.
func (r *raw) greet(from, to string) {
	r.open(from, to)
	r.header()
	require.True(r.t, r.next().Is(component.NSStream, "features"))
}

// believes reads who we say that we are, and answers that we are.
func (r *raw) believes() dialback {
	d := parseDialback(r.next())
	r.write(string(d.answer("valid").element().AppendXML(nil, component.NSServer)))
	return d
}

// fails reads up to the end of the stream, which must be by that error.
func (r *raw) fails(condition string) {
	r.t.Helper()
	for {
		e, err := r.d.Next()
		require.NoError(r.t, err, "stream ended without "+condition)
		if e.Is(component.NSStream, "error") {
			require.NotNil(r.t, e.Child(component.NSStreams, condition), "%s instead of %s", e, condition)
			require.Len(r.t, e.Nodes, 1, "an error tells nothing but its condition")
			break
		}
	}
	_, err := r.d.Next()
	require.Equal(r.t, io.EOF, err)
}

// A rawServer is an onion service of the test's own: it answers questions of
// dialback as the test says.
type rawServer struct {
	name string
	l    net.Listener
	got  chan string // bodies of messages, if it is not nil
	to   chan string // what streams are to, if it is not nil

	ended   chan struct{}
	refuses atomic.Bool   // ends each stream at the first element
	stops   atomic.Bool   // hardly reads any more after dialback
	cut     chan struct{} // has a token when a stream was cut off then
}

func startRawServer(t testing.TB, w *wire, answer func(dialback) dialback) *rawServer {
	dir, err := os.MkdirTemp("", "raw")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	id, err := CreateIdentity(filepath.Join(dir, "key"))
	require.NoError(t, err)
	s := &rawServer{name: id.Name(), ended: make(chan struct{}), cut: make(chan struct{}, 100)}
	s.l, err = net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	t.Cleanup(func() { s.l.Close(); close(s.ended) })
	w.mu.Lock()
	w.ports[s.name] = s.l.Addr().String()
	w.mu.Unlock()
	go func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			go s.serve(c, answer)
		}
	}()
	return s
}

func (s *rawServer) serve(c net.Conn, answer func(dialback) dialback) {
	defer c.Close()
	d := component.NewDecoder(c, component.Limits{})
	h, err := d.Header()
	if err != nil {
		return
	}
	if s.to != nil {
		s.to <- h.AttrValue("to")
	}
	io.WriteString(c, "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' id='x' version='1.0'><stream:features/>")
	for {
		e, err := d.Next()
		if err != nil {
			return
		}
		if s.refuses.Load() {
			io.WriteString(c, "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
			return
		}
		if s.stops.Load() && e.Name.Space != nsDialback {
			s.crawl(c)
			return
		}
		if s.got != nil && isStanzaName(e.Name) {
			s.got <- e.Child(component.NSClient, "body").Text()
		}
		if e.Name.Space == nsDialback {
			c.Write(answer(parseDialback(e)).element().AppendXML(nil, component.NSServer))
		}
	}
}

// crawl reads as slowly as one can who seems to be there, until the other side gives up
// or the test ends.
func (s *rawServer) crawl(c net.Conn) {
	for {
		c.Read(make([]byte, 1))
		if _, err := c.Write([]byte(" ")); err != nil { // what was written before can be read still
			s.cut <- struct{}{}
			return
		}
		select {
		case <-s.ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// believe says that every key is valid.
func believe(d dialback) dialback { return d.answer("valid") }

// proven opens a stream that has proved to be from the raw server.
func (s *rawServer) proven(t testing.TB, to *server) *raw {
	r := dialRaw(t, to, portServer)
	r.greet(s.name, to.m.Identity)
	r.write("<db:result from='" + s.name + "' to='" + to.m.Identity + "'>key</db:result>")
	a := parseDialback(r.next())
	require.Equal(t, "valid", a.typ)
	return r
}
