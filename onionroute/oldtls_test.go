package onionroute

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// weaker are the ways to have TLS as no Allium has it. The last one is how Alliums have it.
var weaker = []struct {
	what   string
	change func(*tls.Config)
	counts bool
}{
	{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, false},
	{"no post-quantum key exchange", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }, false},
	{"as it should be", func(*tls.Config) {}, true},
}

// A chain proves a name with the TLS that Alliums have, and with no other: who comes with
// one has to be believed by dialback.
func TestChainByOldTLS(t *testing.T) {
	a := startServer(t, newWire(), "a.example")
	peer := testCredentials(t, 3)
	for _, test := range weaker {
		t.Run(test.what, func(t *testing.T) {
			c, err := net.Dial("unix", a.Ports()[portServerTLS])
			require.NoError(t, err)
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			config := peer.clientTLS(a.m.Identity, true)
			test.change(config)
			s := tls.Client(c, config)
			r := &raw{t, s, component.NewDecoder(s, component.Limits{})}
			r.open(peer.name, a.m.Identity)
			r.header()
			assert.Equal(t, test.counts, r.next().Child(nsSASL, "mechanisms") != nil)
			if r.write(externalAuth("").String()); test.counts {
				assert.True(t, r.next().Is(nsSASL, "success"))
			} else {
				r.next()
				r.fails("not-authorized")
			}
		})
	}
}

// The same for a peer that is called: it is not told that it is believed, and nothing goes
// to it before it has believed us.
func TestCallByOldTLS(t *testing.T) {
	for _, test := range weaker {
		t.Run(test.what, func(t *testing.T) {
			w := newWire()
			a := startServer(t, w, "a.example", quick)
			peer := testCredentials(t, 3)
			l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			require.NoError(t, err)
			defer l.Close()
			w.ports[peer.name], w.tls[peer.name] = l.Addr().String(), l.Addr().String()
			require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+peer.name+"@onion.a.example", "hi")))
			c, err := l.Accept()
			require.NoError(t, err)
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			config := peer.serverTLS(true)
			test.change(config)
			s := tls.Server(c, config)
			r := &raw{t, s, component.NewDecoder(s, component.Limits{})}
			r.header()
			r.write("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' id='x' version='1.0'><stream:features/>")
			first := r.next()
			assert.Equal(t, test.counts, first.Is(nsBidi, "bidi"), first)
			assert.Equal(t, !test.counts, isDialback(first, "result"), first)
		})
	}
}
