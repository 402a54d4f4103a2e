package onionroute

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/database"
)

// settled has the database tell all that the spool does. The journal begins not anew.
func (s *spool) settled(t *testing.T) *spool {
	done := make(chan error, 1)
	s.ops <- database.Op{Do: func(tx *sql.Tx) error { return s.recent.fold(s, tx) }, Done: func(err error) {
		if err == nil {
			s.recent.folded()
		}
		done <- err
	}}
	require.NoError(t, <-done)
	return s
}

// killed is a spool as it were if the process had ended now, but for what is lazy.
func (s *spool) killed(t *testing.T, file string) *spool {
	require.NoError(t, s.change(func(*sql.Tx) error { return nil }))
	other := filepath.Join(t.TempDir(), "spool.sqlite")
	for name, data := range spoolFiles(t, file) {
		require.NoError(t, os.WriteFile(other+name, data, 0o600))
	}
	require.NoError(t, CheckSpool(other))
	s, err := openSpool(other, nil)
	require.NoError(t, err)
	return s
}

// spoolFiles is what is on disk of a spool at this moment: what lies beside the file, by how
// its name goes on. What is folded meanwhile is there twice, and not never.
func spoolFiles(t testing.TB, file string) map[string][]byte {
	files := map[string][]byte{}
	for _, name := range []string{"-recent0", "-recent1", "", "-wal"} {
		data, err := os.ReadFile(file + name)
		require.NoError(t, err)
		files[name] = data
	}
	return files
}

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
	has := func(s *spool) []*item {
		items, err := s.items()
		require.NoError(t, err)
		got, last := map[int64]string{}, int64(0)
		for _, it := range items {
			require.Greater(t, it.order, last, "in order, and once")
			last = it.order
			got[it.order] = fmt.Sprint(it.onion, it.session, it.seq, string(it.xml), it.pair, it.head.ID)
		}
		require.Equal(t, want, got)
		return items
	}
	check := func() {
		require.NoError(t, s.close())
		s, err = openSpool(file, nil)
		require.NoError(t, err)
		all = has(s)
	}
	some := func() (picked []*item) {
		for _, it := range all {
			if rnd.IntN(3) == 0 {
				picked = append(picked, it)
			}
		}
		return picked
	}
	for round := range 300 {
		if round%10 == 0 {
			other := s.killed(t, file)
			has(other)
			require.NoError(t, other.close())
		}
		if round%40 == 39 {
			check()
		}
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
	file := filepath.Join(t.TempDir(), "spool.sqlite")
	s, err := openSpool(file, nil)
	require.NoError(t, err)
	defer s.close()
	items := make([]*item, 4)
	for i := range items {
		items[i] = &item{onion: testX, order: int64(i + 1), since: time.Now(),
			head: component.Stanza{Kind: component.Message, From: jid.MustParse("alice@a.example"), To: jid.MustParse("bob@b.example")}}
	}
	done := make(chan error, 1)
	told := func(err error) { done <- err }
	store := func(items []*item, session string) error {
		s.store(items, session, told)
		return <-done
	}
	require.NoError(t, store(items[:2], "one"))
	s.settled(t)
	require.NoError(t, store(items[1:3], "two"))
	at := func() (at []any) {
		for _, it := range items {
			at = append(at, it.slot, it.spot)
		}
		return at
	}
	var states [][]any
	look := database.Op{Do: func(*sql.Tx) error { states = append(states, at()); return nil }, Done: told}
	full := database.Op{Do: func(*sql.Tx) error { return errors.New("full") }, Done: told}
	// What is done together fails together, and then one by one.
	s.ops <- database.Op{Do: func(*sql.Tx) error {
		s.ops <- look
		s.store(items, "three", told)
		s.remove(items[:1], told)
		s.ops <- full
		return nil
	}}
	for _, failed := range []bool{false, false, false, true} {
		require.Equal(t, failed, <-done != nil)
	}
	require.Len(t, states, 2)
	require.Equal(t, states[0], states[1], "the second time, all is as it was")
	require.NotEqual(t, states[0], at())
	other := s.killed(t, file)
	defer other.close()
	kept, err := other.items()
	require.NoError(t, err)
	got := []any{}
	for _, it := range kept {
		got = append(got, it.order, it.session)
	}
	require.Equal(t, []any{int64(2), "three", int64(3), "three", int64(4), "three"}, got)
}

// Sessions are there again after a restart, as they were kept last.
func TestSpoolSessions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spool.sqlite")
	s, err := openSpool(file, nil)
	require.NoError(t, err)
	defer func() { s.close() }()
	keep := func(id, theirs string, h uint32) {
		require.NoError(t, s.handled(storedSession{id: id, theirs: theirs, peer: testX, h: h}))
	}
	end := func(ids ...string) {
		done := make(chan error, 1)
		s.endSession(ids, func(err error) { done <- err })
		require.NoError(t, <-done)
	}
	check := func(want map[string]uint32) {
		t.Helper()
		for _, killed := range []bool{true, false} {
			now := s
			if killed {
				now = s.killed(t, file)
				defer now.close()
			} else {
				require.NoError(t, s.close())
				s, err = openSpool(file, nil)
				require.NoError(t, err)
				now = s
			}
			sessions, err := now.sessions()
			require.NoError(t, err)
			got := map[string]uint32{}
			for _, ss := range sessions {
				require.Equal(t, testX, ss.peer)
				require.WithinDuration(t, time.Now(), ss.since, time.Minute)
				got[ss.id+"/"+ss.theirs] = ss.h
			}
			require.Equal(t, want, got)
		}
	}
	keep("a", "", 1)
	keep("a", "", 2)
	keep("b", "", 3)
	keep("c", "", 4)
	end("b")
	check(map[string]uint32{"a/": 2, "c/": 4})
	keep("a", "c", 5) // they are one
	keep("d", "", 6)
	check(map[string]uint32{"a/c": 5, "d/": 6})
	end("a", "c")
	keep("d", "", 1<<32-1)
	end("e")
	check(map[string]uint32{"d/": 1<<32 - 1})
}

// Between a note and the change of the database that belongs to it, the process can end.
func TestSpoolBetween(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spool.sqlite")
	s, err := openSpool(file, nil)
	require.NoError(t, err)
	done := make(chan error, 1)
	told := func(err error) { done <- err }
	items := []*item{{onion: testX, order: 1, since: time.Now(),
		head: component.Stanza{Kind: component.Message, From: jid.MustParse("alice@a.example"), To: jid.MustParse("bob@b.example")}}}
	s.store(items, "one", told)
	require.NoError(t, <-done)
	for _, id := range []string{"a", "b", "c"} {
		require.NoError(t, s.handled(storedSession{id: id, peer: testX}))
	}
	require.NoError(t, s.close())
	s, err = openSpool(file, nil) // which has it in the database
	require.NoError(t, err)
	defer s.close()
	items, err = s.items()
	require.NoError(t, err)
	s.store(items, "two", told)
	require.NoError(t, <-done)
	before := spoolFiles(t, file)
	s.remove(items, told)
	require.NoError(t, <-done)
	s.endSession([]string{"a"}, told)
	require.NoError(t, <-done)
	require.NoError(t, s.handled(storedSession{id: "b", theirs: "c", peer: testX}))
	after := spoolFiles(t, file)
	other := filepath.Join(t.TempDir(), "spool.sqlite")
	for name := range after {
		data := before[name]
		if strings.HasPrefix(name, "-recent") {
			data = after[name]
		}
		require.NoError(t, os.WriteFile(other+name, data, 0o600))
	}
	s2, err := openSpool(other, nil)
	require.NoError(t, err)
	defer s2.close()
	left, err := s2.items()
	require.NoError(t, err)
	assert.Empty(t, left)
	sessions, err := s2.sessions()
	require.NoError(t, err)
	require.Len(t, sessions, 1)
	assert.Equal(t, "b", sessions[0].id)
}

// Notes that cannot be true are damaged, and not believed.
func TestSpoolNotes(t *testing.T) {
	it := &item{onion: testX, xml: []byte("<message/>"), order: 7,
		head: component.Stanza{Kind: component.Message, From: jid.MustParse("alice@a.example"), To: jid.MustParse("bob@b.example")}}
	b := newBatch([]*item{it, it}, "session")
	b.number = 3
	note := b.appendNote(nil)
	ss := storedSession{id: "a", theirs: "b", peer: testX, h: 9}
	good := appendSessionsNote(ss.appendNote(appendDoneNotes(note, []spot{{b, 0}, {b, 1}, {}, {b, 1}})), []string{"a", "b"})
	ends := map[int]bool{0: true, len(note): true, len(good): true}
	ends[len(appendDoneNotes(note, []spot{{b, 0}, {b, 1}}))] = true
	ends[len(appendDoneNotes(note, []spot{{b, 0}, {b, 1}, {}, {b, 1}}))] = true
	ends[len(good)-len(appendSessionsNote(nil, []string{"a", "b"}))] = true
	read := func(notes []byte) error {
		s, err := openSpool(filepath.Join(t.TempDir(), "spool.sqlite"), nil)
		require.NoError(t, err)
		defer s.close()
		r, err := newReplay(s)
		require.NoError(t, err)
		return r.notes(notes)
	}
	for n := range good {
		assert.Equal(t, ends[n], read(good[:n]) == nil, n)
	}
	require.NoError(t, read(good))
	for _, bad := range [][]int64{{0}, {5}, {noteDone, 4, 0, 1}, {noteDone, 3, 2, 1}, {noteDone, 3, -1, 1}, {noteDone, 3, 0, -1}, {noteDone, 3, 1, 1 << 62}, {noteDone, 3, 1 << 62, 1}} {
		require.ErrorIs(t, read(appendNumbers(note, bad...)), errDamaged, bad)
	}
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
