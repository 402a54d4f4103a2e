package database

import (
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Nobody waits for the disk where it is written at every moment, and what is committed gets
// there soon; where it does not, somebody is told.
func TestSoon(t *testing.T) {
	s := letters(3)
	s.Soon = true
	file := testFile(t)
	db := open(t, s, file)
	assert.Equal(t, 1, get[int](t, db, "PRAGMA synchronous"), "NORMAL")
	var d told
	run(&Committer{DB: db, Soon: file, Unsaved: func(err error) { assert.NoError(t, err) }}, d.insert("a"), d.insert("bad"))
	assert.Equal(t, []string{"a <nil>", "bad torn"}, d.done)

	failed := make(chan error, 1)
	run(&Committer{DB: db, Soon: file + " which is not there", Unsaved: func(err error) { failed <- err }}, d.insert("b"))
	require.ErrorIs(t, <-failed, fs.ErrNotExist)
	assert.Equal(t, "b <nil>", d.done[2], "it outlives the process all the same")
}

// There is a pause between two flushes.
func TestSaverPauses(t *testing.T) {
	file := testFile(t)
	require.NoError(t, os.WriteFile(file+"-wal", nil, 0o600))
	began := time.Now()
	s := startSaver(file, func(err error) { t.Error(err) })
	for range 4 {
		s.save(nil)
		require.Eventually(t, func() bool { return len(s.dirty) == 0 }, 10*time.Second, time.Millisecond)
	}
	require.GreaterOrEqual(t, time.Since(began), 3*saveEvery)
	s.stop()
}

// What cannot be flushed is tried again until it is, and nothing is thrown away before. Who
// is told of it is told once.
func TestSaverFails(t *testing.T) {
	file := testFile(t)
	told := make(chan error, 100)
	s := startSaver(file, func(err error) { told <- err })
	journal, err := os.Create(file + "-recent0")
	require.NoError(t, err)
	defer journal.Close()
	_, err = journal.WriteString("what was folded")
	require.NoError(t, err)
	empty := s.retire(journal)
	for range 2 { // that many have failed
		require.Eventually(t, s.failing.Load, 10*time.Second, time.Millisecond)
		s.failing.Store(false)
	}
	st, err := journal.Stat()
	require.NoError(t, err)
	require.NotZero(t, st.Size())
	select {
	case <-empty:
		t.Fatal("it is not empty")
	default:
	}
	for len(told) > 0 {
		<-told
	}
	s.failing.Store(true)
	time.Sleep(2 * saveEvery)
	assert.Empty(t, told)

	require.NoError(t, os.WriteFile(file+"-wal", nil, 0o600))
	<-empty
	st, err = journal.Stat()
	require.NoError(t, err)
	require.Zero(t, st.Size())
	s.stop()
	assert.False(t, s.failing.Load())
	assert.Empty(t, told)
}
