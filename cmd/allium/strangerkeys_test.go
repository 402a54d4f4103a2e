package main

import (
	"crypto/rand"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/omemo"
)

// Somebody at a third, ordinary server and somebody at an onion peer, who are in a room of
// the server between them, get each other's keys by the addresses that they see there, also
// when the other's server is stopped. When they are in no room, they do not.
func TestKeysOfStrangers(t *testing.T) {
	alice := alliumNode(t, "keys-a", "prosody")
	carol, between := bridged(t, alice)
	between.stopAllium()
	ctx := deadline(t, 4*time.Minute)
	carolAt := carol.user + `\5c40third.example\40` + between.onion + "@onion.keys-a.example"
	aliceAt := alice.user + `\40` + alice.onion + "@onion.public.example"

	var together atomic.Bool
	together.Store(true)
	between.runHere(t, func(a, b jid.JID) bool {
		pair := a.String() + " " + b.String()
		return together.Load() && (pair == carol.account()+" "+aliceAt || pair == aliceAt+" "+carol.account())
	})
	xml, err := os.ReadFile("../../omemo/testdata/legacy-bundle.xml")
	require.NoError(t, err)
	ask := func(n *node, to, node string) *component.Stanza {
		t.Helper()
		iq := n.send(t, (&component.Stanza{Kind: component.IQ, Type: "get", ID: rand.Text(), To: jid.MustParse(to)}).Add(items(node)))
		got, err := n.client.Expect(ctx, "answer from "+to, func(s *component.Stanza) bool { return s.ID == iq.ID })
		require.NoError(t, err)
		assert.Equal(t, to, got.From.String())
		return got
	}
	until := func(n *node, to, node string) *component.Stanza { // Tor has found the way
		t.Helper()
		for {
			if got := ask(n, to, node); got.Type == "result" || ctx.Err() != nil {
				return got
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	pairs := []struct {
		asker, owner *node
		at           string
	}{{carol, alice, aliceAt}, {alice, carol, carolAt}}
	for _, p := range pairs {
		publishKeys(t, p.owner, omemo.NodeLegacyDevices, "current", (&omemo.DeviceList{Format: omemo.Legacy, Devices: []omemo.Device{{ID: 7}}}).Element().String())
		publishKeys(t, p.owner, omemo.NodeLegacyBundles+device, "current", string(xml))
		l, err := omemo.Legacy.ParseDevices(keysIn(t, until(p.asker, p.at, omemo.NodeLegacyDevices)))
		require.NoError(t, err)
		assert.EqualValues(t, 7, l.Devices[0].ID)
		b, err := omemo.Legacy.ParseBundle(keysIn(t, ask(p.asker, p.at, omemo.NodeLegacyBundles+device)))
		require.NoError(t, err)
		assert.Len(t, b.PreKeys, 25)
		assert.Equal(t, "error", ask(p.asker, p.at, "http://jabber.org/protocol/nick").Type, "keys, and nothing else")
	}
	together.Store(false)
	assert.Equal(t, stanza.Forbidden, ask(carol, aliceAt, omemo.NodeLegacyDevices).StanzaError().Condition)
	assert.Equal(t, stanza.ItemNotFound, ask(alice, carolAt, omemo.NodeLegacyDevices).StanzaError().Condition)
	together.Store(true)

	served := func(asker *node, at string) {
		t.Helper()
		b, err := omemo.Legacy.ParseBundle(keysIn(t, until(asker, at, omemo.NodeLegacyBundles+device)))
		require.NoError(t, err)
		assert.Len(t, b.PreKeys, 1)
	}
	require.NoError(t, carol.host.Stop())
	served(alice, carolAt)
	require.NoError(t, carol.host.Start(ctx))
	carol.login(t)
	require.NoError(t, alice.host.Stop())
	alice.stopAllium()
	defer func() {
		require.NoError(t, alice.host.Start(ctx))
		alice.startAllium(t)
		alice.login(t)
	}()
	served(carol, aliceAt)
}
