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

// There is a pause between two flushes, and who is told of a failure is told once.
func TestSaverPauses(t *testing.T) {
	file := testFile(t)
	told := make(chan error, 100)
	began := time.Now()
	s := startSaver(file, func(err error) { told <- err })
	for range 4 {
		s.save(nil)
		require.Eventually(t, func() bool { return len(s.dirty) == 0 }, 10*time.Second, time.Millisecond)
	}
	require.GreaterOrEqual(t, time.Since(began), 3*saveEvery)
	require.NoError(t, os.WriteFile(file+"-wal", nil, 0o600))
	s.save(nil)
	s.stop()
	require.Len(t, told, 1)
}
