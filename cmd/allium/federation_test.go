package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Two people become contacts and talk, each on a Prosody with Allium.
func TestProsodyAndProsody(t *testing.T) {
	a, b := alliumNode(t, "alpha", "prosody"), alliumNode(t, "beta", "prosody")
	acquaint(t, a, b)
	converse(t, a, b)
	thousand(t, a, b)
	comeMeanwhile(t, a, b)
}

// The same with an ejabberd on the other side.
func TestProsodyAndEjabberd(t *testing.T) {
	a, c := alliumNode(t, "alpha", "prosody"), alliumNode(t, "gamma", "ejabberd")
	acquaint(t, a, c)
	converse(t, a, c)
	thousand(t, a, c)
	comeMeanwhile(t, c, a)
}

// The same with a server that has no Allium, but the module that came before it.
func TestModOnions(t *testing.T) {
	a, d := alliumNode(t, "alpha", "prosody"), modOnionsNode(t, "onions")
	acquaint(t, a, d)
	converse(t, a, d)
	thousand(t, a, d)
}

// acquaint makes the users subscribe to each other's presence.
func acquaint(t testing.TB, a, b *node) {
	ctx := deadline(t, 90*time.Second)
	for _, p := range [][2]*node{{a, b}, {b, a}} {
		from, to := p[0], p[1]
		from.send(t, from.to(t, to, component.Presence, "subscribe"))
		to.expect(t, ctx, "subscription request", from, is(component.Presence, "subscribe"))
		to.send(t, to.to(t, from, component.Presence, "subscribed"))
		from.expect(t, ctx, "approval", to, is(component.Presence, "subscribed"))
		got := from.expect(t, ctx, "presence", to, is(component.Presence, ""))
		if real := to.client.JID().Resourcepart(); to.allium == nil {
			assert.Equal(t, real, got.From.Resourcepart())
		} else {
			assert.NotEqual(t, real, got.From.Resourcepart(), "the name of the client stays at home")
			assert.NotEmpty(t, got.From.Resourcepart())
		}
	}
	a.send(t, &component.Stanza{Kind: component.Presence, Nodes: []component.Node{
		component.NewElement(component.NSClient, "show", component.Text("away")).Node()}})
	b.expect(t, ctx, "away", a, func(s *component.Stanza) bool { return s.Child(component.NSClient, "show").Text() == "away" })
}

// comeMeanwhile makes the one user log in while Allium is not there. The other one is told when it is.
func comeMeanwhile(t *testing.T, a, b *node) {
	ctx := deadline(t, 90*time.Second)
	a.client.Close()
	b.expect(t, ctx, "end of presence", a, func(s *component.Stanza) bool { return s.Type == "unavailable" && s.From.Resourcepart() != "" })
	a.stopAllium()
	a.login(t)
	a.startAllium(t)
	b.expect(t, ctx, "presence", a, is(component.Presence, ""))
	says(t, ctx, a, b, "here I am")
}

// converse exchanges one of each thing that people's clients exchange.
func converse(t *testing.T, a, b *node) {
	ctx := deadline(t, 90*time.Second)
	const chatStates, receipts, delay, mucUser = "http://jabber.org/protocol/chatstates", "urn:xmpp:receipts", "urn:xmpp:delay", "http://jabber.org/protocol/muc#user"
	for _, p := range [][2]*node{{a, b}, {b, a}} {
		from, to := p[0], p[1]
		says(t, ctx, from, to, "Größe & <Mut> \u200d👩\u200d🚀")
		from.send(t, from.to(t, to, component.Message, "chat", component.NewElement(chatStates, "composing")))
		to.expect(t, ctx, "chat state", from, func(s *component.Stanza) bool { return s.Child(chatStates, "composing") != nil })
		m := from.send(t, from.to(t, to, component.Message, "chat", body("?"), component.NewElement(receipts, "request")))
		to.expect(t, ctx, "message that asks for a receipt", from, func(s *component.Stanza) bool { return s.ID == m.ID })
		to.send(t, to.to(t, from, component.Message, "chat", component.NewElement(receipts, "received").With("id", m.ID)))
		full := from.expect(t, ctx, "receipt", to, func(s *component.Stanza) bool { return s.Child(receipts, "received").AttrValue("id") == m.ID }).From

		// Addresses in payloads are as the reader of them writes them.
		from.send(t, from.to(t, to, component.Message, "", component.NewElement(mucUser, "x").Add(
			component.NewElement(mucUser, "invite").With("from", from.account()))))
		got := to.expect(t, ctx, "invitation", from, func(s *component.Stanza) bool { return s.Child(mucUser, "x") != nil })
		assert.Equal(t, to.contacts(from), got.Child(mucUser, "x").Child(mucUser, "invite").AttrValue("from"))

		// Requests to the person's client, account and server.
		client := from.to(t, to, component.IQ, "get", component.NewElement(component.NSPing, "ping"))
		client.To = full
		from.send(t, client)
		asked := to.expect(t, ctx, "ping", from, func(s *component.Stanza) bool {
			return s.Type == "get" && s.Child(component.NSPing, "ping") != nil
		})
		to.send(t, &component.Stanza{Kind: component.IQ, Type: "result", ID: asked.ID, To: asked.From})
		from.expect(t, ctx, "pong", to, func(s *component.Stanza) bool { return s.Type == "result" && s.ID == client.ID })

		to.send(t, &component.Stanza{Kind: component.IQ, Type: "set", ID: "v", Nodes: []component.Node{
			component.NewElement("vcard-temp", "vCard").Add(component.NewElement("vcard-temp", "NICKNAME", component.Text("Nick of "+to.user))).Node()}})
		_, err := to.client.Expect(ctx, "vCard kept", func(s *component.Stanza) bool { return s.ID == "v" && s.Type == "result" })
		require.NoError(t, err)
		assert.Equal(t, "Nick of "+to.user, from.ask(t, ctx, to, component.NewElement("vcard-temp", "vCard")).Payload().Child("vcard-temp", "NICKNAME").Text())

		// Of what people publish, the nickname is for peers, and most is not.
		const pubsub, nick = "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/nick"
		read := func(node string) *component.Stanza {
			to.send(t, &component.Stanza{Kind: component.IQ, Type: "set", ID: "p" + node, Nodes: []component.Node{
				component.NewElement(pubsub, "pubsub").Add(component.NewElement(pubsub, "publish").With("node", node).Add(
					component.NewElement(pubsub, "item").With("id", "current").Add(component.NewElement(node, "thing")))).Node()}})
			_, err = to.client.Expect(ctx, "item published", func(s *component.Stanza) bool { return s.ID == "p"+node && s.Type == "result" })
			require.NoError(t, err)
			return from.ask(t, ctx, to, component.NewElement(pubsub, "pubsub").Add(component.NewElement(pubsub, "items").With("node", node)))
		}
		items := read(nick)
		assert.NotNil(t, items.Payload().Child(pubsub, "items").Child(pubsub, "item").Child(nick, "thing"), items)
		if items = read("http://jabber.org/protocol/tune"); to.allium != nil {
			assert.Equal(t, stanza.ItemNotFound, items.StanzaError().Condition, items)
		}

		if from.allium != nil {
			hearsOfKeys(t, ctx, from, to)
		}

		disco := from.ask(t, ctx, to, component.NewElement(component.NSDiscoInfo, "query"))
		assert.Equal(t, "result", disco.Type, disco)

		// What does not exist is told with the id of the question.
		nobody := from.to(t, to, component.IQ, "get", component.NewElement(component.NSPing, "ping"))
		nobody.To, _ = nobody.To.WithResource("nowhere")
		from.send(t, nobody)
		got = from.expect(t, ctx, "error", to, is(component.IQ, "error"))
		assert.Equal(t, nobody.ID, got.ID)
		assert.Equal(t, stanza.ServiceUnavailable, got.StanzaError().Condition, got)
	}
}

// hearsOfKeys: when somebody has a new device for OMEMO, the contact's client is told, for
// the features that Allium announces in its place have the interest in that.
func hearsOfKeys(t *testing.T, ctx context.Context, client, of *node) {
	const event, omemo = "http://jabber.org/protocol/pubsub#event", "eu.siacs.conversations.axolotl"
	client.send(t, &component.Stanza{Kind: component.Presence, Nodes: []component.Node{
		component.NewElement("http://jabber.org/protocol/caps", "c").With("hash", "sha-1").With("node", "urn:example").With("ver", "x").Node()}})
	from, told := jid.MustParse(client.contacts(of)), make(chan struct{})
	go func() {
		defer close(told)
		_, err := client.client.Expect(ctx, "event", func(s *component.Stanza) bool {
			return s.From.Bare().Equal(from) && s.Child(event, "event").Child(event, "items").AttrValue("node") == omemo+".devicelist"
		})
		assert.NoError(t, err)
	}()
	for { // until the server there knows the features
		set(t, of, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='"+omemo+".devicelist'><item id='current'><list xmlns='"+omemo+"'><device id='1'/></list></item></publish></pubsub>")
		select {
		case <-told:
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// ask asks the account of the other node's user.
func (n *node) ask(t *testing.T, ctx context.Context, other *node, payload *component.Element) *component.Stanza {
	t.Helper()
	iq := n.send(t, n.to(t, other, component.IQ, "get", payload))
	return n.expect(t, ctx, "answer to "+payload.Name.Space, other, func(s *component.Stanza) bool { return s.ID == iq.ID })
}

// thousand sends 1000 numbered messages each way at the same time: all arrive, once,
// and in order.
func thousand(t *testing.T, a, b *node) {
	ctx := deadline(t, 2*time.Minute)
	const n = 1000
	began := time.Now()
	for i := range n {
		a.send(t, a.to(t, b, component.Message, "chat", body("#"+strconv.Itoa(i))))
		b.send(t, b.to(t, a, component.Message, "chat", body("#"+strconv.Itoa(i))))
	}
	numbered := func(s *component.Stanza) bool { return strings.HasPrefix(s.Body(), "#") }
	for i := range n {
		require.Equal(t, fmt.Sprintf("#%d", i), a.expect(t, ctx, "number", b, numbered).Body())
		require.Equal(t, fmt.Sprintf("#%d", i), b.expect(t, ctx, "number", a, numbered).Body())
	}
	t.Logf("%d messages each way in %v", n, time.Since(began).Round(time.Millisecond))
	says(t, ctx, a, b, "after")
	says(t, ctx, b, a, "after")
	for _, s := range append(a.client.Received(), b.client.Received()...) {
		assert.False(t, numbered(s), "twice: %s", s)
	}
}

// The host restarts, Tor is killed, the peer is killed and comes back: the
// conversation goes on, and no Allium is restarted for it.
func TestFaults(t *testing.T) {
	a, b := alliumNode(t, "alpha", "prosody"), alliumNode(t, "beta", "prosody")
	ctx := deadline(t, 5*time.Minute)
	again := func(t *testing.T) {
		ctx, began := deadline(t, 90*time.Second), time.Now()
		says(t, ctx, a, b, "once more")
		says(t, ctx, b, a, "and back")
		t.Logf("both ways after %v", time.Since(began).Round(time.Millisecond))
	}
	again(t)
	t.Run("host restarts", func(t *testing.T) {
		from := a.logged()
		require.NoError(t, a.host.Stop())
		require.NoError(t, a.host.Start(ctx))
		a.logs(t, from, `msg="attached to the host"`, time.Minute)
		a.login(t)
		again(t)
	})
	t.Run("host is killed", func(t *testing.T) {
		a.send(t, a.to(t, b, component.Presence, ""))
		there := b.expect(t, ctx, "presence", a, is(component.Presence, "")).From
		from := a.logged()
		require.NoError(t, a.host.Kill())
		require.NoError(t, a.host.Start(ctx))
		a.logs(t, from, `msg="attached to the host"`, time.Minute)
		b.expect(t, ctx, "end of presence", a, func(s *component.Stanza) bool { return s.Type == "unavailable" && s.From.Equal(there) })
		a.login(t)
		again(t)
	})
	t.Run("Tor is killed", func(t *testing.T) {
		from := a.logged()
		require.NoError(t, syscall.Kill(a.torPID(t), syscall.SIGKILL))
		a.logs(t, from, "Tor is up", time.Minute)
		again(t)
	})
	t.Run("peer's Tor is killed", func(t *testing.T) {
		from := b.logged()
		require.NoError(t, syscall.Kill(b.torPID(t), syscall.SIGKILL))
		b.logs(t, from, "onion service is published", time.Minute)
		again(t)
	})
	t.Run("peer is killed", func(t *testing.T) {
		b.allium.Process.Kill()
		<-b.exited
		m := a.send(t, a.to(t, b, component.Message, "chat", body("while you were away")))
		b.startAllium(t)
		b.expect(t, ctx, "the message that waited", a, func(s *component.Stanza) bool { return s.ID == m.ID })
		again(t)
	})
	// What Allium has read does not wait for the disk, where it would not outlive the kill.
	t.Run("killed, and the disk is slow", func(t *testing.T) {
		a.stopAllium()
		b.stopAllium()
		a.flush = time.Second / 2
		a.startAllium(t)
		var sent []string
		for range 10 {
			sent = append(sent, a.send(t, a.to(t, b, component.Message, "chat", body("in time"))).ID)
			time.Sleep(20 * time.Millisecond)
		}
		require.Eventually(t, func() bool { return a.metric(t, "waiting") >= 10 }, time.Minute, time.Millisecond) // they are read
		time.Sleep(100 * time.Millisecond)
		a.allium.Process.Kill()
		<-a.exited
		a.flush = 0
		a.startAllium(t)
		b.startAllium(t)
		soon := deadline(t, time.Minute)
		for _, id := range sent {
			got := b.expect(t, soon, "a message", a, func(s *component.Stanza) bool { return s.Body() == "in time" })
			require.Equal(t, id, got.ID)
		}
		again(t)
	})
}

// torPID is the process of the node's tor.
func (n *node) torPID(t testing.TB) int {
	if n.tor != nil {
		return n.tor.Process.Pid
	}
	return processWith(t, n.dir+"/state/tor/data")
}

// processWith is the tor that has the folder on its command line.
func processWith(t testing.TB, folder string) int {
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		args := strings.Split(string(cmdline), "\x00")
		if strings.HasSuffix(args[0], "tor") && slices.Contains(args, folder) {
			return pid
		}
	}
	t.Fatal("no tor with " + folder)
	return 0
}

// A user of the host who is not a user of its domains gets nowhere, and is told so.
func TestErrorsToUsers(t *testing.T) {
	a := alliumNode(t, "alpha", "prosody")
	ctx := deadline(t, 4*time.Minute)
	for _, c := range []struct {
		to   string
		want stanza.Condition
	}{
		{`bob\40expyuzz4wqqyqhjn.onion@onion.alpha.example`, stanza.RemoteServerNotFound},
		{`bob@onion.alpha.example`, stanza.RemoteServerNotFound},
		{`bob\40` + a.onion + `@onion.alpha.example`, stanza.RemoteServerNotFound},
		{`onion.alpha.example`, stanza.ServiceUnavailable},
	} {
		s := a.send(t, &component.Stanza{Kind: component.Message, ID: "e" + c.to, To: jid.MustParse(c.to), Nodes: []component.Node{body("hi").Node()}})
		got, err := a.client.Expect(ctx, "error", func(r *component.Stanza) bool { return r.ID == s.ID })
		require.NoError(t, err)
		assert.Equal(t, c.want, got.StanzaError().Condition, c.to)
		assert.True(t, got.From.Equal(s.To))
	}
	// A server that does not exist: a request is answered within the time of one try.
	nowhere, err := onionrouteName()
	require.NoError(t, err)
	iq := a.send(t, &component.Stanza{Kind: component.IQ, Type: "get", ID: "n", To: jid.MustParse(`bob\40` + nowhere + `@onion.alpha.example`),
		Nodes: []component.Node{component.NewElement(component.NSPing, "ping").Node()}})
	got, err := a.client.Expect(ctx, "error", func(r *component.Stanza) bool { return r.ID == iq.ID })
	require.NoError(t, err)
	assert.Equal(t, stanza.RemoteServerTimeout, got.StanzaError().Condition)
}
