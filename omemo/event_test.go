package omemo

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

func item(id string, payload *component.Element) string {
	return strings.Replace(component.NewElement(NSPubsubEvent, "item").With("id", id).Add(payload).String(), " xmlns='"+NSPubsubEvent+"'", "", 1)
}

// still asserts what is kept of a list, nil for nothing. It makes the owner's side be away.
func (w *world) still(from, owner string, f *Format, want *component.Element) {
	w.t.Helper()
	at := w.side(owner)
	w.away(at, down)
	defer w.away(at, nil)
	require.NoError(w.t, w.says(at.other(), read(from, owner, f.nodeFor(0))))
	a := w.gets(at.other())
	if want == nil {
		assert.Equal(w.t, stanza.RemoteServerTimeout, a.StanzaError().Condition, a)
		return
	}
	assert.Equal(w.t, want.String(), payload(w.t, a).String())
}

// Notifications go on, each way, and what they tell is kept.
func TestNotifications(t *testing.T) {
	for _, c := range []struct{ owner, to, asker string }{{bob, alice, alice}, {"alice@example.org", bobAt, bobAt}} {
		for name, f := range formats {
			w := newWorld(t)
			from := w.side(c.owner)
			l := list(f, 1, 2)
			l.Add(component.NewElement("urn:x", "tracker"))
			require.NoError(t, w.says(from, event(c.owner, c.to, "items", f.nodeFor(0), item("9", l))))
			got := w.gets(from.other())
			assert.Equal(t, stanzaOf(t, event(c.owner, c.to, "items", f.nodeFor(0), item("9", list(f, 1, 2)))).String(), got.String(), name)
			w.still(c.asker, c.owner, f, list(f, 1, 2))

			// What is gone is gone: but not what was replaced by something newer.
			for _, e := range []struct {
				kind, inside string
				left         *component.Element
			}{
				{"configuration", "", list(f, 1, 2)},
				{"items", "<retract id='8'/>", list(f, 1, 2)},
				{"items", "<retract id='9'/>", nil},
				{"items", item("9", list(f, 3)), list(f, 3)},
				{"purge", "", nil},
				{"items", item("9", list(f, 4)), list(f, 4)},
				{"delete", "", nil},
			} {
				xml := event(c.owner, c.to, e.kind, f.nodeFor(0), e.inside)
				require.NoError(t, w.says(from, xml))
				assert.Equal(t, stanzaOf(t, xml).String(), w.gets(from.other()).String())
				w.still(c.asker, c.owner, f, e.left)
			}
			w.nothing()
		}
	}
}

// A notification that is wrong, or not by the owner, goes nowhere and changes nothing.
func TestBadNotifications(t *testing.T) {
	good := item("current", list(Legacy, 66))
	for name, c := range map[string]struct {
		from side
		xml  string
	}{
		"by a client":                   {peerSide, event(bobAt, alice, "items", NodeLegacyDevices, good)},
		"by a server":                   {peerSide, event("x@onion.example.org", alice, "items", NodeLegacyDevices, item("current", list(OMEMO2, 1)))},
		"by a local user, from outside": {peerSide, event("alice@example.org", alice, "items", NodeLegacyDevices, good)},
		"bad, by a stranger":            {hostSide, event(carol, bobAt, "items", NodeLegacyDevices, strings.Replace(good, "66", "-66", 1))},
		"by the host":                   {hostSide, event("example.org", bobAt, "items", NodeLegacyDevices, good)},
		"published by another":          {peerSide, event(bob, alice, "items", NodeLegacyDevices, strings.Replace(good, "<item ", "<item publisher='"+eve+"' ", 1))},
		"of no node":                    {peerSide, event(bob, alice, "items", NSLegacy+".x", good)},
		"of a bad device":               {peerSide, event(bob, alice, "items", NodeLegacyBundles+"-1", good)},
		"of an unknown kind":            {peerSide, event(bob, alice, "collection", NodeLegacyDevices, good)},
		"bad list":                      {peerSide, event(bob, alice, "items", NodeLegacyDevices, strings.Replace(good, "66", "-66", 1))},
		"bad bundle":                    {peerSide, event(bob, alice, "items", NodeLegacyBundles+"1", good)},
		"two nodes":                     {peerSide, strings.Replace(event(bob, alice, "items", NodeLegacyDevices, good), "<items", "<items node='urn:x'/><items", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.knows(alice, bob, NodeLegacyDevices, "current", list(Legacy, 1))
			w.knows(bobAt, "alice@example.org", NodeLegacyDevices, "current", list(Legacy, 2))
			require.NoError(t, w.says(c.from, c.xml))
			w.nothing()
			w.still(alice, bob, Legacy, list(Legacy, 1))
			w.still(bobAt, "alice@example.org", Legacy, list(Legacy, 2))
			assert.Contains(t, w.log.String(), "refused")
			assert.NotContains(t, w.log.String(), "bob")

			// What somebody wrote goes on without it.
			require.NoError(t, w.says(c.from, strings.Replace(c.xml, "<event", "<body>hi</body><event", 1)))
			got := w.gets(c.from.other())
			assert.Equal(t, "hi", got.Body())
			assert.Len(t, got.Nodes, 1)
		})
	}
}

// By an alias strangers can be contacts of somebody at a peer, who hears of their devices.
// Whether that is so the gateway knows, and so nothing of it is kept.
func TestNotificationsOfStrangers(t *testing.T) {
	w := newWorld(t)
	w.knows(alice, bob, NodeLegacyDevices, "current", list(Legacy, 1))
	for _, by := range []string{carol, bob} {
		for _, inside := range []string{item("current", list(Legacy, 66)), "<retract id='current'/>"} {
			xml := event(by, bobAt, "items", NodeLegacyDevices, inside)
			require.NoError(t, w.says(hostSide, xml))
			assert.Equal(t, stanzaOf(t, xml).String(), w.gets(peerSide).String())
		}
	}
	assert.Equal(t, 1, w.has("SELECT COUNT(*) FROM owner"))
	assert.Zero(t, w.has("SELECT COUNT(*) FROM listener"))
	w.still(alice, bob, Legacy, list(Legacy, 1))
}

// With a list of a contact come the bundles, so that they are there when the contact's
// server is not.
func TestRenewal(t *testing.T) {
	for name, f := range formats {
		w := newWorld(t)
		w.settle = 0
		b := newBundle(t, f, newSigner(t, f), 100)
		require.NoError(t, w.says(peerSide, event(bob, alice, "items", f.nodeFor(0), item("current", list(f, 7)))))
		w.gets(hostSide)
		q := w.gets(peerSide)
		assert.Equal(t, "onion.example.org", q.From.String())
		assert.Equal(t, bob, q.To.String())
		assert.Equal(t, f.nodeFor(7), q.Payload().Child(NSPubsub, "items").AttrValue("node"), name)
		w.tells(q, items(f.nodeFor(7), "7", b.Element()))
		w.nothing()
		w.away(peerSide, down)
		require.NoError(t, w.says(hostSide, read(alice, bob, f.nodeFor(7), "7")))
		kept, err := f.ParseBundle(payload(t, w.gets(hostSide)))
		require.NoError(t, err)
		assert.Equal(t, b.IdentityKey, kept.IdentityKey)

		// That is not done again and again, not for who has no devices, and not for users here.
		w.away(peerSide, nil)
		for range 3 {
			require.NoError(t, w.says(peerSide, event(bob, alice, "items", f.nodeFor(0), item("current", list(f, 8)))))
			w.gets(hostSide)
		}
		require.NoError(t, w.says(peerSide, event(eve, alice, "items", f.nodeFor(0), item("current", list(f)))))
		w.gets(hostSide)
		require.NoError(t, w.says(hostSide, event("alice@example.org", bobAt, "items", f.nodeFor(0), item("current", list(f, 8)))))
		w.gets(peerSide)
		time.Sleep(50 * time.Millisecond)
		w.nothing()
	}
	// A device that is new soon after that has its turn, and all such have one.
	w := newWorld(t)
	w.settle, w.pause = 0, 100*time.Millisecond
	hears := func(devices ...uint32) {
		require.NoError(t, w.says(peerSide, event(bob, alice, "items", NodeLegacyDevices, item("current", list(Legacy, devices...)))))
		w.gets(hostSide)
	}
	fetches := func(device uint32) {
		q := w.gets(peerSide)
		require.Equal(t, Legacy.nodeFor(device), q.Payload().Child(NSPubsub, "items").AttrValue("node"))
		w.tells(q, items(Legacy.nodeFor(device), "x", newBundle(t, Legacy, newSigner(t, Legacy), 10).Element()))
	}
	hears(7)
	fetches(7)
	hears(7, 8)
	hears(7, 8, 9)
	fetches(8)
	fetches(9)
	w.Directory.mu.Lock()
	w.pause = time.Hour
	w.Directory.mu.Unlock()
	hears(7, 8, 9, 10)
	due, _ := w.renewed.Peek(NSLegacy + " " + bob)
	hears(7, 8, 9, 10)
	again, _ := w.renewed.Peek(NSLegacy + " " + bob)
	assert.Equal(t, due, again)

	// A notification without content says that there is a new list, and that has bundles.
	w = newWorld(t)
	w.settle = 0
	require.NoError(t, w.says(peerSide, event(bob, alice, "items", NodeLegacyDevices, "<item id='current'/>")))
	assert.Nil(t, w.gets(hostSide).Payload().Child(NSPubsubEvent, "items").Child(NSPubsubEvent, "item").Nodes)
	q := w.gets(peerSide)
	assert.Equal(t, NodeLegacyDevices, q.Payload().Child(NSPubsub, "items").AttrValue("node"))
	w.tells(q, items(NodeLegacyDevices, "current", list(Legacy, 1)))
	q = w.gets(peerSide)
	assert.Equal(t, Legacy.nodeFor(1), q.Payload().Child(NSPubsub, "items").AttrValue("node"))
	w.still(alice, bob, Legacy, list(Legacy, 1))
}
