package database

import (
	"database/sql"
	"io/fs"
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

// There is a pause between two flushes, and at the end all is flushed that was committed.
func TestSaverPauses(t *testing.T) {
	file := testFile(t)
	db := open(t, letters(3), file)
	flushed := make(chan error, 100) // the one thing that is seen of a flush is how it fails
	ops, ended := make(chan Op), make(chan struct{})
	go func() {
		defer close(ended)
		(&Committer{DB: db, Soon: file + " which is not there", Unsaved: func(err error) { flushed <- err }}).Run(ops)
	}()
	nothing := Op{Do: func(*sql.Tx) error { return nil }}
	began := time.Now()
	for range 50 {
		ops <- nothing
	}
	close(ops)
	<-ended
	n := len(flushed)
	assert.GreaterOrEqual(t, n, 1)
	assert.LessOrEqual(t, n, 2+int(time.Since(began)/saveEvery))
}
