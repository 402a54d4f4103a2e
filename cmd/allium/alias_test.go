package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/onionroute"
)

// A user of a third, ordinary server, with no Tor, joins a room at a hidden server by an
// alias at a public one. The user learns nothing of where the room is, and the hidden
// server nothing but what the mapping tells.
func TestAlias(t *testing.T) {
	hidden := modOnionsNodeWith(t, "hidden", func(c *hosttest.Config) { c.LogStanzas = true })
	carol, bridge := bridged(t, hidden)
	carol.veiled = true
	const alias = "hidden.public.example"
	home := "secret@rooms." + hidden.onion
	visits(t, carol, "secret@"+alias, hidden, home)

	ctx := deadline(t, time.Minute)
	hidden.showsAddresses(t, ctx, home)
	carol.send(t, presenceTo("secret@"+alias+"/"+carol.user, component.NewElement("http://jabber.org/protocol/muc", "x"),
		component.NewElement("http://jabber.org/protocol/caps", "c").With("hash", "sha-1").With("node", "https://gajim.org").With("ver", "x")))
	carol.inRoom(t, ctx, "owner's presence", "secret@"+alias+"/"+hidden.user, is(component.Presence, ""))
	seen := hidden.inRoom(t, ctx, "carol's presence", home+"/"+carol.user, is(component.Presence, ""))
	assert.Contains(t, seen.String(), `jid='`+carol.user+`\40third.example@`+bridge.onion+"/")
	assert.NotContains(t, seen.String(), carol.client.JID().Resourcepart())
	assert.NotContains(t, seen.String(), "gajim")
	// Of her client the hidden server hears what it does of everybody's: she has answered nothing.
	hidden.send(t, &component.Stanza{Kind: component.IQ, Type: "get", ID: "client", To: jid.MustParse(home + "/" + carol.user),
		Nodes: []component.Node{component.NewElement(component.NSDiscoInfo, "query").Node()}})
	client := hidden.inRoom(t, ctx, "features of a client", home+"/"+carol.user, func(s *component.Stanza) bool { return s.ID == "client" })
	assert.Equal(t, "client", client.Payload().Child(component.NSDiscoInfo, "identity").AttrValue("category"), client)
	own := carol.inRoom(t, ctx, "own presence", "secret@"+alias+"/"+carol.user, is(component.Presence, ""))
	assert.Contains(t, own.String(), "jid='"+carol.client.JID().String()+"'")

	// An invitation comes from the room, and not from the address of who wrote it.
	const user = "http://jabber.org/protocol/muc#user"
	hidden.send(t, &component.Stanza{Kind: component.Message, To: jid.MustParse(home), Nodes: []component.Node{component.NewElement(user, "x").Add(
		component.NewElement(user, "invite").With("to", carol.user+`\40third.example@`+bridge.onion)).Node()}})
	carol.inRoom(t, ctx, "invitation", "secret@"+alias, func(s *component.Stanza) bool { return s.Child(user, "x").Child(user, "invite") != nil })

	// What can be asked.
	for i, q := range []struct{ to, space string }{
		{alias, component.NSDiscoInfo}, {alias, component.NSDiscoItem}, {"secret@" + alias, component.NSDiscoInfo}, {"secret@" + alias, component.NSDiscoItem},
		{alias, "jabber:iq:version"}, {"none@" + alias, component.NSDiscoInfo}, {"secret@" + alias + "/" + hidden.user, "vcard-temp"}, {alias, "urn:nothing"},
	} {
		id := fmt.Sprint("ask", i)
		name := map[bool]string{true: "vCard", false: "query"}[q.space == "vcard-temp"]
		carol.send(t, &component.Stanza{Kind: component.IQ, Type: "get", ID: id, To: jid.MustParse(q.to), Nodes: []component.Node{component.NewElement(q.space, name).Node()}})
		carol.inRoom(t, ctx, fmt.Sprint("answer ", q), q.to, func(s *component.Stanza) bool { return s.ID == id })
	}

	carol.tellsAll(t, ctx, "secret@"+alias, hidden)
	hidden.asksAll(t, ctx, home+"/"+carol.user, carol.user+`\40third.example@`+bridge.onion)
	unveils(t, carol, bridge, hidden)

	// Nobody else at the hidden server, or anywhere, reaches carol by the bridge, nor
	// carol anybody else.
	hidden.send(t, &component.Stanza{Kind: component.Message, ID: "spam", To: jid.MustParse(carol.user + `\40third.example@` + bridge.onion), Nodes: []component.Node{body("spam").Node()}})
	hidden.inRoom(t, ctx, "refusal", carol.user+`\40third.example@`+bridge.onion, func(s *component.Stanza) bool { return s.ID == "spam" && s.Type == "error" })
	direct := hidden.user + `\40` + hidden.onion + "@onion.public.example"
	carol.send(t, &component.Stanza{Kind: component.Message, ID: "relay", To: jid.MustParse(direct), Nodes: []component.Node{body("hi").Node()}})
	carol.veiled = false // it was carol who wrote the name
	carol.inRoom(t, ctx, "refusal", direct, func(s *component.Stanza) bool { return s.ID == "relay" && s.Type == "error" })
	for _, s := range carol.client.Received() {
		assert.NotContains(t, s.String(), ".onion")
		assert.NotEqual(t, "spam", s.Body())
	}
	// Who goes while the public server is not there is in no room any more once it is again.
	require.NoError(t, bridge.host.Kill())
	require.NoError(t, carol.client.Close())
	require.NoError(t, bridge.host.Start(ctx))
	hidden.inRoom(t, ctx, "carol leaves", home+"/"+carol.user, is(component.Presence, "unavailable"))
	bridge.stopAllium()
	out, err := runAllium(ctx, "check", "--config", bridge.config, "--offline")
	require.NoError(t, err, out)
	assert.Contains(t, out, "takes hidden.public.example")
}

// showsAddresses makes the room of an owner one in which everybody sees everybody's address.
func (n *node) showsAddresses(t *testing.T, ctx context.Context, room string) {
	t.Helper()
	const form = "jabber:x:data"
	field := func(name, value string) *component.Element {
		return component.NewElement(form, "field").With("var", name).Add(component.NewElement(form, "value", component.Text(value)))
	}
	n.send(t, &component.Stanza{Kind: component.IQ, Type: "set", ID: "whois", To: jid.MustParse(room), Nodes: []component.Node{
		component.NewElement("http://jabber.org/protocol/muc#owner", "query").Add(component.NewElement(form, "x").With("type", "submit").Add(
			field("FORM_TYPE", "http://jabber.org/protocol/muc#roomconfig"), field("muc#roomconfig_whois", "anyone"))).Node()}})
	n.inRoom(t, ctx, "room is not anonymous", room, func(s *component.Stanza) bool { return s.ID == "whois" && s.Type == "result" })
}

// bridged is a user at third.example, and the public server public.example with an alias
// for the rooms of the hidden server.
func bridged(t *testing.T, hidden *node) (carol, bridge *node) {
	return neighbours(t, "hidden", "[[alias]]", fmt.Sprintf("onion = %q", "rooms."+hidden.onion), `access = "anyone"`)
}

// neighbours are a user at third.example, and the public server public.example, which has
// an Allium, and a user who is not logged in. What is given is a section of Allium's
// configuration about one more domain.
func neighbours(t *testing.T, label string, section ...string) (carol, public *node) {
	domain := label + ".public.example"
	dir, resolver := openNetwork(t, domain)
	carol = ordinaryNode(t, dir, resolver, "third", nil)
	public = ordinaryNode(t, dir, resolver, "public", map[string]string{"onion.public.example": "s", domain: "own"})
	forward(t, "127.0.0.2:5269", public.host.S2SAddr())
	forward(t, "127.0.0.3:5269", carol.host.S2SAddr())
	public.config, public.log = filepath.Join(public.dir, "allium.toml"), filepath.Join(public.dir, "allium.log")
	require.NoError(t, os.WriteFile(public.config, fmt.Appendf(nil, `
state_dir = "state"
[host]
server = %q
secret = "s"
domains = ["public.example"]
[federation]
domain = "onion.public.example"
%s
domain = %q
secret = "own"
[tor]
torrc = %q
[log]
level = "debug"
`, public.host.ComponentAddr(), strings.Join(section, "\n"), domain, torNetwork(t).Torrc()), 0o600))
	id, err := onionroute.CreateIdentity(filepath.Join(public.dir, "state", "identity", "hs_ed25519_secret_key"))
	require.NoError(t, err)
	public.onion = id.Name()
	carol.log = public.log
	public.startAllium(t)
	t.Cleanup(public.stopAllium)
	carol.login(t)
	return carol, public
}

// openNetwork is a folder for servers that find each other by names, which stand in a file:
// public.example, with its components, and third.example. resolver makes a Prosody use it.
func openNetwork(t *testing.T, components ...string) (dir, resolver string) {
	dir, err := os.MkdirTemp("", "bridge")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	names := filepath.Join(dir, "hosts")
	require.NoError(t, os.WriteFile(names, []byte("127.0.0.2 public.example onion.public.example "+strings.Join(components, " ")+"\n127.0.0.3 third.example\n"), 0o644))
	return dir, fmt.Sprintf("unbound = { resolvconf = false, hoststxt = %q, forward = { \"255.255.255.255\" } }\n", names)
}

// ordinaryNode is a Prosody on the open network.
func ordinaryNode(t *testing.T, dir, resolver, name string, components map[string]string) *node {
	n := &node{dir: filepath.Join(dir, name), domain: name + ".example", user: "user-" + name, pass: rand.Text()}
	var err error
	n.host, err = hosttest.StartProsody(deadline(t, time.Minute), filepath.Join(n.dir, "host"), hosttest.Config{Domains: []string{n.domain},
		Users: map[string]string{n.account(): n.pass}, Components: components, S2S: true, Extra: resolver, LogStanzas: true})
	require.NoError(t, err)
	t.Cleanup(func() { n.host.Stop() })
	return n
}

// forward connects an address, which is one that other servers look for, to where a
// server listens.
func forward(t *testing.T, from, to string) {
	l, err := net.Listen("tcp", from)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			for _, p := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					io.Copy(p[1], p[0])
					p[1].Close()
				}()
			}
		}
	}()
}

// unveiled tells of a name of an onion service.
func unveiled(s *component.Stanza) bool { return strings.Contains(s.String(), ".onion") }
