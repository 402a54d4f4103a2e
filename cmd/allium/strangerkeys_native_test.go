package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/omemo"
)

// From a server that has the onion name itself, and a way to the open network, a peer gets
// the keys of somebody at a third server whom it sees in a room there. (The other
// way round there is no question: to that third server the address of somebody at a peer is
// at an onion service.)
func TestKeysOfStrangersNative(t *testing.T) {
	alice := alliumNode(t, "keys-a", "prosody")
	dir, resolver := openNetwork(t)
	carol := ordinaryNode(t, dir, resolver, "third", nil)
	between := nativeNode(t, "nativeopen")
	modules, err := filepath.Abs("../../examples/prosody")
	require.NoError(t, err)
	const gateway = "onion.public.example"
	between.host, err = hosttest.StartProsody(deadline(t, time.Minute), filepath.Join(between.dir, "host"), hosttest.Config{
		Domains: []string{between.domain}, Users: map[string]string{between.account(): between.pass}, Components: map[string]string{"other.example": "x"},
		S2S: true, Extra: resolver + fmt.Sprintf("plugin_paths = { %q }\n", modules),
		HostExtra: fmt.Sprintf("Component %q\n component_secret = \"change-me\"\n validate_from_addresses = false\n modules_enabled = { \"allium\" }\n", gateway)})
	require.NoError(t, err)
	forward(t, "127.0.0.2:5269", between.host.S2SAddr())
	forward(t, "127.0.0.3:5269", carol.host.S2SAddr())
	carol.login(t)
	between.startNative(t, fmt.Sprintf("domain = %q\n", gateway), between.host.ComponentAddr())
	between.stopAllium()
	aliceAt := alice.user + "@" + alice.onion
	between.runHere(t, func(a, b jid.JID) bool { return a.String() == aliceAt && b.String() == carol.account() })

	publishKeys(t, carol, omemo.NodeLegacyDevices, "current", (&omemo.DeviceList{Format: omemo.Legacy, Devices: []omemo.Device{{ID: 7}}}).Element().String())
	ctx := deadline(t, 2*time.Minute)
	at := carol.user + `\5c40third.example\40` + between.onion + "@onion.keys-a.example"
	var got *component.Stanza
	for got == nil || got.Type != "result" && ctx.Err() == nil { // until Tor has found the way
		iq := alice.send(t, (&component.Stanza{Kind: component.IQ, Type: "get", ID: rand.Text(), To: jid.MustParse(at)}).Add(items(omemo.NodeLegacyDevices)))
		got, err = alice.client.Expect(ctx, "answer from "+at, func(s *component.Stanza) bool { return s.ID == iq.ID })
		require.NoError(t, err)
	}
	l, err := omemo.Legacy.ParseDevices(keysIn(t, got))
	require.NoError(t, err)
	assert.EqualValues(t, 7, l.Devices[0].ID)
}

// runHere runs the node's Allium in this process, with rooms that are not there.
func (n *node) runHere(t *testing.T, related func(a, b jid.JID) bool) {
	c, err := loadConfig(n.config)
	require.NoError(t, err)
	id, err := c.identity()
	require.NoError(t, err)
	h, err := newHouse(c, id)
	require.NoError(t, err)
	h.related = related
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.run(ctx) }()
	t.Cleanup(func() { cancel(); assert.NoError(t, <-ended) })
	require.Eventually(t, func() bool { return h.ready() == nil }, time.Minute, 50*time.Millisecond)
}
