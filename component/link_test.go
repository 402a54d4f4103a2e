package component_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
)

// Everything here runs with both hosts.
var hosts = map[string]func(context.Context, string, hosttest.Config) (*hosttest.Host, error){
	"prosody": hosttest.StartProsody, "ejabberd": hosttest.StartEjabberd}

func startHost(t *testing.T, kind string) *hosttest.Host {
	h, err := hosts[kind](t.Context(), t.TempDir(), hosttest.Config{
		Domains: []string{"example.org"}, Users: map[string]string{"alice@example.org": "secret"},
		Components: map[string]string{"one.example.org": "first", "two.example.org": "second"}, S2S: true})
	require.NoError(t, err)
	t.Cleanup(func() { h.Stop() })
	return h
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// attach runs a link, and returns how to stop it.
func attach(t *testing.T, server, domain, secret string, h component.Handler) (*component.Link, *logBuffer, func()) {
	log := &logBuffer{}
	l, err := component.NewLink(component.LinkConfig{Server: server, Domain: domain, Secret: secret, PingTo: "example.org",
		Log: slog.New(slog.NewTextHandler(log, nil))}, h)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			assert.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Error("link does not stop")
		}
	})
	t.Cleanup(stop)
	return l, log, stop
}

func up(t *testing.T, l *component.Link) {
	t.Helper()
	select {
	case <-l.Up():
	case <-time.After(30 * time.Second):
		t.Fatal(l.Err())
	}
}

func login(t *testing.T, h *hosttest.Host) *hosttest.Client {
	c, err := hosttest.Login(t.Context(), h.ClientAddr(), "alice@example.org", "secret")
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.Send(&component.Stanza{Kind: component.Presence}))
	return c
}

// ask sends an IQ and gives the answer.
func ask(t *testing.T, c *hosttest.Client, to, typ string, payload *component.Element) *component.Stanza {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	id := fmt.Sprint(time.Now().UnixNano())
	iq := &component.Stanza{Kind: component.IQ, Type: typ, ID: id, To: jid.MustParse(to)}
	require.NoError(t, c.Send(iq.Add(payload)))
	r, err := c.Expect(ctx, "answer of "+to, func(s *component.Stanza) bool { return s.ID == id })
	require.NoError(t, err)
	return r
}

// A service for each domain answers users of the host, across restarts of the host.
func TestLink(t *testing.T) {
	for kind := range hosts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := startHost(t, kind)
			r := component.NewRouter()
			var links []*component.Link
			for domain, secret := range map[string]string{"one.example.org": "first", "two.example.org": "second"} {
				l, _, _ := attach(t, h.ComponentAddr(), domain, secret, r)
				r.Handle(domain, component.NewService(r, component.Identity{Category: "component", Type: "generic", Name: domain}))
				r.Attach(domain, l)
				links = append(links, l)
			}
			for range 2 {
				for _, l := range links {
					up(t, l)
				}
				c := login(t, h)
				for _, domain := range []string{"one.example.org", "two.example.org"} {
					assert.Equal(t, "result", ask(t, c, domain, "get", component.NewElement(component.NSPing, "ping")).Type)
					info := ask(t, c, domain, "get", component.NewElement(component.NSDiscoInfo, "query"))
					assert.Equal(t, domain, info.Payload().Child(component.NSDiscoInfo, "identity").AttrValue("name"), info)
					assert.NotNil(t, ask(t, c, domain, "get", component.NewElement(component.NSDiscoItem, "query")).Child(component.NSDiscoItem, "query"))
					// Whatever nobody handles is answered (RFC 6120 §8.2.3).
					for _, typ := range []string{"get", "set"} {
						e := ask(t, c, domain, typ, component.NewElement("urn:example:unknown", "x"))
						assert.Equal(t, stanza.ServiceUnavailable, e.StanzaError().Condition, e)
					}
					node := ask(t, c, domain, "get", component.NewElement(component.NSDiscoInfo, "query").With("node", "x"))
					assert.Equal(t, stanza.ItemNotFound, node.StanzaError().Condition)
				}
				require.NoError(t, h.Stop())
				for _, l := range links {
					require.Eventually(t, func() bool { return l.Err() != nil }, 10*time.Second, 10*time.Millisecond)
				}
				require.NoError(t, h.Start(t.Context()))
			}
		})
	}
}

// A user's stanza that is over a limit comes back, and costs nobody the link.
func TestLinkOversize(t *testing.T) {
	for kind := range hosts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := startHost(t, kind)
			l, log, _ := attach(t, h.ComponentAddr(), "one.example.org", "first", component.NewRouter())
			up(t, l)
			c := login(t, h)
			var attrs strings.Builder
			for i := range 200 {
				fmt.Fprintf(&attrs, " a%d='x'", i)
			}
			for i, payload := range []string{strings.Repeat("<a xmlns='urn:x'>", 100) + strings.Repeat("</a>", 100),
				strings.Repeat("<a xmlns='urn:x'/>", 10_500), "<a xmlns='urn:x'" + attrs.String() + "/>"} {
				require.NoError(t, c.SendXML(fmt.Sprintf("<message id='o%d' to='x@one.example.org'>%s</message>", i, payload)))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				r, err := c.Expect(ctx, "error", func(s *component.Stanza) bool { return s.ID == fmt.Sprintf("o%d", i) })
				cancel()
				require.NoError(t, err)
				assert.Equal(t, stanza.PolicyViolation, r.StanzaError().Condition, r)
			}
			assert.NoError(t, l.Err())
			assert.Equal(t, 1, strings.Count(log.String(), "attached to the host"), log)
		})
	}
}

// What the host says when it does not take the link is told in the admin's words, and
// the link keeps trying.
func TestLinkTrouble(t *testing.T) {
	for kind := range hosts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := startHost(t, kind)
			says := func(server, domain, secret, hint string) {
				t.Helper()
				l, log, stop := attach(t, server, domain, secret, component.NewRouter())
				require.Eventually(t, func() bool { return strings.Contains(log.String(), hint) }, 10*time.Second, 10*time.Millisecond, "%s", log)
				assert.Error(t, l.Err())
				time.Sleep(1200 * time.Millisecond)
				assert.Equal(t, 1, strings.Count(log.String(), hint), "told once")
				stop()
			}
			says(h.ComponentAddr(), "one.example.org", "wrong", "wrong secret")
			says(h.ComponentAddr(), "three.example.org", "first", map[string]string{
				"prosody": "add it to the host's configuration", "ejabberd": "a domain that the host has no component for"}[kind])
			says(h.ClientAddr(), "one.example.org", "first", "component port")
			says("127.0.0.1:1", "one.example.org", "first", "after it was restarted with a component")
			says(h.S2SAddr(), "one.example.org", "first", "one for clients or servers")
			silent, err := net.Listen("tcp", "127.0.0.1:0") // as ports for the web do
			require.NoError(t, err)
			defer silent.Close()
			go func() {
				for conn, err := silent.Accept(); err == nil; conn, err = silent.Accept() {
					conn.Read(make([]byte, 1))
					conn.(*net.TCPConn).SetLinger(0)
					conn.Close()
				}
			}()
			says(silent.Addr().String(), "one.example.org", "first", "is this its component port")
			if kind == "prosody" {
				_, _, stop := attach(t, h.ComponentAddr(), "one.example.org", "first", component.NewRouter())
				time.Sleep(500 * time.Millisecond)
				says(h.ComponentAddr(), "one.example.org", "first", "another program, or another Allium")
				stop()
			}
			_, err = component.Connect(t.Context(), h.ComponentAddr(), "one.example.org", "wrong")
			assert.ErrorIs(t, err, stream.NotAuthorized)
			// With the right secret it works after all that.
			l, _, stop := attach(t, h.ComponentAddr(), "one.example.org", "first", component.NewRouter())
			up(t, l)
			began := time.Now()
			stop()
			t.Logf("stopped after %v", time.Since(began))
		})
	}
}

// A domain that the host does not have is told of once: else its users are looked for in
// the open network.
func TestLinkForeignDomain(t *testing.T) {
	for kind := range hosts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := startHost(t, kind)
			log := &logBuffer{}
			l, err := component.NewLink(component.LinkConfig{Server: h.ComponentAddr(), Domain: "one.example.org", Secret: "first", PingTo: "example.invalid",
				Log: slog.New(slog.NewTextHandler(log, nil))}, component.NewRouter())
			require.NoError(t, err)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- l.Run(ctx) }()
			up(t, l)
			for range 3 {
				require.NoError(t, l.Send(ctx, &component.Stanza{Kind: component.Message, From: jid.MustParse("one.example.org"), To: jid.MustParse("alice@example.org")}))
				time.Sleep(100 * time.Millisecond)
			}
			require.Eventually(t, func() bool { return strings.Contains(log.String(), "correct host.domains") }, 20*time.Second, 10*time.Millisecond, "%s", log)
			assert.Equal(t, 1, strings.Count(log.String(), "correct host.domains"))
			assert.Contains(t, log.String(), "example.invalid")
			stop()
			require.NoError(t, <-ended)
		})
	}
}

// Send is bounded: it refuses what would make the host close the stream, and does not
// block for ever.
func TestLinkSend(t *testing.T) {
	h := startHost(t, "prosody")
	l, _, _ := attach(t, h.ComponentAddr(), "one.example.org", "first", component.NewRouter())
	up(t, l)
	c := login(t, h)
	message := func(body string) *component.Stanza {
		s := &component.Stanza{Kind: component.Message, From: jid.MustParse("x@one.example.org"), To: c.JID()}
		return s.Add(component.NewElement(component.NSClient, "body", component.Text(body)))
	}
	ctx := t.Context()
	assert.ErrorIs(t, l.Send(ctx, message(strings.Repeat("x", 600_000))), stanza.Error{Condition: stanza.PolicyViolation})
	nobody := message("x")
	nobody.From = jid.JID{}
	assert.ErrorIs(t, l.Send(ctx, nobody), stanza.Error{Condition: stanza.BadRequest})
	for i := range 2000 {
		require.NoError(t, l.Send(ctx, message(fmt.Sprint(i))))
	}
	for i := range 2000 {
		s, err := c.Expect(ctx, "message", func(s *component.Stanza) bool { return s.Kind == component.Message })
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), s.Body())
	}
	// The host is stopped as by SIGSTOP: the buffer fills, and Send gives up.
	down, err := component.NewLink(component.LinkConfig{Server: "127.0.0.1:1", Domain: "one.example.org", Buffer: 10_000, SendTimeout: 50 * time.Millisecond}, component.NewRouter())
	require.NoError(t, err)
	failed := 0
	for range 100 {
		if err := down.Send(ctx, message(strings.Repeat("x", 1000))); err != nil {
			assert.ErrorIs(t, err, stanza.Error{Condition: stanza.RemoteServerTimeout})
			failed++
			break
		}
	}
	assert.Equal(t, 1, failed)
}

// A stanza whose id is too long to be kept comes back to its sender, and others go on.
func TestLongID(t *testing.T) {
	for kind := range hosts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := startHost(t, kind)
			got := make(chan string, 10)
			l, _, _ := attach(t, h.ComponentAddr(), "one.example.org", "first", component.HandlerFunc(
				func(_ context.Context, s *component.Stanza) error { got <- s.ID; return nil }))
			up(t, l)
			c := login(t, h)
			for _, n := range []int{component.MaxID + 1, component.MaxID} {
				require.NoError(t, c.Send(&component.Stanza{Kind: component.Message, ID: strings.Repeat("x", n), To: jid.MustParse("bob@one.example.org")}))
			}
			assert.Len(t, <-got, component.MaxID)
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			_, err := c.Expect(ctx, "refusal", func(s *component.Stanza) bool {
				return len(s.ID) > component.MaxID && s.StanzaError().Condition == stanza.PolicyViolation
			})
			require.NoError(t, err)
		})
	}
}
