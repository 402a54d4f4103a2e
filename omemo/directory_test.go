package omemo

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

var down = component.NewError(stanza.Wait, stanza.RemoteServerTimeout, "")

// Somebody asks for a contact's keys, and gets what is right of the answer; when the
// contact's server is away, what is kept.
func TestReading(t *testing.T) {
	for _, c := range []struct{ from, owner string }{{alice, bob}, {bobAt, "alice@example.org"}} {
		for name, f := range formats {
			w := newWorld(t)
			b := newBundle(t, f, newSigner(t, f), 100)
			node, id := f.nodeFor(7), map[*Format]string{Legacy: "x", OMEMO2: "7"}[f]

			q := w.asks(c.from, c.owner, node, id)
			assert.Equal(t, c.from, q.From.String())
			assert.Equal(t, c.owner, q.To.String())
			assert.NotEqual(t, "1", q.ID, "nobody can guess it")
			e := b.Element()
			e.Add(component.NewElement("urn:x", "tracker"))
			taken := 0
			answer := q.Result(items(node, id, e))
			answer.Taken = func() { taken++ }
			require.NoError(t, w.send(w.side(c.owner), answer))
			a := w.gets(w.side(c.from))
			assert.Equal(t, "1", a.ID)
			assert.Equal(t, c.owner, a.From.String())
			assert.Equal(t, c.from, a.To.String())
			assert.Equal(t, b.Element().String(), payload(t, a).String(), name)
			require.NotNil(t, a.Taken, "its journey goes on")
			a.Taken()
			assert.Equal(t, 1, taken)

			w.knows(c.from, c.owner, f.nodeFor(0), "now", list(f, 7, 8))
			check := func() {
				w.away(w.side(c.owner), down)
				require.NoError(t, w.says(w.side(c.from), read(c.from, c.owner, f.nodeFor(0))))
				assert.Equal(t, list(f, 7, 8).String(), payload(t, w.gets(w.side(c.from))).String())
				require.NoError(t, w.says(w.side(c.from), read(c.from, c.owner, node, id)))
				kept, err := f.ParseBundle(payload(t, w.gets(w.side(c.from))))
				require.NoError(t, err)
				assert.Equal(t, b.SignedPreKey, kept.SignedPreKey)
				assert.Len(t, kept.PreKeys, 1)
				require.NoError(t, w.says(w.side(c.from), read(c.from, c.owner, f.nodeFor(9), "9")))
				got := w.gets(w.side(c.from))
				assert.Equal(t, stanza.RemoteServerTimeout, got.StanzaError().Condition, "of that nothing is kept")
				assert.Equal(t, "1", got.ID)
				w.away(w.side(c.owner), nil)
			}
			check()
			w.close()
			w.open() // and after a restart
			check()
			w.nothing()
		}
	}
}

// A server that answers with an error is as good as one that is away, if the error says so.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		served bool
	}{
		{component.NewError(stanza.Wait, stanza.RemoteServerTimeout, ""), true},
		{component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, ""), true},
		{component.NewError(stanza.Cancel, stanza.ServiceUnavailable, ""), true}, // a peer whose host is away
		{component.NewError(stanza.Auth, stanza.Forbidden, ""), false},
		{component.NewError(stanza.Modify, stanza.BadRequest, ""), false},
	} {
		w := newWorld(t)
		w.knows(alice, bob, NodeLegacyDevices, "current", list(Legacy, 1))
		w.tellsError(w.asks(alice, bob, NodeLegacyDevices), c.err)
		assert.Equal(t, c.served, w.gets(hostSide).Type == "result", c.err)
		w.nothing()
	}
	// What is not there any more is forgotten.
	w := newWorld(t)
	w.knows(alice, bob, NodeLegacyDevices, "current", list(Legacy, 1))
	w.tellsError(w.asks(alice, bob, NodeLegacyDevices), component.NewError(stanza.Cancel, stanza.ItemNotFound, ""))
	assert.Equal(t, stanza.ItemNotFound, w.gets(hostSide).StanzaError().Condition)
	w.away(peerSide, down)
	require.NoError(t, w.says(hostSide, read(alice, bob, NodeLegacyDevices)))
	assert.Equal(t, stanza.RemoteServerTimeout, w.gets(hostSide).StanzaError().Condition)
}

// Who asks for an item that is not there makes nothing be forgotten but that one.
func TestNoSuchItem(t *testing.T) {
	for name, f := range formats {
		w := newWorld(t)
		nodes := map[string]string{f.nodeFor(0): current, f.nodeFor(7): itemID(f)}
		w.knows(alice, bob, f.nodeFor(0), current, list(f, 7))
		w.knows(alice, bob, f.nodeFor(7), itemID(f), newBundle(t, f, newSigner(t, f), 10).Element())
		ask := func(node, id string, answer func(q *component.Stanza)) {
			answer(w.asks("mallory@example.org/x", bob, node, id))
			w.gets(hostSide)
		}
		none := func(q *component.Stanza) { w.tellsError(q, component.NewError(stanza.Cancel, stanza.ItemNotFound, "")) }
		for node := range nodes {
			for _, id := range []string{"other", ""} {
				ask(node, id, none)
				ask(node, id, func(q *component.Stanza) { w.tells(q, items(node)) })
			}
		}
		assert.Equal(t, 2, w.has("SELECT COUNT(*) FROM item"), name)
		for node, id := range nodes {
			ask(node, id, none)
		}
		assert.Zero(t, w.has("SELECT COUNT(*) FROM item"), name)
	}
}

// Who does not get an answer for a while gets what is kept, and no second answer when the
// first one comes after all; but that is kept.
func TestLateAnswer(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Patience = 20 * time.Millisecond })
	w.away(peerSide, nil)
	w.knows(alice, bob, NodeLegacyDevices, "current", list(Legacy, 1))
	q := w.asks(alice, bob, NodeLegacyDevices)
	assert.Equal(t, list(Legacy, 1).String(), payload(t, w.gets(hostSide)).String())
	w.tells(q, items(NodeLegacyDevices, "current", list(Legacy, 2)))
	w.nothing()
	w.asks(alice, bob, NodeLegacyDevices)
	assert.Equal(t, list(Legacy, 2).String(), payload(t, w.gets(hostSide)).String())

	// Where nothing is kept a late answer is as good as any, and the end is told.
	q = w.asks(alice, eve, NodeLegacyDevices)
	time.Sleep(100 * time.Millisecond) // a moment longer than the patience
	w.tells(q, items(NodeLegacyDevices, "current", list(Legacy, 3)))
	assert.Equal(t, list(Legacy, 3).String(), payload(t, w.gets(hostSide)).String())
	w.Directory.mu.Lock()
	w.expire = time.Millisecond
	w.Directory.mu.Unlock()
	q = w.asks(alice, `nobody\40y@onion.example.org`, NodeLegacyDevices)
	assert.Equal(t, stanza.RemoteServerTimeout, w.gets(hostSide).StanzaError().Condition)
	w.tells(q, items(NodeLegacyDevices, "current", list(Legacy, 3)))
	w.nothing()
}

// What nobody has asked for goes no further: not an answer by somebody else, not a second
// one, not one from the wrong side.
func TestUnasked(t *testing.T) {
	w := newWorld(t)
	good := items(NodeLegacyDevices, "current", list(Legacy, 1))
	q := w.asks(alice, bob, NodeLegacyDevices)
	for _, s := range []component.Stanza{
		{From: jid.MustParse(eve), To: q.From, ID: q.ID},
		{From: jid.MustParse(bobAt), To: q.From, ID: q.ID},
		{From: q.To, To: jid.MustParse("mallory@example.org/x"), ID: q.ID},
		{From: q.To, To: q.From, ID: "1"},
	} {
		s.Kind, s.Type = component.IQ, "result"
		ended := false
		s.Taken = func() { ended = true }
		require.NoError(t, w.send(peerSide, s.Add(items(NodeLegacyDevices, "current", list(Legacy, 66)))))
		assert.True(t, ended)
	}
	require.NoError(t, w.send(hostSide, q.Result(good)))
	w.nothing()
	w.tells(q, good)
	assert.Equal(t, "1", w.gets(hostSide).ID)
	w.tells(q, good)
	w.nothing()

	// What is none of its business passes.
	for _, xml := range []string{
		"<iq xmlns='jabber:client' type='result' id='5' from='" + bob + "' to='" + alice + "'/>",
		"<iq xmlns='jabber:client' type='error' id='5' from='" + bob + "' to='" + alice + "'/>",
		"<iq xmlns='jabber:client' type='get' id='5' from='" + bob + "' to='" + alice + "'><ping xmlns='urn:xmpp:ping'/></iq>",
		read(bobAt, "alice@example.org", "http://jabber.org/protocol/nick"),
		event(bob, alice, "items", "http://jabber.org/protocol/nick", "<item/>"),
		"<presence xmlns='jabber:client' from='" + bob + "' to='" + alice + "'/>",
		"<iq xmlns='jabber:client' type='set' id='5' from='" + bob + "' to='alice@example.org'><pubsub xmlns='" + NSPubsub + "'><subscribe node='" + NodeLegacyDevices + "' jid='" + bob + "'/></pubsub></iq>",
		"<iq xmlns='jabber:client' type='result' id='5' from='" + bob + "' to='" + alice + "'><pubsub xmlns='" + NSPubsub + "'><subscription node='" + NodeLegacyDevices + "' jid='alice@example.org' subscription='subscribed'/></pubsub></iq>",
		"<iq xmlns='jabber:client' type='result' id='5' from='" + bob + "' to='" + alice + "'><pubsub xmlns='" + NSPubsub + "'><subscriptions node='" + NodeLegacyDevices + "'/></pubsub></iq>",
	} {
		require.NoError(t, w.says(peerSide, xml))
		assert.Equal(t, stanzaOf(t, xml).String(), w.gets(hostSide).String())
	}
	// An error that came back is not bob's list, and no client must take it for that.
	bounced := strings.Replace(event(bob, alice, "items", NodeLegacyDevices, item(current, list(Legacy, 66))), "'headline'", "'error'", 1)
	require.NoError(t, w.says(peerSide, strings.Replace(bounced, "</event>", "</event><error type='wait'/>", 1)))
	got := w.gets(hostSide)
	assert.NotNil(t, got.Child(component.NSClient, "error"))
	assert.Nil(t, got.Child(NSPubsubEvent, "event"))
	w.still(alice, bob, Legacy, list(Legacy, 1))
}

// An answer that is wrong is an error to who asked, with a reason, and changes nothing.
func TestBadAnswers(t *testing.T) {
	bundle := load(t, "testdata", "legacy-bundle").String()
	big := newBundle(t, Legacy, newSigner(t, Legacy), 1)
	for i := range MaxPreKeys + 1 {
		big.PreKeys = append(big.PreKeys, PreKey{uint32(i + 1), big.PreKeys[0].Key})
	}
	many := &DeviceList{Format: Legacy}
	for i := range 3000 {
		many.Devices = append(many.Devices, Device{ID: uint32(i + 1)})
	}
	wrong := newBundle(t, Legacy, newSigner(t, Legacy), 20)
	wrong.Signature[5] ^= 1
	const bundles, devices, new = NodeLegacyBundles + "7", NodeLegacyDevices, NodeOMEMO2Devices
	for name, c := range map[string]struct {
		node, item, condition, fault string
	}{
		"signature":      {bundles, "<item id='current'>" + wrong.Element().String() + "</item>", "invalid-payload", "signedPreKeySignature is not by identityKey"},
		"truncated":      {bundles, "<item id='current'>" + strings.Replace(bundle, "<identityKey>", "<identityKey>BQ==", 1) + "</item>", "invalid-payload", "identityKey"},
		"pre-keys":       {bundles, "<item id='current'>" + big.Element().String() + "</item>", "payload-too-big", "more than 500 one-time pre-keys"},
		"nothing":        {bundles, "<item id='current'/>", "invalid-payload", "nothing in an item"},
		"two things":     {devices, "<item id='current'><list xmlns='" + NSLegacy + "'/><list xmlns='" + NSLegacy + "'/></item>", "invalid-payload", "more than one thing"},
		"devices":        {devices, "<item id='current'>" + many.Element().String() + "</item>", "payload-too-big", "more than 256 devices"},
		"version":        {new, "<item id='current'><devices xmlns='urn:xmpp:omemo:1'/></item>", "invalid-payload", "not a device list"},
		"old in new":     {new, "<item id='current'>" + list(Legacy, 1).String() + "</item>", "invalid-payload", "not a device list"},
		"publisher":      {devices, "<item id='current' publisher='" + eve + "'>" + list(Legacy, 1).String() + "</item>", "invalid-payload", "by somebody else"},
		"label":          {new, "<item id='current'><devices xmlns='" + NSOMEMO2 + "'><device id='1' label='&lt;img src=x>' labelsig=''/></devices></item>", "invalid-payload", "markup"},
		"id of a item":   {NodeOMEMO2Bundles, "<item id='0'>" + load(t, "testdata", "omemo2-bundle").String() + "</item>", "invalid-payload", "not that of a device"},
		"too many":       {NodeOMEMO2Bundles, strings.Repeat("<item id='1'/>", MaxDevices+1), "payload-too-big", "more than 256 bundles"},
		"another node":   {"", "", "invalid-payload", "another node"},
		"no pubsub":      {"-", "", "invalid-payload", "without items"},
		"device 0":       {devices, "<item id='current'>" + strings.Replace(list(Legacy, 1).String(), "1", "0", 1) + "</item>", "invalid-payload", "id that is not a number"},
		"twice the same": {devices, "<item id='current'>" + strings.Replace(list(Legacy, 1, 2).String(), "'2'", "'1'", 1) + "</item>", "invalid-payload", "more than one device"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			good := list(Legacy, 42)
			w.knows(alice, bob, devices, "current", good)
			node, payloadXML := c.node, ""
			switch c.node {
			case "":
				node, payloadXML = devices, items(bundles).String()
			case "-":
				node, payloadXML = devices, "<query xmlns='jabber:iq:version'/>"
			default:
				payloadXML = "<pubsub xmlns='" + NSPubsub + "'><items node='" + node + "'>" + c.item + "</items></pubsub>"
			}
			q := w.asks(alice, bob, node)
			w.tells(q, parse(t, payloadXML))
			a := w.gets(hostSide)
			require.Equal(t, "error", a.Type, a)
			assert.Equal(t, "1", a.ID)
			assert.Equal(t, stanza.NotAcceptable, a.StanzaError().Condition)
			assert.Contains(t, a.StanzaError().Text["en"], c.fault)
			assert.NotNil(t, a.Child(component.NSClient, "error").Child(NSPubsubErrors, c.condition), a)
			assert.Contains(t, w.log.String(), "refused")
			assert.NotContains(t, w.log.String(), "bob")

			w.away(peerSide, down)
			for _, n := range []string{node, devices} {
				require.NoError(t, w.says(hostSide, read(alice, bob, n)))
				if a := w.gets(hostSide); n == devices {
					assert.Equal(t, good.String(), payload(t, a).String(), "what was kept stays")
				} else {
					assert.Equal(t, "error", a.Type, "nothing bad is kept")
				}
			}
			w.nothing()
		})
	}
}

// Of somebody with one broken device the others can be reached.
func TestOneBadBundle(t *testing.T) {
	w := newWorld(t)
	one, other := newBundle(t, OMEMO2, newSigner(t, OMEMO2), 30), newBundle(t, OMEMO2, newSigner(t, OMEMO2), 30)
	other.Signature[1] ^= 1
	q := w.asks(alice, bob, NodeOMEMO2Bundles)
	w.tells(q, items(NodeOMEMO2Bundles, "8", other.Element(), "7", one.Element()))
	assert.Equal(t, one.Element().String(), payload(t, w.gets(hostSide)).String())
}

// Only their owner changes keys.
func TestPublisher(t *testing.T) {
	w := newWorld(t)
	publish := "<iq xmlns='jabber:client' type='set' id='5' from='" + bobAt + "' to='alice@example.org'><pubsub xmlns='" + NSPubsub + "'><publish node='" + NodeLegacyDevices + "'><item id='current'>" + list(Legacy, 66).String() + "</item></publish></pubsub></iq>"
	for _, xml := range []string{publish,
		strings.Replace(publish, "<publish ", "<subscribe/><publish ", 1),
		strings.Replace(strings.Replace(publish, NSPubsub, NSPubsubOwner, 1), "publish", "purge", 2),
	} {
		err := w.says(peerSide, xml)
		var e stanza.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, stanza.Forbidden, e.Condition)
	}
	for _, xml := range []string{
		read(bobAt, "alice@example.org/phone", NodeLegacyDevices),
		read(bobAt, "alice@example.org", NodeLegacyBundles+"07"),
		read(bobAt, "alice@example.org", NodeLegacyBundles+"2147483648"),
		strings.Replace(read(bobAt, "alice@example.org", NodeLegacyDevices), "</items>", "</items><items/>", 1),
		strings.Replace(read(bobAt, "alice@example.org", NodeLegacyDevices), "node=", "max_items='0' node=", 1),
	} {
		assert.Error(t, w.says(peerSide, xml), xml)
	}
	w.nothing()
}

// People in one room know each other's keys though one is of a stranger; others do not.
func TestStrangers(t *testing.T) {
	together := true
	w := newWorld(t, func(o *Options) {
		o.AtPeers = jid.MustParse("i.onion")
		o.Related = func(a, b jid.JID) bool {
			assert.True(t, a.Equal(a.Bare()) && b.Equal(b.Bare()))
			names := a.String() + " " + b.String()
			return together && (names == carol+" "+bob || names == bob+" "+carol)
		}
	})
	for _, c := range []struct{ from, owner, us string }{{carol + "/x", bob, "i.onion"}, {bobAt, carol, "onion.example.org"}} {
		q := w.asks(c.from, c.owner, NodeLegacyDevices)
		assert.Equal(t, c.us, q.From.String(), "the directory asks")
		w.tells(q, items(NodeLegacyDevices, "current", list(Legacy, 5)))
		a := w.gets(w.side(c.from))
		assert.Equal(t, c.owner, a.From.String())
		assert.Equal(t, c.from, a.To.String())
		assert.Equal(t, list(Legacy, 5).String(), payload(t, a).String())
		w.away(w.side(c.owner), down)
		require.NoError(t, w.says(w.side(c.from), read(c.from, c.owner, NodeLegacyDevices)))
		assert.Equal(t, list(Legacy, 5).String(), payload(t, w.gets(w.side(c.from))).String())
		w.away(w.side(c.owner), nil)
	}
	good := read(bobAt, carol, NodeLegacyDevices)
	assert.True(t, w.Stranger(stanzaOf(t, good)))
	for _, xml := range []string{
		read(bobAt, carol, "http://jabber.org/protocol/nick"), read(eve, carol, NodeLegacyDevices), read(bobAt, "jabber.org", NodeLegacyDevices),
		strings.Replace(good, "'get'", "'set'", 1), strings.Replace(good, "'get'", "'result'", 1), strings.Replace(good, "<pubsub", "<pubsub xmlns='urn:x'/><pubsub", 1),
		"<message xmlns='jabber:client' from='" + bob + "' to='" + carol + "'><body>hi</body></message>",
	} {
		assert.False(t, w.Stranger(stanzaOf(t, xml)), xml)
	}

	together = false
	assert.False(t, w.Stranger(stanzaOf(t, good)))
	q := w.asks(carol+"/x", bob, NodeLegacyDevices)
	assert.Equal(t, carol+"/x", q.From.String(), "it is for the gateway to refuse that")
	w.away(peerSide, component.NewError(stanza.Auth, stanza.Forbidden, ""))
	w.silent.Add(bob, time.Now())
	for range 10 {
		assert.ErrorContains(t, w.says(hostSide, read(carol+"/x", bob, NodeLegacyDevices)), "forbidden", "kept or not")
	}
	w.nothing()
}
