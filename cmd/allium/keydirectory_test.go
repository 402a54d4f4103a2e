package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/omemo"
)

const (
	nsPubsub = omemo.NSPubsub
	device   = "7"
)

// The keys of somebody whose whole server is stopped are there for a device of the contact
// that has never asked for them.
func TestKeysOfWhoIsAway(t *testing.T) { keysOfWhoIsAway(t, "prosody", "keys-a", "keys-b") }

// The same with an ejabberd that goes away.
func TestKeysOfWhoIsAwayEjabberd(t *testing.T) { keysOfWhoIsAway(t, "ejabberd", "keys-c", "keys-b") }

func keysOfWhoIsAway(t *testing.T, kind, nameA, nameB string) {
	a, b := privateHall(t, nameA, kind), alliumNode(t, nameB, "prosody")
	ctx := deadline(t, 3*time.Minute)
	says(t, ctx, b, a, "Tor has found the way")
	for format, file := range map[*omemo.Format]string{omemo.Legacy: "legacy", omemo.OMEMO2: "omemo2"} {
		xml, err := os.ReadFile("../../omemo/testdata/" + file + "-bundle.xml")
		require.NoError(t, err)
		devices, bundles := keyNodes(format)
		publishKeys(t, a, devices, "current", (&omemo.DeviceList{Format: format, Devices: []omemo.Device{{ID: 7}}}).Element().String())
		publishKeys(t, a, bundles, map[*omemo.Format]string{omemo.Legacy: "current", omemo.OMEMO2: device}[format], string(xml))
		for range 2 { // once more, when the answer to the first is kept
			l, err := format.ParseDevices(keysIn(t, b.ask(t, ctx, a, items(devices))))
			require.NoError(t, err)
			assert.EqualValues(t, 7, l.Devices[0].ID)
			bundle, err := format.ParseBundle(keysIn(t, b.ask(t, ctx, a, items(bundles))))
			require.NoError(t, err)
			assert.Len(t, bundle.PreKeys, 25, "the contact's server is up, so these are all")
		}
	}
	// What a server does not verify, Allium does.
	publishKeys(t, a, omemo.NodeLegacyBundles+"8", "current", "<bundle xmlns='eu.siacs.conversations.axolotl'><identityKey>AAAA</identityKey></bundle>")
	bad := b.ask(t, ctx, a, items(omemo.NodeLegacyBundles+"8"))
	assert.Equal(t, stanza.NotAcceptable, bad.StanzaError().Condition, bad)

	require.NoError(t, a.host.Stop())
	defer b.login(t)                  // as others expect it
	served := readAgain(t, ctx, a, b) // Allium is there still, and says that the host is not
	if kind != "prosody" {
		require.NoError(t, a.host.Start(ctx)) // what follows has nothing to do with the kind of host
		a.login(t)
		return
	}
	a.stopAllium()
	again := readAgain(t, ctx, a, b)
	for format, keys := range served {
		assert.Equal(t, keys.IdentityKey, again[format].IdentityKey)
		assert.NotEqual(t, keys.PreKeys, again[format].PreKeys, "a one-time pre-key is for one device")
	}
	// And after a restart of the one who keeps them.
	b.stopAllium()
	b.startAllium(t)
	readAgain(t, ctx, a, b)

	require.NoError(t, a.host.Start(ctx))
	a.startAllium(t)
	a.login(t)
	require.Eventually(t, func() bool {
		fresh, err := omemo.Legacy.ParseBundle(keysIn(t, b.ask(t, ctx, a, items(omemo.NodeLegacyBundles+device))))
		return err == nil && len(fresh.PreKeys) == 25
	}, time.Minute, 100*time.Millisecond, "the server is back, and gives all pre-keys")
}

// readAgain reads the keys from a new device, which gets one pre-key of each bundle.
func readAgain(t *testing.T, ctx context.Context, of, by *node) map[*omemo.Format]*omemo.Bundle {
	t.Helper()
	by.client.Close()
	var err error
	by.client, err = hosttest.Login(ctx, by.host.ClientAddr(), by.account(), by.pass)
	require.NoError(t, err)
	got := map[*omemo.Format]*omemo.Bundle{}
	for _, format := range []*omemo.Format{omemo.Legacy, omemo.OMEMO2} {
		devices, bundles := keyNodes(format)
		l, err := format.ParseDevices(keysIn(t, by.ask(t, ctx, of, items(devices))))
		require.NoError(t, err)
		assert.EqualValues(t, 7, l.Devices[0].ID)
		got[format], err = format.ParseBundle(keysIn(t, by.ask(t, ctx, of, items(bundles))))
		require.NoError(t, err)
		assert.Len(t, got[format].PreKeys, 1)
	}
	return got
}

func keyNodes(f *omemo.Format) (devices, bundles string) {
	if f == omemo.Legacy {
		return omemo.NodeLegacyDevices, omemo.NodeLegacyBundles + device
	}
	return omemo.NodeOMEMO2Devices, omemo.NodeOMEMO2Bundles
}

func items(node string) *component.Element {
	return component.NewElement(nsPubsub, "pubsub").Add(component.NewElement(nsPubsub, "items").With("node", node))
}

// keysIn is the payload of the first item of a result.
func keysIn(t *testing.T, s *component.Stanza) *component.Element {
	t.Helper()
	if s.Type != "result" {
		t.Log(s)
		return nil
	}
	for _, n := range s.Payload().Child(nsPubsub, "items").Nodes {
		for _, c := range n.Element.Nodes {
			if c.Element != nil {
				return c.Element
			}
		}
	}
	return nil
}

// publishKeys publishes for everybody, as clients do.
func publishKeys(t testing.TB, n *node, node, id, payload string) {
	t.Helper()
	field := func(name, value string) string {
		return "<field var='" + name + "'><value>" + value + "</value></field>"
	}
	options := field("FORM_TYPE", "http://jabber.org/protocol/pubsub#publish-options") + field("pubsub#access_model", "open")
	if node == omemo.NodeOMEMO2Bundles && n.host.Kind() == "prosody" { // ejabberd 23.01 has no such option
		options += field("pubsub#max_items", "max")
	}
	set(t, n, "<pubsub xmlns='"+nsPubsub+"'><publish node='"+node+"'><item id='"+id+"'>"+payload+"</item></publish>"+
		"<publish-options><x xmlns='jabber:x:data' type='submit'>"+options+"</x></publish-options></pubsub>")
}

// Contacts hear of new devices, also of what was published while either server was away.
func TestKeysAfterReturn(t *testing.T) { keysAfterReturn(t, "prosody", "keys-a", "keys-b") }

// The same with an ejabberd.
func TestKeysAfterReturnEjabberd(t *testing.T) { keysAfterReturn(t, "ejabberd", "keys-c", "keys-b") }

func keysAfterReturn(t *testing.T, kind, nameA, nameB string) {
	a, b := privateHall(t, nameA, kind), alliumNode(t, nameB, "prosody")
	acquaint(t, a, b)
	ctx := deadline(t, 4*time.Minute)
	hearsOfKeys(t, ctx, b, a)
	hears := func(id string) {
		t.Helper()
		b.expect(t, ctx, "list with device "+id, a, func(s *component.Stanza) bool {
			items := s.Child(omemo.NSPubsubEvent, "event").Child(omemo.NSPubsubEvent, "items")
			device := items.Child(omemo.NSPubsubEvent, "item").Child(omemo.NSLegacy, "list").Child(omemo.NSLegacy, "device")
			return items.AttrValue("node") == omemo.NodeLegacyDevices && device.AttrValue("id") == id
		})
	}
	list := func(id uint32) string {
		return (&omemo.DeviceList{Format: omemo.Legacy, Devices: []omemo.Device{{ID: id}}}).Element().String()
	}
	publish := func(id uint32) {
		t.Helper()
		set(t, a, "<pubsub xmlns='"+nsPubsub+"'><publish node='"+omemo.NodeLegacyDevices+"'><item id='current'>"+list(id)+"</item></publish></pubsub>")
	}
	a.stopAllium() // and nothing else: to the host the contact never went away
	publish(21)
	a.startAllium(t)
	hears("21")

	b.stopAllium()
	publish(22)
	b.startAllium(t)
	hears("22")

	a.stopAllium()
	publish(23)
	require.NoError(t, a.host.Stop())
	require.NoError(t, a.host.Start(ctx))
	a.startAllium(t)
	a.login(t)
	hears("23")
}
