package omemo

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// Clients at peers hear of a list that changed while the host could not reach the directory,
// if they hear of such from the host: each once, and what the host lets it read.
func TestRecheck(t *testing.T) {
	for name, f := range formats {
		w := newWorld(t)
		const owner = "alice@example.org"
		other, evesAt := bob+"/other", eve+"/x"
		for _, to := range []string{bobAt, other, evesAt} {
			require.NoError(t, w.says(hostSide, event(owner, to, "items", f.nodeFor(0), item("current", list(f, 1)))))
			w.gets(peerSide)
		}
		asked := func(as string) *component.Stanza {
			t.Helper()
			q := w.gets(hostSide)
			assert.Equal(t, as, q.From.String(), name)
			assert.Equal(t, owner, q.To.String())
			assert.Equal(t, f.nodeFor(0), q.Payload().Child(NSPubsub, "items").AttrValue("node"))
			return q
		}
		hears := func(who string, device uint32) {
			t.Helper()
			s := w.gets(peerSide)
			want := stanzaOf(t, event(owner, who, "items", f.nodeFor(0), item("current", list(f, device))))
			want.ID = s.ID
			assert.Equal(t, want.String(), s.String())
		}
		w.close()
		w.open()
		recheck := func() { w.settle = 0; w.Recheck() }
		answer := func(q *component.Stanza, device uint32) {
			t.Helper()
			w.tells(q, items(f.nodeFor(0), "current", list(f, device)))
		}
		recheck()
		answer(asked(bobAt), 1)
		w.nothing()
		recheck()
		answer(asked(bobAt), 2)
		hears(bobAt, 2)
		answer(asked(other), 2)
		hears(other, 2)
		w.tellsError(asked(evesAt), refusal)
		w.nothing()
		assert.NotContains(t, w.log.String(), "let peers read", "somebody else is no contact any more, that is all")
		w.still(bobAt, owner, f, list(f, 2))
		recheck()
		answer(asked(bobAt), 2)
		w.nothing()

		// Who went away, or was sent away, is not asked for.
		presence := func(from side, typ, by, to string) {
			require.NoError(t, w.says(from, "<presence xmlns='jabber:client' type='"+typ+"' from='"+by+"' to='"+to+"'/>"))
			w.gets(from.other())
		}
		presence(peerSide, "unavailable", bobAt, owner)
		recheck()
		w.tellsError(asked(other), refusal)
		w.nothing()
		for _, end := range []func(){
			func() { presence(hostSide, "unsubscribed", owner, bob) }, func() { presence(peerSide, "unsubscribe", bob, owner) },
		} {
			require.NoError(t, w.says(hostSide, event(owner, other, "items", f.nodeFor(0), item("current", list(f, 3)))))
			w.gets(peerSide)
			end()
			recheck()
			w.nothing()
		}
		w.close()
	}
}

// However many listen, so many are remembered of one list: those that were told last. Nobody
// takes the place of others with many clients.
func TestListenersAreBounded(t *testing.T) {
	w := newWorld(t)
	tell := func(to string) {
		require.NoError(t, w.says(hostSide, event("alice@example.org", to, "items", NodeLegacyDevices, item("current", list(Legacy, 1)))))
		w.gets(peerSide)
		w.sync()
	}
	remembered := func(of, first string, most int) {
		t.Helper()
		var n int
		var got string
		require.NoError(t, w.store.db.QueryRow("SELECT COUNT(*), MIN(jid) FROM listener WHERE jid LIKE ?", of+"%").Scan(&n, &got))
		assert.Equal(t, most, n)
		assert.Equal(t, first, got)
	}
	tell(bobAt)
	for i := range maxListenersOf + 2 {
		tell(fmt.Sprintf("%s/%04d", eve, i))
	}
	remembered(eve, eve+"/0002", maxListenersOf)
	remembered(bob, bobAt, 1)
	for i := range maxListeners + 2 {
		tell(fmt.Sprintf(`%04d\40x@onion.example.org/x`, i))
	}
	remembered("", `0002\40x@onion.example.org/x`, maxListeners)
}
