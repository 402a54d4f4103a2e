package component_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A host that closes the connection because of an address quotes it, as Prosody does. The
// log tells the condition, and names nobody.
func TestHostThatNamesSomebody(t *testing.T) {
	for kind := range hosts {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := startHost(t, kind)
			l, log, _ := attach(t, h.ComponentAddr(), "one.example.org", "first", component.HandlerFunc(
				func(context.Context, *component.Stanza) error { return nil }))
			up(t, l)
			s := &component.Stanza{Kind: component.Message, From: jid.MustParse("bob@elsewhere.example"), To: jid.MustParse("alice@example.org")}
			require.NoError(t, l.Send(t.Context(), s))
			require.Eventually(t, func() bool {
				return strings.Contains(log.String(), "the host closed the connection because of a stanza")
			}, 20*time.Second, 10*time.Millisecond, log)
			assert.Contains(t, log.String(), "invalid-from")
			assert.NotContains(t, log.String(), "elsewhere")
		})
	}
}

// What somebody sends with the id of a ping that was none does not have the admin believe that the
// host lacks a domain.
func TestForgedAnswerToAPing(t *testing.T) {
	h := startRawHost(t)
	log, got := &logBuffer{}, make(chan *component.Stanza, 1)
	l, err := component.NewLink(component.LinkConfig{Server: h.ln.Addr().String(), Domain: "one.example.org", Secret: "first", PingTo: "example.org",
		Log: slog.New(slog.NewTextHandler(log, nil))}, component.HandlerFunc(func(_ context.Context, s *component.Stanza) error { got <- s; return nil }))
	require.NoError(t, err)
	go l.Run(t.Context())
	c := h.accept()
	c.write("<iq type='error' id='allium-link-ping-1' from='mallory@elsewhere.example/x' to='one.example.org'>" +
		"<error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>" +
		"<message from='alice@example.org' to='one.example.org'/>")
	<-got
	assert.NotContains(t, log.String(), "host.domains")
}

// Of a stream error that was received, the text is for those who ask for it, and a
// condition that nobody has defined is none.
func TestReceivedError(t *testing.T) {
	e := component.NewElement(component.NSStream, "error").Add(component.NewElement(component.NSStreams, "bob.onion"),
		component.NewElement(component.NSStreams, "text", component.Text("bob@x.onion")))
	received := component.ParseStreamError(e)
	assert.EqualError(t, received, "component: received stream error undefined-condition")
	assert.Equal(t, "bob@x.onion", received.Reason)
	e = component.NewElement(component.NSStream, "error").Add(component.NewElement(component.NSStreams, "see-other-host", component.Text("x.onion")))
	assert.EqualError(t, component.ParseStreamError(e), "component: received stream error see-other-host")
}
