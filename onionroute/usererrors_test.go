package onionroute

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Users read what Tor says of a server that they do not reach (Tor's socks-extensions): what
// has waited for it comes back with that, and what does not wait. What only an admin can mend, and what never was an address, comes
// back at once.
func TestTorSays(t *testing.T) {
	private := stanza.Error{Type: stanza.Auth, Condition: stanza.NotAuthorized}
	away := stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout}
	for _, c := range []struct {
		code byte
		is   stanza.Error
		says string
	}{
		{0x01, away, ""},
		{0x06, away, ""},
		{0xF0, away, "Tor does not find it: it has been off-line for a while, or there is no such server."},
		{0xF1, away, ""},
		{0xF2, away, "It was there not long ago, but takes no connections now."},
		{0xF3, away, "It seems to be there, but no connection to it came about."},
		{0xF4, private, "This onion service is private: the administrator of this server needs a key for it."},
		{0xF5, private, "This onion service is private, and the key that the administrator of this server has for it is not the right one."},
		{0xF6, stanza.Error{Type: stanza.Cancel, Condition: stanza.RemoteServerNotFound}, "This is not the address of an onion service."},
		{0xF7, away, "It was there not long ago, but does not answer in time."},
	} {
		t.Run(fmt.Sprintf("%#x", c.code), func(t *testing.T) {
			w := newWire()
			w.why = c.code
			a := startServer(t, w, "a.example", quick, func(s *times) { s.maxAge = 50 * time.Millisecond })
			nobody := `bob\40` + onionName("nobody") + "@onion.a.example"
			answer := func(s *component.Stanza) string {
				got, back := stanza.Error{}, a.HandleStanza(context.Background(), s)
				if back == nil {
					back = a.receive1(t).StanzaError()
				}
				require.ErrorAs(t, back, &got)
				assert.Equal(t, c.is, stanza.Error{Type: got.Type, Condition: got.Condition})
				return got.Text["en"]
			}
			atOnce, late := c.says, c.says
			if c.is.Is(away) {
				atOnce = strings.TrimSpace("The server cannot be reached through Tor at the moment. " + c.says)
				late = strings.ReplaceAll(" UTC. "+c.says+" The message was not delivered, and is not kept any longer.", "  ", " ")
			}
			assert.Equal(t, atOnce, answer(ping("alice@a.example", nobody)))
			assert.Contains(t, answer(message("alice@a.example", nobody, "hi")), late)
			a.empties(t)
		})
	}
}

// The time is that of everybody.
func TestExpired(t *testing.T) {
	since := time.Date(2026, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600))
	assert.EqualError(t, errExpired(since, ErrTorDown), "The server could not be reached through Tor since 2025-12-31 23:30 UTC. The message was not delivered, and is not kept any longer.")
}
