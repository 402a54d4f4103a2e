package omemo

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// An own is a device that is published at the gateway.
type own struct {
	*OwnDevice
	t    *testing.T
	file string
	late time.Duration // how far its clock is ahead
}

func newOwn(t *testing.T) *own {
	o := &own{t: t, file: filepath.Join(t.TempDir(), "device.sqlite")}
	o.open()
	t.Cleanup(func() { o.Close() })
	return o
}

func (o *own) open() {
	o.t.Helper()
	var err error
	o.OwnDevice, err = OpenOwnDevice(o.file)
	require.NoError(o.t, err)
	o.OwnDevice.now = func() time.Time { return time.Now().Add(o.late) }
}

// ask is the answer to a request, or the error.
func (o *own) ask(xml string) *component.Stanza {
	o.t.Helper()
	var answer *component.Stanza
	sv := component.NewService(sender(func(_ context.Context, s *component.Stanza) error { answer = s; return nil }))
	o.Publish(sv)
	s := stanzaOf(o.t, xml)
	if err := sv.HandleStanza(o.t.Context(), s); err != nil {
		return s.Error(err)
	}
	return answer
}

// published is what is read of the device in one format.
func (o *own) published(f *Format) (uint32, *Bundle) {
	o.t.Helper()
	l, err := f.ParseDevices(payload(o.t, o.ask(read(alice, "onion.example.org", f.nodeFor(0)))))
	require.NoError(o.t, err)
	require.Len(o.t, l.Devices, 1)
	id := l.Devices[0].ID
	var ids []string
	if f == OMEMO2 {
		ids = []string{formatID(id)}
	}
	b, err := f.ParseBundle(payload(o.t, o.ask(read(alice, "onion.example.org", f.nodeFor(id), ids...))))
	require.NoError(o.t, err)
	return id, b
}

// What Allium publishes of its own device others begin sessions with, and it is the same
// after a restart.
func TestOwnDevice(t *testing.T) {
	o := newOwn(t)
	folder := t.TempDir()
	bundles := map[*Format]*Bundle{}
	for name, f := range formats {
		id, b := o.published(f)
		assert.Len(t, b.PreKeys, 100)
		assert.Equal(t, o.id, id)
		bundles[f] = b
		save(t, folder, name+"-bundle", b.Element())
		save(t, folder, name+"-devices", (&DeviceList{Format: f, Devices: []Device{{ID: id}}}).Element())
	}
	for name, m := range python(t, "check", folder) {
		m := m.(map[string]any)
		assert.NotContains(t, m, "refused", name)
		assert.Len(t, m["bundle"].(map[string]any)["preKeys"], 100, name)
	}
	st, err := os.Stat(o.file)
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, st.Mode().Perm())
	id := o.id
	require.NoError(t, o.Close())
	o.open()
	for f, b := range bundles {
		again, kept := o.published(f)
		assert.Equal(t, id, again)
		assert.Equal(t, b, kept)
	}
}

// Clients see that they can ask, and hear of what there is not.
func TestOwnDeviceNodes(t *testing.T) {
	o := newOwn(t)
	info := o.ask("<iq xmlns='jabber:client' type='get' id='1' from='" + alice + "' to='onion.example.org'><query xmlns='" + component.NSDiscoInfo + "'/></iq>").String()
	assert.Contains(t, info, "category='pubsub' type='pep'")
	assert.Contains(t, info, "var='"+NSPubsub+"#retrieve-items'")
	for _, xml := range []string{
		read(alice, "onion.example.org", Legacy.nodeFor(o.id^1)),
		read(alice, "onion.example.org", NodeOMEMO2Bundles, formatID(o.id^1)),
		read(alice, "onion.example.org", NodeLegacyDevices, "another"),
		read(alice, "onion.example.org", "http://jabber.org/protocol/nick"),
	} {
		assert.Equal(t, stanza.ItemNotFound, o.ask(xml).StanzaError().Condition, xml)
	}
	_, all := o.published(OMEMO2)
	assert.Equal(t, all.Element().String(), payload(t, o.ask(read(alice, "onion.example.org", NodeOMEMO2Bundles))).String())
}

// What a service at the gateway's address answers passes a directory, which has let the
// question pass; the same of an account nobody has asked for.
func TestOwnDeviceBehindDirectory(t *testing.T) {
	o, w := newOwn(t), newWorld(t)
	answer := o.ask(read(alice, "onion.example.org", NodeLegacyDevices))
	require.NoError(t, w.send(peerSide, answer))
	assert.Equal(t, answer, w.gets(hostSide))
	answer.From = jid.MustParse(bob)
	require.NoError(t, w.send(peerSide, answer))
	w.nothing()
}

// signed are the ids of the signed pre-keys that can still be used, in one format.
func (o *own) signed(f *Format) []uint32 {
	o.t.Helper()
	tx, err := o.db.Begin()
	require.NoError(o.t, err)
	defer tx.Rollback()
	ids, err := column[uint32](tx, "SELECT id FROM prekey WHERE format = ? AND signature IS NOT NULL ORDER BY made", f.namespace)
	require.NoError(o.t, err)
	return ids
}

// The signed pre-key is another one each week, and the old one is kept for a month.
func TestOwnDeviceRotation(t *testing.T) {
	for _, f := range formats {
		o := newOwn(t)
		_, first := o.published(f)
		const day = 24 * time.Hour
		at := func(late time.Duration) *Bundle {
			o.late = late
			o.round()
			_, b := o.published(f)
			assert.Equal(t, first.IdentityKey, b.IdentityKey)
			assert.Equal(t, first.PreKeys, b.PreKeys)
			return b
		}
		assert.Equal(t, first, at(6*day))
		second := at(7 * day)
		assert.NotEqual(t, first.SignedPreKey, second.SignedPreKey)
		assert.Equal(t, []uint32{first.SignedPreKey.ID, second.SignedPreKey.ID}, o.signed(f))
		at(36 * day)
		assert.Contains(t, o.signed(f), first.SignedPreKey.ID)
		at(37 * day)
		assert.NotContains(t, o.signed(f), first.SignedPreKey.ID)
		assert.Contains(t, o.signed(f), second.SignedPreKey.ID, "it was replaced only on day 36")
	}
}

// One-time pre-keys that are used up are replaced by others, with other ids.
func TestOwnDeviceRefill(t *testing.T) {
	for _, f := range formats {
		o := newOwn(t)
		_, before := o.published(f)
		_, err := o.db.Exec("DELETE FROM prekey WHERE signature IS NULL AND id >= ?", before.PreKeys[10].ID)
		require.NoError(t, err)
		o.round()
		_, after := o.published(f)
		require.Len(t, after.PreKeys, 100)
		assert.Equal(t, before.PreKeys[:10], after.PreKeys[:10])
		for _, k := range after.PreKeys[10:] {
			assert.False(t, slices.ContainsFunc(before.PreKeys, func(b PreKey) bool { return b.ID == k.ID }))
		}
	}
}

// A file that is damaged is not published from.
func TestOwnDeviceDamaged(t *testing.T) {
	for _, change := range []string{
		"UPDATE identity SET private = X'00'",
		"UPDATE identity SET private = RANDOMBLOB(32)",
		"UPDATE prekey SET signature = ZEROBLOB(64) WHERE signature IS NOT NULL",
		"PRAGMA user_version = 99",
	} {
		o := newOwn(t)
		_, err := o.db.Exec(change)
		require.NoError(t, err)
		require.NoError(t, o.Close())
		_, err = OpenOwnDevice(o.file)
		assert.ErrorContains(t, err, "move it away", change)
	}
}
