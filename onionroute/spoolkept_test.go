package onionroute

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Of two sessions of a peer the later one counts after a restart, also when both began since
// the journal did, and whether the process was ended or killed.
func TestSpoolSessionsInOrder(t *testing.T) {
	for i := range 10 {
		file := filepath.Join(t.TempDir(), "spool.sqlite")
		s, err := openSpool(file, nil)
		require.NoError(t, err)
		var want []string
		for k := range 5 {
			want = append(want, fmt.Sprint(i, k))
			require.NoError(t, s.handled(storedSession{id: want[k], peer: testX, h: uint32(9 - k)}))
		}
		require.NoError(t, s.handled(storedSession{id: want[1], peer: testX, h: 20})) // it was there before
		require.NoError(t, s.handled(storedSession{}), "one that cannot be resumed is nothing")
		order := func(s *spool) (ids []string) {
			all, err := s.sessions()
			require.NoError(t, err)
			for _, ss := range all {
				ids = append(ids, ss.id)
			}
			return ids
		}
		other := s.killed(t, file)
		assert.Equal(t, want, order(other))
		require.NoError(t, other.close())
		require.NoError(t, s.close())
		s, err = openSpool(file, nil)
		require.NoError(t, err)
		assert.Equal(t, want, order(s))
		require.NoError(t, s.close())
	}
}

// Items of a release that did not number them are as many after a kill as they were.
func TestSpoolWithoutOrders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spool.sqlite")
	older := spoolSchema
	older.Migrations = older.Migrations[:2]
	db, err := older.Open(file, nil)
	require.NoError(t, err)
	for i := range 3 {
		_, err = db.Exec("INSERT INTO item VALUES (?, ?, 'a', 'b', 1, 'chat', ?, 'alice@a.example', 'bob@b.example', 'xml', 1000, '', 0)", i+1, testX, fmt.Sprint(i))
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	s, err := openSpool(file, nil)
	require.NoError(t, err)
	defer s.close()
	items, err := s.items()
	require.NoError(t, err)
	require.Len(t, items, 3)
	done := make(chan error, 1)
	s.store(items[:1], "session", func(err error) { done <- err })
	require.NoError(t, <-done)
	other := s.killed(t, file)
	defer other.close()
	again, err := other.items()
	require.NoError(t, err)
	require.Len(t, again, 3)
	for i, it := range again {
		assert.Equal(t, fmt.Sprint(i), it.head.ID)
		assert.Equal(t, map[bool]string{true: "session"}[i == 0], it.session)
	}
}

// A spool that is reached by a link is the same by its own name: what is not in the database
// yet is beside that, and on disk in time.
func TestSpoolBehindLink(t *testing.T) {
	file, link := filepath.Join(t.TempDir(), "spool.sqlite"), filepath.Join(t.TempDir(), "spool.sqlite")
	require.NoError(t, os.Symlink(file, link))
	s, err := openSpool(link, func(err error) { t.Error(err) })
	require.NoError(t, err)
	require.NoError(t, s.handled(storedSession{id: "a", peer: testX, h: 1}))
	require.NoError(t, CheckSpool(link))
	other := s.killed(t, file)
	all, err := other.sessions()
	require.NoError(t, err)
	assert.Len(t, all, 1)
	require.NoError(t, other.close())
	require.NoError(t, s.close())
	_, err = os.Stat(link + "-recent0")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// Who comes behind the end is told.
func TestSpoolClosed(t *testing.T) {
	s, err := openSpool(filepath.Join(t.TempDir(), "spool.sqlite"), nil)
	require.NoError(t, err)
	require.NoError(t, s.close())
	assert.ErrorIs(t, s.handled(storedSession{id: "a", peer: testX, h: 1}), errClosed)
	s.tidy(time.Hour, 1)
}

// What the system refuses is no damage: nobody is told to throw the spool away.
func TestSpoolNotReadable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spool.sqlite")
	s, err := openSpool(file, nil)
	require.NoError(t, err)
	require.NoError(t, s.close())
	require.NoError(t, os.Remove(file+"-recent1"))
	require.NoError(t, os.Mkdir(file+"-recent1", 0o700))
	_, err = openSpool(file, nil)
	for _, err := range []error{err, CheckSpool(file)} {
		assert.ErrorContains(t, err, "cannot be read or written")
		assert.NotContains(t, err.Error(), "move it away")
	}
}

// A session that has ended does not come back: neither when something of it was about to be
// kept, nor when it could not be forgotten at once. Else the peer would be told, after a kill,
// that of its next session so much has been read as of the last one.
func TestEndedSessionStaysGone(t *testing.T) {
	a, x := startServer(t, newWire(), "a.example", quick, func(s *times) { s.tick = 20 * time.Millisecond }), newStranger(t)
	kept := func(want int) func() bool {
		return func() bool { all, err := a.spool.settled(t).sessions(); return err == nil && len(all) == want }
	}
	ended := newSession(x.name, "ended")
	ended.counter().received()()
	_, err := ended.tell(a.Gateway)
	require.NoError(t, err)
	require.True(t, kept(1)())
	change := func(query string) {
		require.NoError(t, a.spool.change(func(tx *sql.Tx) error { _, err := tx.Exec(query); return err }))
	}
	change("CREATE TRIGGER full BEFORE DELETE ON session BEGIN SELECT RAISE(FAIL, 'the disk is full'); END")
	a.endSession(ended)
	change("DROP TRIGGER full")
	require.Eventually(t, kept(0), 5*time.Second, 5*time.Millisecond)
	_, err = ended.tell(a.Gateway)
	require.NoError(t, err)
	require.True(t, kept(0)())

	in := x.enables(t, a)
	previd := in.smID()
	a.crash(t)
	a.start()
	in = x.opens(t, a)
	in.write("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + previd + "'/>")
	e := in.next()
	require.Equal(t, "resumed", e.Name.Local)
	assert.Equal(t, "0", e.AttrValue("h"))
}
