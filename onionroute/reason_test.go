package onionroute

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// An infoLog is what an admin sees of a gateway's log, without what names peers there by
// intent.
type infoLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *infoLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *infoLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *infoLog) config(c *Config) {
	c.Log = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == "peer" {
			return slog.Attr{}
		}
		return a
	}}))
}

// startScript is an onion service that says to everybody what the test wants: clear on the
// port without TLS, and secure, if there is any, on the other.
func startScript(t *testing.T, w *wire, clear, secure string) (onion string) {
	onion = onionName(t.Name() + clear + secure)
	listen := func(text string, wrap func(net.Conn) net.Conn) string {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					s := wrap(c)
					if _, err := component.NewDecoder(s, component.Limits{}).Header(); err == nil {
						io.WriteString(s, text)
						io.Copy(io.Discard, c)
					}
				}()
			}
		}()
		return l.Addr().String()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports[onion] = listen(clear, func(c net.Conn) net.Conn { return c })
	if secure != "" {
		w.tls[onion] = listen(secure, func(c net.Conn) net.Conn {
			return tls.Server(c, testCredentials(t, 9).serverTLS(true))
		})
	}
	return onion
}

// Whatever a peer says when it fails, the log at info tells conditions alone: no text and no
// name that the peer has chosen.
func TestLogNamesNobody(t *testing.T) {
	const somebody = "bob.secret.onion"
	const head = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' id='x' version='1.0'>"
	for what, c := range map[string]struct{ clear, secure, told string }{
		"text of a stream error":      {clear: head + "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>" + somebody + "</text></stream:error>", told: "received stream error policy-violation"},
		"condition of a stream error": {clear: head + "<stream:error><" + somebody + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", told: "received stream error undefined-condition"},
		"namespace of the stream":     {clear: strings.Replace(head, "jabber:server'", somebody+"'", 1), told: "stream error invalid-namespace"},
		"element":                     {clear: head + "<stream:features/><" + somebody + "/>", told: "stream error unsupported-stanza-type"},
		"answer to starttls":          {clear: head + "<stream:features><starttls xmlns='" + nsTLS + "'/></stream:features><" + somebody + "/>", told: "refused TLS"},
		"encoding":                    {clear: "<?xml version='1.0' encoding='" + somebody + "'?>", told: "stream error unsupported-encoding"},
		"element in TLS":              {secure: head + "<stream:features/><" + somebody + "/>", told: "stream error unsupported-stanza-type"},
	} {
		t.Run(what, func(t *testing.T) {
			w, log := newWire(), &infoLog{}
			a := startServerWith(t, w, "a.example", log.config, quick)
			to := "eve%" + startScript(t, w, c.clear, c.secure) + "@onion.a.example"
			require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", to, "hi")))
			require.Eventually(t, func() bool { return strings.Contains(log.String(), "peer cannot be reached") }, 10*time.Second, time.Millisecond)
			assert.Contains(t, log.String(), c.told)
			assert.NotContains(t, log.String(), ".onion")
		})
	}
	for _, answer := range []func(dialback) dialback{
		func(d dialback) dialback { return d.answer(somebody) },
		func(d dialback) dialback { return d.refuse(stanza.Condition(somebody)) },
	} {
		w, log := newWire(), &infoLog{}
		a := startServerWith(t, w, "a.example", log.config, quick)
		x := startRawServer(t, w, answer)
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `eve\40`+x.name+"@onion.a.example", "hi")))
		require.Eventually(t, func() bool { return strings.Contains(log.String(), "peer does not take our stanzas") }, 10*time.Second, time.Millisecond)
		assert.NotContains(t, log.String(), ".onion")
	}
}

// What strangers do as often as they like is not in the log at info, but counted; and who has
// proven nothing cannot go on for ever.
func TestStrangersDoNotFillLog(t *testing.T) {
	w, log := newWire(), &infoLog{}
	a := startServerWith(t, w, "a.example", log.config, quick)
	honest := startRawServer(t, w, func(d dialback) dialback { return d.answer("invalid") })
	r := dialRaw(t, a, portServer)
	r.greet("", a.m.Identity)
	r.write(strings.Repeat("<db:result from='attacker.example' to='"+a.m.Identity+"'>key</db:result>", maxUnproven+1))
	r.fails("policy-violation")
	assert.EqualValues(t, maxUnproven, a.RefusedCounts()["outside"])

	for name, answer := range map[string]string{onionName("nobody"): "error", honest.name: "invalid"} {
		r := dialRaw(t, a, portServer)
		r.greet("", a.m.Identity)
		r.write("<db:result from='" + name + "' to='" + a.m.Identity + "'>key</db:result>")
		assert.Equal(t, answer, parseDialback(r.next()).typ)
		assert.Contains(t, w.dialled(), name)
	}
	assert.EqualValues(t, 1, a.RefusedCounts()["forged"])
	assert.Empty(t, log.String())
}
