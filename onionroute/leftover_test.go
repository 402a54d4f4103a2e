package onionroute

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// The configuration changes while something waits: it goes where it was meant to, from who has
// sent it, or comes back to them, or is dropped if they are none of ours any more. A contact that
// was on-line is off-line then.
func TestChangedMeanwhile(t *testing.T) {
	other, err := CreateIdentity(filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	const arrives, dropped = "arrives", "dropped"
	for name, c := range map[string]struct {
		set  func(c *Config, b string)
		want stanza.Condition
		gone bool // the contact, here
	}{
		"nothing":                 {func(*Config, string) {}, arrives, false},
		"peer is denied":          {func(c *Config, b string) { c.Peers = []Peer{{Onion: b, Deny: true}} }, stanza.PolicyViolation, true},
		"peers are listed":        {func(c *Config, b string) { c.Listed = true }, stanza.PolicyViolation, true},
		"gateway has a new name":  {func(c *Config, _ string) { c.Domain = "new.a.example" }, arrives, true},
		"peer has an alias":       {func(c *Config, b string) { c.Aliases = []Alias{{Domain: "hidden.a.example", Onion: b}} }, arrives, true},
		"host has another domain": {func(c *Config, _ string) { c.Hosts = []string{"other.example"} }, dropped, false},
		"another one is primary":  {func(c *Config, _ string) { c.Hosts = []string{"other.example", "a.example"} }, stanza.RemoteServerNotFound, false},
		"host is native":          {func(c *Config, _ string) { c.Native = true }, stanza.RemoteServerNotFound, true},
		"new key":                 {func(c *Config, _ string) { c.Identity = other }, stanza.RemoteServerNotFound, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b, bob, alice := two(t, quick)
			befriend(t, a, b, bob)
			require.NoError(t, b.HandleStanza(context.Background(), presence("bob@b.example/phone", alice, "")))
			phone := a.receive1(t).From.String()
			a.empties(t)
			b.stop()
			require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example/x", bob, "hi")))
			a.stop()
			dials := to(w.dialled(), b.m.Identity)
			c.set(&a.config, b.m.Identity)
			b.start()
			a.start()
			if c.gone {
				got := a.receive1(t)
				assert.Equal(t, []string{"unavailable", phone}, []string{got.Type, got.From.String()})
			}
			switch c.want {
			case arrives:
				got := b.receive1(t)
				for got.Kind == component.Presence {
					got = b.receive1(t)
				}
				assert.Equal(t, "hi", got.Body())
			case dropped:
			default:
				got := a.receive1(t)
				assert.Equal(t, c.want, got.StanzaError().Condition)
				assert.Equal(t, []string{"1", bob, "alice@a.example/x"}, []string{got.ID, got.From.String(), got.To.String()})
			}
			a.silent(t)
			a.empties(t)
			for len(b.toUs) > 0 {
				assert.Equal(t, component.Presence, b.receive1(t).Kind)
			}
			if c.want == stanza.PolicyViolation {
				assert.Equal(t, dials, to(w.dialled(), b.m.Identity), "nobody calls")
			}
			a.stop()
			a.start()
			a.silent(t)
		})
	}
}

// to counts the dials to a name.
func to(dialled []string, onion string) (n int) {
	for _, d := range dialled {
		if d == onion {
			n++
		}
	}
	return n
}

// What a stranger has sent by an alias does not go out by the gateway when there is no alias any
// more, and no error tells them where it was.
func TestAliasRemovedMeanwhile(t *testing.T) {
	a, b := aliased(t, true)
	b.stop()
	ctx := context.Background()
	require.NoError(t, a.HandleStanza(ctx, message("carol@jabber.org/phone", "talk@hidden.a.example", "1")))
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", "talk@hidden.a.example", "2")))
	a.stop()
	a.config.Aliases = nil
	b.start()
	a.start()
	assert.Equal(t, "2", b.receive1(t).Body())
	a.silent(t)
	b.silent(t)
	a.empties(t)
}

// When the host is there again, it is not asked for who was one of its users under an earlier
// configuration: it would ask the server that has their domain now. Nor is it in the name of a
// contact that has another address here now, or cannot be one.
func TestProbesChangedMeanwhile(t *testing.T) {
	for name, set := range map[string]func(c *Config, b string){
		"host has another domain": func(c *Config, _ string) { c.Hosts = []string{"other.example"} },
		"gateway has a new name":  func(c *Config, _ string) { c.Domain = "new.a.example" },
		"peer has an alias":       func(c *Config, b string) { c.Aliases = []Alias{{Domain: "hidden.a.example", Onion: b, Anyone: true}} },
		"peer is denied":          func(c *Config, b string) { c.Peers = []Peer{{Onion: b, Deny: true}} },
		"peer is not attached":    func(c *Config, _ string) { c.Attached = func(string) bool { return false } },
	} {
		t.Run(name, func(t *testing.T) {
			_, a, b, bob, _ := two(t, quick)
			require.NoError(t, a.HandleStanza(context.Background(), presence("alice@a.example", bob, "subscribed")))
			b.receive1(t)
			a.stop()
			set(&a.config, b.m.Identity)
			a.start()
			a.Recheck()
			a.silent(t)
		})
	}
}

// Nor by an alias that is open to strangers, which such a user is now.
func TestProbesByAliasChangedMeanwhile(t *testing.T) {
	a, b := aliased(t, true)
	require.NoError(t, a.HandleStanza(context.Background(), presence("alice@a.example", "talk@hidden.a.example", "subscribed")))
	b.receive1(t)
	a.Recheck()
	assert.Equal(t, "probe", a.receive1(t).Type)
	a.stop()
	a.config.Hosts = []string{"other.example"}
	a.start()
	a.Recheck()
	a.silent(t)
}

// Who sent what does not go out is told, also if the host is away for long, or the server ends
// before the host has the error.
func TestToldThatItDoesNotGoOut(t *testing.T) {
	for _, away := range []bool{true, false} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("away %v, before %v", away, before), func(t *testing.T) {
				_, a, b, bob, _ := two(t, quick)
				b.stop()
				a.away.Store(away)
				a.toUs = make(chan *component.Stanza)
				send := func() {
					require.NoError(t, a.HandleStanza(t.Context(), message("alice@a.example/x", bob, "hi")))
				}
				if before {
					send()
					a.stop()
					a.config.Listed = true
					a.start()
				} else {
					b.config.Listed = true
					b.start()
					send()
					require.Eventually(t, func() bool { return a.isDown(b.m.Identity) && a.counted()[b.m.Identity+" queue"] == 0 }, 10*time.Second, time.Millisecond)
				}
				if !away {
					a.spool.settled(t)
					bury := a.kill(t)
					a.receive1(t)
					bury()
					a.start()
				}
				got := a.receive1(t)
				assert.Equal(t, []string{"error", "alice@a.example/x"}, []string{got.Type, got.To.String()})
				a.empties(t)
				require.Eventually(t, func() bool { items, err := a.spool.settled(t).items(); return err == nil && len(items) == 0 }, 5*time.Second, 10*time.Millisecond)
			})
		}
	}
}
