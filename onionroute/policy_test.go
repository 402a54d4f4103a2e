package onionroute

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

// A peer that is denied is not connected to, and gets nothing but the refusal, whichever
// way it tries.
func TestDenied(t *testing.T) {
	for name, set := range map[string]func(x string) func(*Config){
		"denied": func(x string) func(*Config) { return func(c *Config) { c.Peers = []Peer{{Onion: x, Deny: true}} } },
		"not listed": func(string) func(*Config) {
			return func(c *Config) { c.Listed, c.Peers = true, []Peer{{Onion: testY}} }
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire()
			x := startRawServer(t, w, believe)
			a := startServerWith(t, w, "a.example", set(x.name))
			err := a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+x.name+"@onion.a.example", "hi"))
			assert.ErrorIs(t, err, stanza.Error{Condition: stanza.PolicyViolation})

			r := dialRaw(t, a, portServer)
			r.open("rooms."+x.name, a.m.Identity)
			r.header()
			r.fails("policy-violation")

			r = dialRaw(t, a, portServer)
			r.greet("", a.m.Identity)
			r.write("<db:result from='" + x.name + "' to='" + a.m.Identity + "'>key</db:result>")
			assert.Equal(t, stanza.PolicyViolation, parseDialback(r.next()).condition)
			r.write("<db:verify from='" + x.name + "' to='" + a.m.Identity + "' id='1'>key</db:verify>")
			assert.Equal(t, stanza.PolicyViolation, parseDialback(r.next()).condition)
			r.write("<message from='bob@" + x.name + "' to='alice@" + a.m.Identity + "'/>")
			r.fails("not-authorized")
			assert.Empty(t, w.dialled())
			a.silent(t)
		})
	}
}

// In a list of those that are wanted, they are, and so is what an alias stands for.
func TestListed(t *testing.T) {
	w := newWire()
	x, o := startRawServer(t, w, believe), startRawServer(t, w, believe)
	x.got, o.got = make(chan string, 1), make(chan string, 1)
	a := startServerWith(t, w, "a.example", func(c *Config) {
		c.Listed, c.Peers = true, []Peer{{Onion: x.name}}
		c.Aliases = []Alias{{Domain: "hidden.a.example", Onion: "rooms." + o.name}}
	})
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+x.name+"@onion.a.example", "hi")))
	assert.Equal(t, "hi", <-x.got)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", "talk@hidden.a.example", "ho")))
	assert.Equal(t, "ho", <-o.got)
	x.proven(t, a)
}

// A peer that calls itself by an ordinary name is connected to where the configuration
// says, under its name, and its name is proved there and nowhere else.
func TestOrdinaryName(t *testing.T) {
	w := newWire()
	y := startRawServer(t, w, believe)
	y.got, y.to = make(chan string, 1), make(chan string, 10)
	a := startServerWith(t, w, "a.example", func(c *Config) {
		c.Peers = []Peer{{Onion: y.name, Domain: "friends.example"}}
	})
	const bob = `bob\40friends.example@onion.a.example`
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
	assert.Equal(t, "hi", <-y.got)
	assert.Equal(t, "friends.example", <-y.to)

	r := dialRaw(t, a, portServer)
	r.greet("friends.example", a.m.Identity)
	r.write("<db:result from='friends.example' to='" + a.m.Identity + "'>key</db:result>")
	require.Equal(t, "valid", parseDialback(r.next()).typ)
	r.write(message("bob@friends.example/r", "alice@"+a.m.Identity, "hello").String())
	got := a.receive1(t)
	assert.Equal(t, bob+"/r", got.From.String())
	assert.Equal(t, "alice@a.example", got.To.String())
	for _, dialled := range w.dialled() {
		assert.Equal(t, y.name, dialled)
	}

	for _, other := range []string{"rooms.friends.example", "other.example"} {
		r := dialRaw(t, a, portServer)
		r.greet("", a.m.Identity)
		r.write("<db:result from='" + other + "' to='" + a.m.Identity + "'>key</db:result>")
		assert.Equal(t, stanza.NotAuthorized, parseDialback(r.next()).condition)
	}
}

// What contradicts itself is refused with words that say what.
func TestMapErrors(t *testing.T) {
	id := startServer(t, newWire(), "a.example").c.Identity
	for want, set := range map[string]func(*Config){
		"no domain of the host":          func(c *Config) { c.Hosts = nil },
		"only with native":               func(c *Config) { c.Hosts = []string{id.Name()} },
		"cannot have " + id.Name():       func(c *Config) { c.Domain, c.Native, c.Hosts = id.Name(), true, nil },
		"cannot have rooms." + id.Name(): func(c *Config) { c.Services = map[string]string{"rooms." + id.Name(): "rooms"} },
		"cannot have onion.a.example": func(c *Config) {
			c.Domain, c.Services = "onion.a.example", map[string]string{"onion.a.example": "rooms"}
		},
		"those below it":                        func(c *Config) { c.Native, c.Hosts = true, []string{testX} },
		"not the name of another onion":         func(c *Config) { c.Peers = []Peer{{Onion: "rooms." + testX}} },
		"both allowed and denied":               func(c *Config) { c.Peers = []Peer{{Onion: testX}, {Onion: testX, Domain: "x.example", Deny: true}} },
		"not an ordinary domain":                func(c *Config) { c.Peers = []Peer{{Onion: testX, Domain: testY}} },
		"is taken":                              func(c *Config) { c.Peers = []Peer{{Onion: testX, Domain: "a.example"}} },
		"not a domain at another onion service": func(c *Config) { c.Aliases = []Alias{{Domain: "h.example", Onion: "rooms." + id.Name()}} },
		"rooms.a.example is taken":              func(c *Config) { c.Aliases = []Alias{{Domain: "rooms.a.example", Onion: testX}} },
		"has an alias already": func(c *Config) {
			c.Aliases = []Alias{{Domain: "h.example", Onion: testX}, {Domain: "i.example", Onion: testX}}
		},
		"its peer is denied": func(c *Config) {
			c.Peers, c.Aliases = []Peer{{Onion: testX, Deny: true}}, []Alias{{Domain: "h.example", Onion: testX}}
		},
	} {
		c := Config{Domain: "onion.a.example", Hosts: []string{"a.example"}, Identity: id, Services: map[string]string{"rooms.a.example": "rooms"}}
		set(&c)
		_, err := NewGateway(c, newWire(), nil)
		assert.ErrorContains(t, err, want)
	}
}
