package onionroute

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

func two(t testing.TB, change ...func(*times)) (w *wire, a, b *server, bob, alice string) {
	w = newWire()
	a, b = startServer(t, w, "a.example", change...), startServer(t, w, "b.example", change...)
	return w, a, b, `bob\40` + b.m.Identity + "@onion.a.example", `alice\40` + a.m.Identity + "@onion.b.example"
}

// From one gateway to the other and back, each side sees its own form of all
// addresses, in the header and in the payload.
func TestBetweenGateways(t *testing.T) {
	_, a, b, bob, alice := two(t)
	ctx := context.Background()
	m := message("alice@a.example/x", bob+"/y", "hi")
	m.Add(component.NewElement("urn:xmpp:delay", "delay").With("from", "alice@a.example").With("stamp", "2026-01-01T00:00:00Z"),
		component.NewElement("jabber:x:conference", "x").With("jid", "room@rooms.a.example"))
	require.NoError(t, a.HandleStanza(ctx, m))
	got := b.receive1(t)
	assert.Equal(t, alice, got.From.Bare().String())
	assert.Regexp(t, "^[A-Z2-7]{26}$", got.From.Resourcepart(), "the name of the client stays here")
	assert.Equal(t, "bob@b.example", got.To.String(), "nobody can guess the name of a client")
	assert.Equal(t, "hi", got.Body())
	assert.Equal(t, alice, got.Child("urn:xmpp:delay", "delay").AttrValue("from"))
	assert.Equal(t, `room\40rooms.`+a.m.Identity+"@onion.b.example", got.Child("jabber:x:conference", "x").AttrValue("jid"))

	require.NoError(t, b.HandleStanza(ctx, message("bob@b.example/y", alice, "hi back")))
	got = a.receive1(t)
	assert.Equal(t, bob, got.From.Bare().String())
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", got.From.String(), "to your client")))
	assert.Equal(t, "bob@b.example/y", b.receive1(t).To.String())
	// What is addressed to the other gateway itself, it answers.
	ping := &component.Stanza{Kind: component.IQ, Type: "get", ID: "p", From: jid.MustParse("alice@a.example/x"), To: jid.MustParse(b.m.Identity + "@onion.a.example")}
	require.NoError(t, a.HandleStanza(ctx, ping.Add(component.NewElement(component.NSPing, "ping"))))
	got = a.receive1(t)
	assert.Equal(t, "result", got.Type, got)
	assert.Equal(t, b.m.Identity+"@onion.a.example", got.From.String())
	// A service behind it is another pair of domains on the same stream.
	require.NoError(t, a.HandleStanza(ctx, message("room@rooms.a.example/nick", bob, "from a room")))
	assert.Equal(t, `room\40rooms.`+a.m.Identity+"@onion.b.example/nick", b.receive1(t).From.String())
}

// 1000 each way arrive once and in order.
func TestOrder(t *testing.T) {
	_, a, b, bob, alice := two(t)
	for i := range 1000 {
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, strconv.Itoa(i))))
		require.NoError(t, b.HandleStanza(context.Background(), message("bob@b.example", alice, strconv.Itoa(i))))
	}
	for i := range 1000 {
		require.Equal(t, strconv.Itoa(i), a.receive1(t).Body())
		require.Equal(t, strconv.Itoa(i), b.receive1(t).Body())
	}
	a.silent(t)
	b.silent(t)
	a.empties(t)
	b.empties(t)
}

// After its connections were cut, the conversation goes on.
func TestCut(t *testing.T) {
	w, a, b, bob, _ := two(t, func(s *times) { s.retryMin = 50 * time.Millisecond })
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "1")))
	b.receive1(t)
	w.cut()
	require.Eventually(t, func() bool {
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "2")))
		select {
		case s := <-b.toUs:
			return s.Body() == "2"
		case <-time.After(200 * time.Millisecond):
			return false
		}
	}, 10*time.Second, time.Millisecond)
}

// A peer that cannot be reached: what is of this moment bounces at once, what a person
// wrote waits a while, and bounces with its own id.
func TestUnreachable(t *testing.T) {
	const hold = 300 * time.Millisecond
	a := startServer(t, newWire(), "a.example", func(s *times) { s.maxAge, s.retryMin = hold, 100*time.Millisecond })
	nobody := `bob\40` + onionName("nobody") + "@onion.a.example"
	began := time.Now()
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", nobody, "hi")))
	got := a.receive1(t)
	assert.Equal(t, "error", got.Type)
	assert.Equal(t, "1", got.ID)
	assert.Equal(t, nobody, got.From.String())
	assert.Equal(t, stanza.RemoteServerTimeout, got.StanzaError().Condition)
	assert.Equal(t, stanza.Wait, got.StanzaError().Type)
	expired := func(since time.Time) string {
		return "The server could not be reached through Tor since " + since.UTC().Format("2006-01-02 15:04") + " UTC. Tor does not find it: it has been off-line for a while, or there is no such server. The message was not delivered, and is not kept any longer."
	}
	assert.Contains(t, []string{expired(began), expired(time.Now())}, got.StanzaError().Text["en"], "it can be the next minute")
	assert.Greater(t, time.Since(began), hold)
	assert.NotContains(t, got.String(), "socks")
	iq := &component.Stanza{Kind: component.IQ, Type: "get", ID: "2", From: jid.MustParse("alice@a.example"), To: jid.MustParse(nobody)}
	iq.Add(component.NewElement(component.NSPing, "ping"))
	if err := a.HandleStanza(context.Background(), iq); err == nil {
		assert.Equal(t, "2", a.receive1(t).ID)
	} else {
		assert.ErrorIs(t, err, stanza.Error{Condition: stanza.RemoteServerTimeout})
	}
	a.empties(t)
}

// Nobody but the host's users and services here may send by the gateway, and peers
// reach nobody but those.
func TestNoOpenRelay(t *testing.T) {
	w, a, b, bob, _ := two(t)
	err := a.HandleStanza(context.Background(), message("carol@jabber.example", bob, "hi"))
	assert.ErrorIs(t, err, stanza.Error{Condition: stanza.Forbidden})
	err = a.HandleStanza(context.Background(), message(`eve\40`+onionName("eve")+"@onion.a.example", bob, "hi"))
	assert.ErrorIs(t, err, stanza.Error{Condition: stanza.Forbidden})
	b.silent(t)
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	for _, to := range []string{`carol\40jabber.example@` + a.m.Identity, `\40a.example@` + a.m.Identity, `\40jabber.example@` + a.m.Identity,
		`bob\40` + b.m.Identity + "@" + a.m.Identity} {
		r.write("<iq type='get' id='1' from='eve@" + x.name + "' to='" + to + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	}
	r.write("<message from='eve@" + x.name + "' to='alice@" + a.m.Identity + "'><body>hi</body></message>")
	assert.Equal(t, "hi", a.receive1(t).Body(), "the first thing that arrives is what is allowed")
}

func TestPrompt(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := onionName("x")
	ask := func(from, typed string) *component.Stanza {
		iq := &component.Stanza{Kind: component.IQ, Type: "set", ID: "g", From: jid.MustParse(from), To: jid.MustParse("onion.a.example")}
		iq.Add(component.NewElement(nsGateway, "query").Add(component.NewElement(nsGateway, "prompt", component.Text(typed))))
		if err := a.HandleStanza(context.Background(), iq); err != nil {
			return iq.Error(err)
		}
		return a.receive1(t)
	}
	want := `bob\40` + x + "@onion.a.example"
	for _, typed := range []string{"bob@" + x, " bob@" + x + "\n", "bob @ " + x, "xmpp:bob@" + x + "?message", "BOB@" + strings.ToUpper(x), "bob@" + x + "/phone",
		want, "bob%" + x + "@onion.a.example", "xmpp:" + strings.ReplaceAll(want, `\`, "%5C")} {
		r := ask("alice@a.example/x", typed)
		assert.Equal(t, want, r.Payload().Child(nsGateway, "jid").Text(), "%q: %s", typed, r)
	}
	assert.Equal(t, x+"@onion.a.example", ask("alice@a.example", x).Payload().Child(nsGateway, "jid").Text())
	assert.Equal(t, `müller\40`+x+"@onion.a.example", ask("alice@a.example", "xmpp:m%C3%BCller@"+x+"?message").Payload().Child(nsGateway, "jid").Text())
	for _, typed := range []string{"", "bob", "bob@example.org", "bob@" + x[1:], "bob@" + a.m.Identity, "@" + x} {
		assert.Equal(t, stanza.NotAcceptable, ask("alice@a.example", typed).StanzaError().Condition, typed)
	}
	for typed, want := range map[string]string{"alice@" + a.m.Identity: "write to alice@a.example as it is", "alice@a.example": "write to alice@a.example as it is",
		"bob@" + strings.Repeat("a", 56) + ".onion": "a letter must be wrong", "bob@" + x[1:]: "is it complete?",
		"bob": "bob is not the address of somebody at another onion service", "bob@example.org": "bob@example.org is not the address of somebody at another onion service",
		"onion.a.example": "write to onion.a.example as it is"} {
		assert.Contains(t, ask("alice@a.example", typed).String(), want, typed)
	}
	assert.Equal(t, stanza.Forbidden, ask("carol@jabber.example", "bob@"+x).StanzaError().Condition)
	get := &component.Stanza{Kind: component.IQ, Type: "get", ID: "g", From: jid.MustParse("alice@a.example"), To: jid.MustParse("onion.a.example")}
	require.NoError(t, a.HandleStanza(context.Background(), get.Add(component.NewElement(nsGateway, "query"))))
	prompt := a.receive1(t)
	assert.NotEmpty(t, prompt.Payload().Child(nsGateway, "prompt").Text())
	assert.Contains(t, prompt.Payload().Child(nsGateway, "desc").Text(), "You are alice@"+a.m.Identity)
}

// Users find out their onion address by a command, and when they write to the gateway;
// others do not hear of it.
func TestOwnAddress(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	command := &component.Stanza{Kind: component.IQ, Type: "set", ID: "c", From: jid.MustParse("alice@a.example/x"), To: jid.MustParse("onion.a.example")}
	require.NoError(t, a.HandleStanza(context.Background(), command.Add(component.NewElement(component.NSCommands, "command").With("node", "urn:xmpp:allium:0#address"))))
	assert.Contains(t, a.receive1(t).String(), "You are alice@"+a.m.Identity+" to people")
	write := func(from string) string {
		m := message(from, "onion.a.example", "hello?")
		return m.Error(a.HandleStanza(context.Background(), m)).String()
	}
	assert.Contains(t, write("alice@a.example"), "You are alice@"+a.m.Identity)
	assert.Contains(t, write("alice@a.example"), "service-unavailable")
	assert.NotContains(t, write("carol@jabber.example"), ".onion")
}

// Whatever comes before anything is proven gets the stream error that fits.
func TestBadStreams(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	const ns = "xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'"
	for _, c := range []struct{ in, condition string }{
		{"<stream:stream " + ns + " to='jabber.example'>", "host-unknown"},
		{"<stream:stream " + ns + " to='a.example'>", "host-unknown"},
		{"<stream:stream " + ns + ">", "host-unknown"},
		{"<stream:stream " + ns + " to='other." + a.m.Identity + "'>", "host-unknown"},
		{"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='" + a.m.Identity + "'>", "invalid-namespace"},
		{"<stream:stream xmlns='jabber:server' xmlns:stream='urn:x' to='" + a.m.Identity + "'>", "invalid-namespace"},
		{"GET / HTTP/1.0\r\n\r\n", "not-well-formed"},
		{"<!DOCTYPE lol [<!ENTITY lol 'lol'>]>", "restricted-xml"},
		{"<a/>", "bad-format"},
		{"<" + strings.Repeat("a", 20_000), "policy-violation"},
	} {
		r := dialRaw(t, a, portServer)
		r.write(c.in)
		h := r.header()
		r.fails(c.condition)
		assert.NotEmpty(t, h.AttrValue("id"))
		if c.condition == "host-unknown" {
			assert.Empty(t, h.AttrValue("from"))
		}
	}
	for _, c := range []struct{ in, condition string }{
		{"<message/>", "improper-addressing"},
		{"<message from='eve@" + x.name + "' to='alice@" + a.m.Identity + "'/>", "not-authorized"},
		{"<db:result from='" + x.name + "'/>", "improper-addressing"},
		{"<db:verify to='" + a.m.Identity + "'>k</db:verify>", "improper-addressing"},
		{"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>", "not-authorized"},
		{"<message><body></message>", "not-well-formed"},
		{"<message>&lol;</message>", "restricted-xml"},
		{"<message>" + strings.Repeat("x", 20_000), "policy-violation"},
		{strings.Repeat("<a>", 200) + strings.Repeat("</a>", 200), "policy-violation"},
		{"<x:y/>", "bad-namespace-prefix"},
		{"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><message/>", "policy-violation"},
	} {
		r := dialRaw(t, a, portServer)
		r.greet(x.name, a.m.Identity)
		r.write(c.in)
		r.fails(c.condition)
	}
	a.silent(t)
}

// After dialback a stream is for the onion service that it proved to be from, with what
// is below its name, and for nothing else.
func TestSpoofing(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	x := startRawServer(t, w, believe)
	for _, c := range []struct{ in, condition string }{
		{"<message from='bob@" + onionName("y") + "' to='alice@" + a.m.Identity + "'/>", "invalid-from"},
		{"<message from='alice@" + a.m.Identity + "' to='alice@" + a.m.Identity + "'/>", "invalid-from"},
		{"<message from='alice@a.example' to='alice@" + a.m.Identity + "'/>", "invalid-from"},
		{"<message to='alice@" + a.m.Identity + "'/>", "improper-addressing"},
		{"<message from='bob@" + x.name + "'/>", "improper-addressing"},
		{"<message from='bob@" + x.name + "' to='@@'/>", "improper-addressing"},
		{"<message from='bob@" + x.name + "' to='alice@a.example'/>", "host-unknown"},
	} {
		r := x.proven(t, a)
		r.write(c.in)
		r.fails(c.condition)
	}
	a.silent(t)
	r := x.proven(t, a)
	r.write("<message from='room@rooms." + x.name + "' to='alice@" + a.m.Identity + "'><body>x</body></message>")
	assert.Equal(t, `room\40rooms.`+x.name+"@onion.a.example", a.receive1(t).From.String())
	// A large stanza passes now, a too large one does not.
	r.write("<message from='bob@" + x.name + "' to='alice@" + a.m.Identity + "'><body>" + strings.Repeat("x", 100_000) + "</body></message>")
	assert.Len(t, a.receive1(t).Body(), 100_000)
	// The rest of it may find the stream closed.
	io.WriteString(r, "<message from='bob@"+x.name+"' to='alice@"+a.m.Identity+"'><body>"+strings.Repeat("x", 300_000))
	r.fails("policy-violation")
}

// Only the holder of an onion key is asked if a stream is from it.
func TestDialback(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", func(s *times) {
		s.dialback, s.answerMax, s.tick = time.Second, 300*time.Millisecond, 50*time.Millisecond
	})
	honest := startRawServer(t, w, func(d dialback) dialback { return d.answer("invalid") })
	// A server that answers for names that it does not own.
	liar := startRawServer(t, w, func(d dialback) dialback {
		d = d.answer("valid")
		d.from = honest.name
		return d
	})
	prove := func(from, to string) (*raw, dialback) {
		r := dialRaw(t, a, portServer)
		r.greet(from, a.m.Identity)
		r.write("<db:result from='" + from + "' to='" + to + "'>key</db:result>")
		return r, parseDialback(r.next())
	}
	r, got := prove(honest.name, a.m.Identity)
	assert.Equal(t, "invalid", got.typ)
	_, err := r.d.Next()
	assert.Equal(t, io.EOF, err, "nothing else is proven, so the stream is closed")

	_, got = prove(a.m.Identity, a.m.Identity)
	assert.Equal(t, stanza.NotAuthorized, got.condition)
	_, got = prove(liar.name, "other."+a.m.Identity)
	assert.Equal(t, stanza.ItemNotFound, got.condition)

	before := len(w.dialled())
	_, got = prove("attacker.example", a.m.Identity)
	assert.Equal(t, stanza.NotAuthorized, got.condition)
	_, got = prove("attacker.onion", a.m.Identity)
	assert.Equal(t, stanza.NotAuthorized, got.condition)
	assert.Len(t, w.dialled(), before, "nobody can make us dial but an onion service")

	// The liar's answer is about another name than was asked, so it is none.
	_, got = prove(liar.name, a.m.Identity)
	assert.Equal(t, "error", got.typ)
	for _, d := range w.dialled() {
		assert.Contains(t, []string{honest.name, liar.name}, d)
	}
}

// As the authoritative server we know our own keys, and no others.
func TestAuthoritative(t *testing.T) {
	a := startServer(t, newWire(), "a.example")
	x := onionName("x")
	r := dialRaw(t, a, portServer)
	r.greet(x, a.m.Identity)
	ask := func(to, id, key string) dialback {
		r.write("<db:verify from='" + x + "' to='" + to + "' id='" + id + "'>" + key + "</db:verify>")
		d := parseDialback(r.next())
		assert.Equal(t, id, d.id)
		assert.Equal(t, to, d.from)
		return d
	}
	key := a.secret.key(x, a.m.Identity, "id1")
	assert.Equal(t, "valid", ask(a.m.Identity, "id1", key).typ)
	assert.Equal(t, "invalid", ask(a.m.Identity, "id2", key).typ)
	assert.Equal(t, "invalid", ask(a.m.Identity, "id1", "").typ)
	assert.Equal(t, "invalid", ask("rooms."+a.m.Identity, "id1", key).typ)
	assert.Equal(t, stanza.ItemNotFound, ask("a.example", "id1", key).condition)
}

// The example of XEP-0220 §2.1.1, made as XEP-0185 says.
func TestDialbackKey(t *testing.T) {
	assert.Equal(t, "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3",
		secret("s3cr3tf0rd14lb4ck").key("montague.example", "capulet.example", "D60000229F"))
}

// TLS is offered on one port and there from the first octet on the other, with a
// key exchange that quantum computers do not break.
func TestTLS(t *testing.T) {
	a := startServer(t, newWire(), "a.example")
	check := func(c *tls.Conn) {
		st := c.ConnectionState()
		assert.EqualValues(t, tls.VersionTLS13, st.Version)
		assert.Equal(t, tls.X25519MLKEM768, st.CurveID)
		cert := st.PeerCertificates[0]
		assert.Equal(t, []string{a.m.Identity, "*." + a.m.Identity}, cert.DNSNames)
		assert.Empty(t, cert.Subject.String())
	}
	r := dialRaw(t, a, portServerTLS)
	r.open("", a.m.Identity)
	assert.Equal(t, a.m.Identity, r.header().AttrValue("from"))
	assert.Nil(t, r.next().Child(nsTLS, "starttls"))
	check(r.Conn.(*tls.Conn))

	r = dialRaw(t, a, portServer)
	r.open("", a.m.Identity)
	r.header()
	require.NotNil(t, r.next().Child(nsTLS, "starttls"))
	r.write("<starttls xmlns='" + nsTLS + "'/>")
	require.True(t, r.next().Is(nsTLS, "proceed"))
	c := tls.Client(r.Conn, &tls.Config{InsecureSkipVerify: true})
	r = &raw{t, c, component.NewDecoder(c, component.Limits{})}
	r.greet("", a.m.Identity)
	check(c)
}

// Streams that never say who they are have to go: after a while, or when there are
// too many. They do not keep out others.
func TestHalfOpen(t *testing.T) {
	nothingLeft(t)
	_, a, b, bob, _ := two(t)
	var all []net.Conn
	for range 3 * maxInbound {
		c, err := net.Dial("unix", b.Ports()[portServer])
		require.NoError(t, err)
		defer c.Close()
		all = append(all, c)
	}
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
	assert.Equal(t, "hi", b.receive1(t).Body())
	b.mu.Lock()
	n := len(b.inbound)
	b.mu.Unlock()
	assert.LessOrEqual(t, n, maxInbound)
	for _, c := range all[:2*maxInbound] {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := c.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err, "it is closed")
	}
}

// A stream that goes no further is closed.
func TestNeverFinishes(t *testing.T) {
	nothingLeft(t)
	b := startServer(t, newWire(), "b.example", func(s *times) { s.header, s.auth = 100*time.Millisecond, 100*time.Millisecond })
	for _, in := range []string{"", "<?xml version='1.0'?>", "<stream:stream"} {
		r := dialRaw(t, b, portServer)
		r.write(in)
		r.header()
		r.fails("connection-timeout")
	}
	r := dialRaw(t, b, portServer)
	r.greet("", b.m.Identity)
	r.fails("connection-timeout")
}

// A peer that does not answer any more is noticed. What it has not acknowledged comes
// by the next stream.
func TestSilentPeer(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", func(s *times) {
		s.tick, s.answerMin, s.answerMax, s.retryMin = 20*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond, 10*time.Millisecond
	})
	var deaf atomic.Bool
	got := make(chan string, 10)
	x := startRawServer(t, w, func(d dialback) dialback {
		if d.name == "verify" && deaf.Load() {
			return dialback{name: "verify", from: d.to, to: d.from, id: "other", typ: "invalid"}
		}
		return d.answer(map[string]string{"result": "valid", "verify": "invalid"}[d.name])
	})
	x.got = got
	say := func(body string) {
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+x.name+"@onion.a.example", body)))
		require.Equal(t, body, <-got)
	}
	say("1")
	time.Sleep(500 * time.Millisecond)
	assert.Len(t, w.dialled(), 1, "a peer that answers keeps its stream")
	deaf.Store(true)
	say("2")
	require.Eventually(t, func() bool { return len(w.dialled()) >= 2 }, 5*time.Second, 10*time.Millisecond)
	deaf.Store(false)
	require.Equal(t, "2", <-got)
	a.empties(t)
}

// A peer that could not ask us who we are, because it did not find its way to us, is
// asked again: the message waits. One that does not want it is not.
func TestDialbackAgain(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", func(s *times) { s.tick, s.retryMin = 20*time.Millisecond, 50*time.Millisecond })
	var refusals atomic.Int32
	condition := stanza.RemoteServerNotFound
	x := startRawServer(t, w, func(d dialback) dialback {
		if d.name == "result" && refusals.Add(-1) >= 0 {
			return d.refuse(condition)
		}
		return d.answer(map[string]string{"result": "valid", "verify": "invalid"}[d.name])
	})
	x.got = make(chan string, 10)
	refusals.Store(3)
	to := `bob\40` + x.name + "@onion.a.example"
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", to, "hi")))
	require.Equal(t, "hi", <-x.got)
	a.silent(t)

	condition = stanza.ItemNotFound
	refusals.Store(1)
	require.NoError(t, a.HandleStanza(context.Background(), message("room@rooms.a.example", to, "hi")))
	assert.Equal(t, stanza.RemoteServerNotFound, a.receive1(t).StanzaError().Condition)
	a.empties(t)
}

// On the port for direct TLS nothing is said in the clear, whatever happens: who hears
// that would take it for one without TLS.
func TestNothingInTheClear(t *testing.T) {
	a := startServer(t, newWire(), "a.example", func(s *times) { s.header = 50 * time.Millisecond })
	for _, in := range []string{"", "<?xml version='1.0'?><stream:stream>"} {
		c, err := net.Dial("unix", a.Ports()[portServerTLS])
		require.NoError(t, err)
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, in)
		got, _ := io.ReadAll(c)
		assert.NotContains(t, string(got), "<")
	}
}
