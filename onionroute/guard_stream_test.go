package onionroute

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A peer cannot send us elsewhere (RFC 6120 §4.9.3.19).
func TestRedirect(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example", func(s *times) { s.retryMin = 10 * time.Millisecond })
	other := startRawServer(t, w, believe)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer l.Close()
	name := onionName("redirects")
	w.mu.Lock()
	w.ports[name] = l.Addr().String()
	w.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' id='x' version='1.0'>"+
				"<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>"+other.name+"</see-other-host></stream:error></stream:stream>")
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+name+"@onion.a.example", "hi")))
	require.Eventually(t, func() bool { return len(w.dialled()) >= 3 }, 10*time.Second, 10*time.Millisecond)
	assert.NotContains(t, w.dialled(), other.name)
	assert.NotZero(t, a.PrivacyCounts()["redirect"])
}

// Each rule is counted, also those that are not for stanzas.
func TestStreamRulesCount(t *testing.T) {
	_, a, b, bob, _ := two(t)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
	b.receive1(t)
	r := dialRaw(t, b, portServer)
	r.write("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='x.example'>")
	r.header()
	r.fails("host-unknown")
	for s, rules := range map[*server][]string{a: {"dns", "circuits", "tls-names", "fingerprint"}, b: {"tls-names", "fingerprint", "stream-names"}} {
		for _, rule := range rules {
			assert.NotZero(t, s.PrivacyCounts()[rule], rule)
		}
	}
}

// Two servers greet in the same way, but for their names and the ids of streams, which
// are random.
func TestStreamForm(t *testing.T) {
	w := newWire()
	id := regexp.MustCompile(` id='([^']*)'`)
	seen := map[string]bool{}
	greeting := func(s *server) string {
		r := dialRaw(t, s, portServer)
		r.open("", s.m.Identity)
		var got strings.Builder
		for !strings.Contains(got.String(), "</stream:features>") {
			p := make([]byte, 4096)
			n, err := r.Read(p)
			require.NoError(t, err)
			got.Write(p[:n])
		}
		m := id.FindStringSubmatch(got.String())
		require.NotNil(t, m, got.String())
		assert.GreaterOrEqual(t, len(m[1]), 20, "it cannot be guessed (RFC 6120 §4.7.3)")
		assert.False(t, seen[m[1]], "twice")
		seen[m[1]] = true
		return strings.NewReplacer(m[1], "ID", s.m.Identity, "I").Replace(got.String())
	}
	a, b := startServer(t, w, "a.example"), startServer(t, w, "b.example")
	first := greeting(a)
	assert.Equal(t, first, greeting(a))
	assert.Equal(t, first, greeting(b))
	assert.NotContains(t, first, "a.example")
}

// To each peer, and for each identity, Tor is asked for circuits that nothing else goes by.
// That it makes them is tested in cmd/allium, with a real one.
func TestIsolation(t *testing.T) {
	w := newWire()
	a, b := startServer(t, w, "a.example"), startServer(t, w, "b.example")
	x, y := startRawServer(t, w, believe), startRawServer(t, w, believe)
	for _, s := range []*server{a, b} {
		for _, peer := range []*rawServer{x, y} {
			require.NoError(t, s.HandleStanza(context.Background(), message("alice@"+s.c.Hosts[0], `bob\40`+peer.name+"@"+s.c.Domain, "hi")))
		}
	}
	require.Eventually(t, func() bool { return len(w.dialled()) >= 4 }, 10*time.Second, 10*time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	ways := map[string]bool{}
	for _, way := range w.ways {
		assert.False(t, ways[way], "shared: %s", way)
		ways[way] = true
	}
}
