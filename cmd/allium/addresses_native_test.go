package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/onionroute"
)

// nativeProsody is a server in Tor: a Prosody that has the onion name itself, set up as
// the example says, with an Allium. Friends are peers with ordinary names.
func nativeProsody(t testing.TB, name string, friends ...*node) *node {
	if n := shared.nodes[name]; n != nil {
		return n
	}
	n := nativeNode(t, name)
	modules, err := filepath.Abs("../../examples/prosody")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(modules, "native.cfg.lua"))
	require.NoError(t, err)
	config := strings.ReplaceAll(string(text), "onion-name.onion", n.onion)
	_, config, _ = strings.Cut(config, "\nVirtualHost") // it is there already
	_, config, _ = strings.Cut(config, "\n")
	sections := fmt.Sprintf("domain = %q\n", "onion."+n.onion)
	for _, f := range friends {
		config += fmt.Sprintf("    allium_peers = { %q }\n", f.domain)
		sections += fmt.Sprintf("[[peer]]\nonion = %q\ndomain = %q\n", f.onion, f.domain)
	}
	n.host, err = hosttest.StartProsody(deadline(t, time.Minute), filepath.Join(n.dir, "host"), hosttest.Config{
		Domains: []string{n.domain}, Users: map[string]string{n.account(): n.pass}, Components: map[string]string{"other.example": "x"},
		S2S: true, Extra: fmt.Sprintf("plugin_paths = { %q }\nmuc_room_locking = false\n", modules), HostExtra: config})
	require.NoError(t, err)
	n.startNative(t, sections, n.host.ComponentAddr())
	return n
}

// nativeNode has the identity of a server, before there is one.
func nativeNode(t testing.TB, name string) *node {
	dir, err := os.MkdirTemp("", name)
	require.NoError(t, err)
	atEnd(func() { os.RemoveAll(dir) })
	id, err := onionroute.CreateIdentity(filepath.Join(dir, "state", "identity", "hs_ed25519_secret_key"))
	require.NoError(t, err)
	return &node{dir: dir, domain: id.Name(), onion: id.Name(), known: id.Name(), user: "user-" + name, pass: rand.Text(),
		config: filepath.Join(dir, "allium.toml"), log: filepath.Join(dir, "allium.log"), trace: filepath.Join(dir, "strace"),
		contacts: func(of *node) string { return of.user + "@" + of.known }}
}

// startNative starts the Allium of a native node, and logs its user in.
func (n *node) startNative(t testing.TB, federation, server string) {
	atEnd(func() { n.host.Stop() })
	n.server = server
	require.NoError(t, os.WriteFile(n.config, fmt.Appendf(nil, `
state_dir = "state"
[host]
server = %q
secret = "change-me"
domains = [%q, %q]
[tor]
torrc = %q
[log]
level = "debug"
addresses = true
[federation]
native = true
%s`, server, n.onion, "rooms."+n.onion, torNetwork(t).Torrc(), federation), 0o600))
	n.startAllium(t)
	atEnd(n.stopAllium)
	n.login(t)
	if shared.nodes == nil {
		shared.nodes = map[string]*node{}
	}
	shared.nodes[n.name()] = n
}

func (n *node) name() string { return strings.TrimPrefix(n.user, "user-") }

// A native host's users write the ordinary name of a peer as it is.
func TestNativeOrdinaryName(t *testing.T) {
	friends := modOnionsNode(t, "friends", "friends.example")
	n := nativeProsody(t, "nativefriend", friends)
	acquaint(t, n, friends)
	converse(t, n, friends)
}

// nativeEjabberd is the same with an ejabberd, to which the domain of each peer is
// attached.
func nativeEjabberd(t testing.TB, name string) *node {
	if n := shared.nodes[name]; n != nil {
		return n
	}
	n := nativeNode(t, name)
	port := freePort(t)
	text, err := os.ReadFile("../../examples/ejabberd/native.yml")
	require.NoError(t, err)
	file := filepath.Join(n.dir, "native.yml")
	require.NoError(t, os.WriteFile(file, []byte(strings.NewReplacer("onion-name.onion", n.onion, "8888", port).Replace(string(text))), 0o644))
	n.host, err = hosttest.StartEjabberd(deadline(t, time.Minute), filepath.Join(n.dir, "host"), hosttest.Config{Domains: []string{n.domain},
		Users: map[string]string{n.account(): n.pass}, Extra: "include_config_file:\n  " + file + ":\n    allow_only: [listen, modules]\n"})
	require.NoError(t, err)
	n.startNative(t, "", "127.0.0.1:"+port)
	return n
}

// A server that has the onion name itself, on Prosody, talks with one that has a
// gateway.
func TestNativeProsodyAndGateway(t *testing.T) {
	a, n := alliumNode(t, "alpha", "prosody"), nativeProsody(t, "native")
	acquaint(t, a, n)
	converse(t, a, n)
	thousand(t, a, n)
	const mine = "talk"
	visits(t, a, mine+`\40rooms.`+n.onion+"@onion."+a.domain, n, mine+"@rooms."+n.onion)
}

// The same with a server that has mod_onions. Both have rooms.
func TestNativeProsodyAndModOnions(t *testing.T) {
	d, n := modOnionsNode(t, "onions"), nativeProsody(t, "native")
	acquaint(t, d, n)
	converse(t, d, n)
	visits(t, d, "chat@rooms."+n.onion, n, "chat@rooms."+n.onion)
	visits(t, n, "chat@rooms."+d.onion, d, "chat@rooms."+d.onion)
}

// On ejabberd, a server with a gateway comes first to it: only then can people here write
// to people there.
func TestNativeEjabberdAndGateway(t *testing.T) {
	a, n := alliumNode(t, "alpha", "prosody"), nativeEjabberd(t, "nativeother")
	acquaint(t, a, n)
	converse(t, a, n)
	thousand(t, a, n)
	visits(t, a, `talk\40rooms.`+n.onion+"@onion."+a.domain, n, "talk@rooms."+n.onion)
	// It is remembered who was there.
	n.stopAllium()
	n.startAllium(t)
	says(t, deadline(t, time.Minute), n, a, "after a restart")
}

// With mod_onions on the other side, and people here who ask the gateway first.
func TestNativeEjabberdAndModOnions(t *testing.T) {
	d, n := modOnionsNode(t, "onions"), nativeEjabberd(t, "nativeother")
	ctx := deadline(t, time.Minute)
	gateway := "onion." + n.onion
	// Who writes in the gateway's way is told the address.
	m := n.send(t, &component.Stanza{Kind: component.Message, ID: "way", To: jid.MustParse(`x\40rooms.` + d.onion + "@" + gateway), Nodes: []component.Node{body("?").Node()}})
	got, err := n.client.Expect(ctx, "the address", isError(m.ID))
	require.NoError(t, err)
	require.Contains(t, got.String(), "x@rooms."+d.onion)
	for _, typed := range []string{d.user + "@" + d.onion, "rooms." + d.onion} {
		const ns = "jabber:iq:gateway"
		n.send(t, &component.Stanza{Kind: component.IQ, Type: "set", ID: typed, To: jid.MustParse(gateway), Nodes: []component.Node{
			component.NewElement(ns, "query").Add(component.NewElement(ns, "prompt", component.Text(typed))).Node()}})
		got := n.inRoom(t, ctx, "answer of the gateway", gateway, func(s *component.Stanza) bool { return s.ID == typed })
		require.Equal(t, typed, got.Payload().Child(ns, "jid").Text(), got)
	}
	acquaint(t, n, d)
	converse(t, d, n)
	visits(t, d, "parlour@rooms."+n.onion, n, "parlour@rooms."+n.onion)
	visits(t, n, "parlour@rooms."+d.onion, d, "parlour@rooms."+d.onion)
}

// visits makes the user of a server join a room at another's, by the address that the
// room has for the one, and talk with the owner's user, who knows it by another.
func visits(t *testing.T, guest *node, room string, owner *node, home string) {
	ctx := deadline(t, 2*time.Minute)
	const self = "110"
	join := func(n *node, room string) {
		t.Helper()
		n.send(t, presenceTo(room+"/"+n.user, component.NewElement("http://jabber.org/protocol/muc", "x").Add(
			component.NewElement("http://jabber.org/protocol/muc", "history").With("maxstanzas", "0"))))
		n.inRoom(t, ctx, "own presence", room+"/"+n.user, func(s *component.Stanza) bool {
			return s.Kind == component.Presence && s.Type == "" && strings.Contains(s.String(), "code='"+self+"'")
		})
	}
	join(owner, home)
	// A new room is locked until its owner has configured it (XEP-0045 §10.1.2).
	owner.send(t, &component.Stanza{Kind: component.IQ, Type: "set", ID: "unlock", To: jid.MustParse(home), Nodes: []component.Node{
		component.NewElement("http://jabber.org/protocol/muc#owner", "query").Add(
			component.NewElement("jabber:x:data", "x").With("type", "submit")).Node()}})
	owner.inRoom(t, ctx, "room unlocked", home, func(s *component.Stanza) bool { return s.ID == "unlock" && s.Type == "result" })
	join(guest, room)
	owner.inRoom(t, ctx, "guest's presence", home+"/"+guest.user, is(component.Presence, ""))
	for _, p := range [][3]string{{guest.user, room, "from the guest"}, {owner.user, home, "from the owner"}} {
		from := guest
		if p[0] == owner.user {
			from = owner
		}
		from.send(t, &component.Stanza{Kind: component.Message, Type: "groupchat", ID: rand.Text(), To: jid.MustParse(p[1]),
			Nodes: []component.Node{body(p[2]).Node()}})
		said := func(s *component.Stanza) bool { return s.Body() == p[2] }
		guest.inRoom(t, ctx, "what was said", room+"/"+p[0], said)
		owner.inRoom(t, ctx, "what was said", home+"/"+p[0], said)
	}
	guest.send(t, &component.Stanza{Kind: component.Presence, Type: "unavailable", To: jid.MustParse(room + "/" + guest.user)})
	owner.inRoom(t, ctx, "guest leaves", home+"/"+guest.user, is(component.Presence, "unavailable"))
}

func presenceTo(to string, payload ...*component.Element) *component.Stanza {
	s := &component.Stanza{Kind: component.Presence, To: jid.MustParse(to)}
	return s.Add(payload...)
}

// inRoom waits for a stanza from an occupant.
func (n *node) inRoom(t *testing.T, ctx context.Context, what, from string, match func(*component.Stanza) bool) *component.Stanza {
	t.Helper()
	j := jid.MustParse(from)
	s, err := n.client.Expect(ctx, what, func(s *component.Stanza) bool { return s.From.Equal(j) && match(s) })
	if err != nil {
		for _, f := range []string{n.log, n.host.LogFile()} {
			log, _ := os.ReadFile(f)
			lines := strings.Split(string(log), "\n")
			t.Logf("%s ends:\n%s", f, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	}
	require.NoError(t, err)
	require.False(t, n.veiled && unveiled(s), s)
	return s
}

// What init prints for a host that lives in Tor is taken by the host, and check finds all
// in order; and what is missing, it tells.
func TestInitAndCheckNative(t *testing.T) {
	modules, err := filepath.Abs("../../examples/prosody")
	require.NoError(t, err)
	for _, kind := range []string{"prosody", "ejabberd"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "allium.toml")
			printed, err := runAllium(t.Context(), "init", "--config", file, "--state-dir", filepath.Join(dir, "state"), "--native", "--host", kind)
			require.NoError(t, err)
			c, err := loadConfig(file)
			require.NoError(t, err)
			id, err := c.identity()
			require.NoError(t, err)
			check := func(server, secret string) (string, error) {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				text = []byte(strings.NewReplacer(c.Host.Server, server, c.Host.Secret, secret).Replace(string(text)))
				other := filepath.Join(dir, "other.toml")
				require.NoError(t, os.WriteFile(other, text, 0o600))
				return runAllium(deadline(t, time.Minute), "check", "--config", other, "--offline")
			}
			_, lines, _ := strings.Cut(printed, map[string]string{"prosody": "VirtualHost", "ejabberd": "restart ejabberd:\n"}[kind])
			lines, _, _ = strings.Cut(lines, "\nThen test")
			host := hosttest.Config{Domains: []string{id.Name()}}
			server := c.Host.Server
			var h *hosttest.Host
			if kind == "prosody" {
				host.Components = map[string]string{"other.example": "x"}
				_, host.HostExtra, _ = strings.Cut(lines, "\n")
				host.S2S, host.Extra = true, fmt.Sprintf("plugin_paths = { %q }\n", modules)
				h, err = hosttest.StartProsody(deadline(t, time.Minute), filepath.Join(dir, "host"), host)
				require.NoError(t, err)
				server = h.ComponentAddr()
			} else {
				server = "127.0.0.1:" + freePort(t)
				included := filepath.Join(dir, "lines.yml")
				require.NoError(t, os.WriteFile(included, []byte(strings.ReplaceAll(lines, "8888", server[len("127.0.0.1:"):])), 0o600))
				host.Extra = "include_config_file:\n  " + included + ":\n    allow_only: [listen, modules]\n"
				h, err = hosttest.StartEjabberd(deadline(t, time.Minute), filepath.Join(dir, "host"), host)
				require.NoError(t, err)
			}
			defer h.Stop()
			out, err := check(server, c.Host.Secret)
			require.NoError(t, err, out)
			require.Contains(t, out, "ok      host lets Allium speak for onion services")
			require.Contains(t, out, "ok      host serves rooms."+id.Name())
			if kind == "prosody" { // without its rooms, and without the module
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "\"rooms.", "\"chat.")), 0o600))
				out, err = check(server, c.Host.Secret)
				require.Error(t, err, out)
				require.Contains(t, out, "the host does not have it: correct host.domains, or add it")
				require.NoError(t, os.WriteFile(file, text, 0o600))
				h.Stop()
				host.HostExtra = strings.Replace(host.HostExtra, `modules_enabled = { "allium" }`, "", 1)
				h, err = hosttest.StartProsody(deadline(t, time.Minute), filepath.Join(dir, "second"), host)
				require.NoError(t, err)
				defer h.Stop()
				out, err = check(h.ComponentAddr(), c.Host.Secret)
				require.Error(t, err, out)
				require.Contains(t, out, "load mod_allium on the component")
			}
		})
	}
}
