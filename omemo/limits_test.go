package omemo

import (
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// user is a person at a peer.
func user(i int) string { return fmt.Sprintf(`u%d\40x@onion.example.org`, i) }

// has counts what is kept.
func (w *world) has(query string) (n int) {
	w.t.Helper()
	w.sync() // what is too much goes at the end of a transaction
	require.True(w.t, w.store.queue(func(tx *sql.Tx) error { return tx.QueryRow(query).Scan(&n) }, nil))
	w.sync()
	return n
}

// shift makes all that is kept older, or newer.
func (w *world) shift(by time.Duration) {
	w.t.Helper()
	require.True(w.t, w.store.queue(func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE item SET fetched = fetched + ?", int64(by/time.Second))
		return err
	}, nil))
}

// When there are too many, those go first whose keys nobody has asked for, and then those
// whose keys were not used for longest.
func TestManyUsers(t *testing.T) {
	const users = 10
	w := newWorld(t, func(o *Options) { o.MaxUsers = users })
	w.knows(alice, bob, NodeLegacyDevices, current, list(Legacy, 1))
	w.knows(alice, eve, NodeLegacyDevices, current, list(Legacy, 1))
	require.NoError(t, w.says(hostSide, event("alice@example.org", bobAt, "items", NodeLegacyDevices, item(current, list(Legacy, 1)))))
	w.gets(peerSide)
	for i := range 5 * users {
		require.NoError(t, w.says(peerSide, event(user(i), alice, "items", NodeLegacyDevices, item(current, list(Legacy, 1)))))
		w.gets(hostSide)
	}
	assert.Equal(t, users, w.has("SELECT COUNT(*) FROM owner"))
	assert.Equal(t, users, w.has("SELECT COUNT(*) FROM item"))
	assert.Equal(t, 1, w.has("SELECT COUNT(*) FROM listener"), "a user of the host is not made up")
	w.still(alice, bob, Legacy, list(Legacy, 1))
	w.has("SELECT 1 FROM owner") // what went before is done
	require.True(t, w.store.queue(func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE owner SET used = used - 10 WHERE jid = ?", eve)
		return err
	}, nil))
	for i := range users - 1 {
		w.knows(alice, user(i), NodeLegacyDevices, current, list(Legacy, 1))
	}
	w.still(alice, bob, Legacy, list(Legacy, 1))
	w.still(alice, eve, Legacy, nil)
	assert.Equal(t, users, w.store.users)
	w.close()
	w.open(func(o *Options) { o.MaxUsers = 3 })
	w.knows(alice, bob, NodeLegacyDevices, current, list(Legacy, 2))
	assert.Equal(t, 3, w.has("SELECT COUNT(*) FROM owner"))
}

// The id of an item is kept, and is not of any length.
func TestLongItemID(t *testing.T) {
	w := newWorld(t)
	id := strings.Repeat("x", maxItemID)
	require.NoError(t, w.says(peerSide, event(bob, alice, "items", NodeLegacyDevices, item(id, list(Legacy, 1)))))
	w.gets(hostSide)
	assert.Equal(t, maxItemID, w.has("SELECT LENGTH(item) FROM item"))
	require.NoError(t, w.says(peerSide, event(bob, alice, "items", NodeLegacyDevices, item(id+"x", list(Legacy, 2)))))
	w.nothing()
	require.NoError(t, w.says(peerSide, event(bob, alice, "items", Legacy.nodeFor(1), item(id+"x", newBundle(t, Legacy, newSigner(t, Legacy), 1).Element()))))
	w.nothing()
	assert.Equal(t, maxItemID, w.has("SELECT SUM(LENGTH(item)) FROM item"))
}

// Nobody can fill the disk: not one user, and not many.
func TestMuchOfOne(t *testing.T) {
	const max = 3 << 20
	w := newWorld(t, func(o *Options) { o.MaxBytes = max })
	big := newBundle(t, Legacy, newSigner(t, Legacy), MaxPreKeys)
	payload := big.Element()
	for u := range 4 {
		for i := range maxBundlesKept + 5 {
			require.NoError(t, w.says(peerSide, event(user(u), alice, "items", Legacy.nodeFor(uint32(i+1)), item(current, payload))))
			w.gets(hostSide)
		}
	}
	total := w.has("SELECT SUM(LENGTH(xml)) FROM item")
	assert.LessOrEqual(t, total, max)
	assert.EqualValues(t, total, w.store.bytes)
	assert.LessOrEqual(t, w.has("SELECT MAX(bytes) FROM owner"), maxBytesKept)

	small := newBundle(t, Legacy, newSigner(t, Legacy), 1).Element()
	for i := range maxBundlesKept + 5 {
		require.NoError(t, w.says(peerSide, event(bob, alice, "items", Legacy.nodeFor(uint32(i+1)), item(current, small))))
		w.gets(hostSide)
	}
	assert.Equal(t, maxBundlesKept, w.has("SELECT COUNT(*) FROM item WHERE owner = (SELECT id FROM owner WHERE jid = '"+bob+"')"))
	// Those of devices that are not on the list go with the list.
	require.NoError(t, w.says(peerSide, event(bob, alice, "items", NodeLegacyDevices, item(current, list(Legacy, 5, 6)))))
	w.gets(hostSide)
	assert.Equal(t, 3, w.has("SELECT COUNT(*) FROM item WHERE owner = (SELECT id FROM owner WHERE jid = '"+bob+"')"))
}

// Who asks for too much at a time is told so, and others are not.
func TestManyQuestions(t *testing.T) {
	w := newWorld(t)
	for range maxAskedByOne {
		w.asks(alice, bob, NodeLegacyDevices)
	}
	err := w.says(hostSide, read(alice, bob, NodeLegacyDevices))
	assert.ErrorIs(t, err, stanza.Error{Condition: stanza.ResourceConstraint})
	q := w.asks("other@example.org/x", bob, NodeLegacyDevices)
	w.tells(q, items(NodeLegacyDevices, current, list(Legacy, 1)))
	w.gets(hostSide)
	w.Directory.mu.Lock()
	assert.Len(t, w.counts, 1)
	w.Directory.mu.Unlock()
}

// A peer that makes up users, and answers nothing, does not keep the directory from fetching
// what others have.
func TestManyFetches(t *testing.T) {
	const devices = 64
	w := newWorld(t)
	var many []uint32
	for i := range devices {
		many = append(many, uint32(i+1))
	}
	for i := range maxAskedByUs / devices {
		w.fetchBundles(jid.MustParse(user(i)), Legacy, many)
		for range devices {
			w.gets(peerSide)
		}
	}
	w.fetchBundles(jid.MustParse(bob), Legacy, []uint32{7})
	q := w.gets(peerSide)
	w.tells(q, items(Legacy.nodeFor(7), current, newBundle(t, Legacy, newSigner(t, Legacy), 10).Element()))
	assert.Equal(t, 1, w.has("SELECT COUNT(*) FROM item"))
	w.Directory.mu.Lock()
	assert.Len(t, w.asked, maxAskedByUs-1)
	w.Directory.mu.Unlock()
}

// What was kept while the clock was wrong is not believed to be fresh until that time comes.
func TestClockOfTheFuture(t *testing.T) {
	w := newWorld(t)
	w.knows(alice, bob, NodeLegacyDevices, current, list(Legacy, 7))
	w.knows(alice, bob, Legacy.nodeFor(7), current, newBundle(t, Legacy, newSigner(t, Legacy), 10).Element())
	w.shift(1000 * 24 * time.Hour)
	w.settle = 0
	w.renewed.Purge() // and not that it was looked for just now
	w.tells(w.asks(alice, bob, NodeLegacyDevices), items(NodeLegacyDevices, current, list(Legacy, 7)))
	w.gets(hostSide)
	q := w.gets(peerSide)
	assert.Equal(t, Legacy.nodeFor(7), q.Payload().Child(NSPubsub, "items").AttrValue("node"))
	assert.Equal(t, 1, w.has(fmt.Sprintf("SELECT COUNT(*) FROM item WHERE fetched <= %d", time.Now().Unix())))
}

// What a disk has made of keys is not served, and what is too old is not.
func TestDamage(t *testing.T) {
	for _, change := range []string{
		"UPDATE item SET xml = x'00ff'", "UPDATE item SET xml = '<list xmlns=''eu.siacs.conversations.axolotl''><device id=''0''/></list>'",
		fmt.Sprintf("UPDATE item SET fetched = %d", time.Now().Add(-31*24*time.Hour).Unix()),
	} {
		w := newWorld(t)
		w.knows(alice, bob, NodeLegacyDevices, current, list(Legacy, 1))
		require.True(t, w.store.queue(func(tx *sql.Tx) error { _, err := tx.Exec(change); return err }, nil))
		w.still(alice, bob, Legacy, nil)
		w.knows(alice, bob, NodeLegacyDevices, current, list(Legacy, 2))
		w.still(alice, bob, Legacy, list(Legacy, 2))
	}
	// A disk that is full costs what would be kept, and nothing else.
	w := newWorld(t)
	require.True(t, w.store.queue(func(tx *sql.Tx) error {
		_, err := tx.Exec("CREATE TRIGGER full BEFORE INSERT ON item BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
		return err
	}, nil))
	w.knows(alice, bob, NodeLegacyDevices, current, list(Legacy, 1))
	w.still(alice, bob, Legacy, nil)
	assert.Contains(t, w.log.String(), "is the disk full?")
	assert.Zero(t, w.store.users)

	st, err := os.Stat(w.file)
	require.NoError(t, err)
	assert.Zero(t, st.Mode().Perm()&0o077, "who asked for whose keys is nobody's business")
	require.NoError(t, CheckFile(w.file))
	require.NoError(t, CheckFile(w.file+"-not-there"))
	require.True(t, w.store.queue(func(tx *sql.Tx) error { _, err := tx.Exec("PRAGMA user_version = 99"); return err }, nil))
	w.close()
	_, err = OpenDirectory(w.file, Options{})
	assert.ErrorContains(t, err, "newer Allium")
	assert.ErrorContains(t, CheckFile(w.file), "newer Allium")
	require.NoError(t, os.WriteFile(w.file, []byte(strings.Repeat("not a database", 1000)), 0o600))
	assert.Error(t, CheckFile(w.file))
	_, err = OpenDirectory(w.file, Options{})
	assert.ErrorContains(t, err, "move it away")
}

// FuzzDirectory lets anything come from both sides: nothing goes further that is not right,
// and nothing is answered twice.
func FuzzDirectory(f *testing.F) {
	bundle := newBundle(f, Legacy, newSigner(f, Legacy), 2).Element().String()
	for _, seed := range []string{
		read(alice, bob, NodeLegacyDevices), read(bobAt, "alice@example.org", NodeOMEMO2Bundles, "7"),
		event(bob, alice, "items", NodeLegacyDevices, item(current, list(Legacy, 1))),
		event("alice@example.org", bobAt, "items", NodeLegacyBundles+"3", "<item id='x'>"+bundle+"</item><retract id='1'/>"),
		event(bob, alice, "delete", NodeOMEMO2Devices, ""),
		"<iq xmlns='jabber:client' type='result' id='1' from='" + bob + "' to='" + alice + "'>" + items(NodeLegacyDevices, current, list(Legacy, 4)).String() + "</iq>",
		"<iq xmlns='jabber:client' type='error' id='1' from='" + bob + "' to='" + alice + "'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
		"<message xmlns='jabber:client' from='example.org' to='onion.example.org'><privilege xmlns='urn:xmpp:privilege:2'><perm access='iq'><namespace ns='" + NSPubsub + "' type='get'/></perm></privilege></message>",
		"<message xmlns='jabber:client' from='" + bob + "' to='" + alice + "'><body/><event xmlns='" + NSPubsubEvent + "'/></message>",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	w := newWorld(f)
	defer func() { w.t = f }()
	f.Fuzz(func(t *testing.T, xml string, fromHost bool) {
		w.t = t
		e, err := parseAny(xml)
		if err != nil {
			return
		}
		s, err := component.ParseStanza(e)
		if err != nil {
			return
		}
		from := peerSide
		if fromHost {
			from = hostSide
		}
		request := s.IsRequest()
		if s.Kind == component.IQ && !request { // the answer to a question
			q := w.asks(map[side]string{hostSide: bobAt, peerSide: alice}[from], map[side]string{hostSide: "alice@example.org", peerSide: bob}[from], NodeLegacyDevices)
			s.ID, s.From, s.To = q.ID, q.To, q.From
		}
		if w.send(from, s) == nil && request {
			w.drain(t, from.other())
		}
		w.sync()
		for at := range w.out {
			w.drain(t, side(at))
		}
		w.Directory.mu.Lock()
		defer w.Directory.mu.Unlock()
		for key, q := range w.asked {
			w.remove(key, q)
		}
	})
}

func parseAny(xml string) (*component.Element, error) {
	return component.NewContentDecoder(strings.NewReader(xml), component.NSClient, component.Limits{}).Next()
}

func (w *world) drain(t *testing.T, at side) {
	for {
		select {
		case s := <-w.out[at]:
			for _, n := range s.Nodes {
				if n.Element != nil && s.Type != "error" {
					right(t, n.Element)
				}
			}
		default:
			return
		}
	}
}

// right asserts that there are no keys in e that are wrong.
func right(t *testing.T, e *component.Element) {
	if !e.Is(NSPubsubEvent, "event") && !e.Is(NSPubsub, "pubsub") {
		return
	}
	for _, c := range e.Nodes {
		name := c.Element.AttrValue("node")
		if c.Element == nil || !isOMEMO(name) || c.Element.Name.Local != "items" || !anyOMEMO(e) {
			continue
		}
		n, ok := nodeOf(name)
		require.True(t, ok, e)
		for _, it := range c.Element.Nodes {
			if it.Element != nil && it.Element.Name.Local == "item" && len(it.Element.Nodes) > 0 {
				_, err := n.one(it.Element, jid.JID{})
				require.NoError(t, err, e)
			}
		}
	}
}
