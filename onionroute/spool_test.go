package onionroute

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// What waited in a file of an older release waits still.
func TestSpoolOlderFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spool.sqlite")
	older := spoolSchema
	older.Migrations = older.Migrations[:4]
	db, err := older.Open(file, nil)
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO item VALUES (7, ?, 'a', 'b', 1, 'chat', 'id', 'alice@a.example', 'bob@b.example', 'xml', 1000, 'session', 3, 9)", testX)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	s, err := openSpool(file, nil)
	require.NoError(t, err)
	defer s.close()
	items, err := s.items()
	require.NoError(t, err)
	require.Len(t, items, 1)
	it := items[0]
	assert.Equal(t, []any{testX, pair{"a", "b"}, "chat", "id", "alice@a.example", "bob@b.example", "xml", "session", uint32(3), int64(9)},
		[]any{it.onion, it.pair, it.head.Type, it.head.ID, it.head.From.String(), it.head.To.String(), string(it.xml), it.session, it.seq, it.order})
}

// Whatever is stored, moved and removed, in whatever order, is there again after a
// restart: each item once, where it was written last, and nothing else.
func TestSpoolBatches(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spool.sqlite")
	s, err := openSpool(file, nil)
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	var all []*item // that are to be there
	want := map[int64]string{}
	next := int64(0)
	say := func(it *item, session string) {
		want[it.order] = fmt.Sprint(it.onion, session, it.seq, string(it.xml), it.pair, it.head.ID)
	}
	some := func() (picked []*item) {
		for _, it := range all {
			if rnd.IntN(3) == 0 {
				picked = append(picked, it)
			}
		}
		return picked
	}
	for range 300 {
		session := fmt.Sprint("session", rnd.IntN(3))
		items := some()
		switch rnd.IntN(3) {
		case 0: // removed
			s.remove(items, func(err error) { assert.NoError(t, err) })
			for _, it := range items {
				all = slices.DeleteFunc(all, func(o *item) bool { return o == it })
				delete(want, it.order)
			}
			continue
		case 1: // written again, in another session, with some that are new
			if len(items) > 10 {
				items = items[:10]
			}
		case 2:
			items = nil
		}
		for range 1 + rnd.IntN(20) {
			next++
			it := &item{onion: testX, pair: pair{"from", "to"}, kept: true, order: next, xml: []byte(fmt.Sprint("<message>", next)), since: time.Now(),
				head: component.Stanza{Kind: component.Message, Type: "chat", ID: fmt.Sprint(next), From: jid.MustParse("alice@a.example/é"), To: jid.MustParse("bob@b.example")}}
			items, all = append(items, it), append(all, it)
		}
		for _, it := range items {
			it.seq = rnd.Uint32()
			say(it, session)
		}
		s.store(items, session, func(err error) { assert.NoError(t, err) })
	}
	check := func() {
		require.NoError(t, s.close())
		s, err = openSpool(file, nil)
		require.NoError(t, err)
		all, err = s.items()
		require.NoError(t, err)
		got, last := map[int64]string{}, int64(0)
		for _, it := range all {
			require.Greater(t, it.order, last, "in order, and once")
			last = it.order
			got[it.order] = fmt.Sprint(it.onion, it.session, it.seq, string(it.xml), it.pair, it.head.ID)
		}
		require.Equal(t, want, got)
	}
	check()
	s.remove(all, func(err error) { assert.NoError(t, err) })
	clear(want)
	check()
	rows := 0
	require.NoError(t, s.db.QueryRow("SELECT (SELECT COUNT(*) FROM batch) + (SELECT COUNT(*) FROM thinned)").Scan(&rows))
	require.Zero(t, rows, "nothing is left of what was removed")
	require.NoError(t, s.close())
}

// What could not be stored is where it was: a failure costs no item that is on disk.
func TestSpoolFailure(t *testing.T) {
	s, err := openSpool(filepath.Join(t.TempDir(), "spool.sqlite"), nil)
	require.NoError(t, err)
	defer s.close()
	items := make([]*item, 3)
	for i := range items {
		items[i] = &item{onion: testX, order: int64(i + 1), since: time.Now(),
			head: component.Stanza{Kind: component.Message, From: jid.MustParse("alice@a.example"), To: jid.MustParse("bob@b.example")}}
	}
	done := make(chan error, 1)
	store := func(items []*item, session string) error {
		s.store(items, session, func(err error) { done <- err })
		return <-done
	}
	require.NoError(t, store(items[:2], "one"))
	_, err = s.db.Exec("CREATE TRIGGER full BEFORE INSERT ON batch BEGIN SELECT RAISE(ABORT, 'full'); END")
	require.NoError(t, err)
	before := []slot{items[0].slot, items[1].slot, items[2].slot}
	require.ErrorContains(t, store(items, "two"), "full")
	require.Equal(t, before, []slot{items[0].slot, items[1].slot, items[2].slot})
	_, err = s.db.Exec("DROP TRIGGER full")
	require.NoError(t, err)
	s.remove(items[1:], func(err error) { done <- err }) // the last one is nowhere
	require.NoError(t, <-done)
	kept, err := s.items()
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.Equal(t, []any{int64(1), "one"}, []any{kept[0].order, kept[0].session})
}

// A row that is damaged is an error, and nothing is read from it.
func TestSpoolDamaged(t *testing.T) {
	it := &item{onion: testX, pair: pair{"from", "to"}, xml: []byte("<message/>"), since: time.Now(), order: 7,
		head: component.Stanza{Kind: component.Message, ID: "id", From: jid.MustParse("alice@a.example"), To: jid.MustParse("bob@b.example")}}
	record := it.appendRecord(nil)
	items, err := readRecords(append(record, record...))
	require.NoError(t, err)
	require.Len(t, items, 2)
	for n := 1; n < len(record); n++ {
		_, err := readRecords(record[:n])
		require.Error(t, err, n)
	}
}
