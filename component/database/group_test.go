package database

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// told gives operations that insert letters, and collects in which order they are done.
type told struct {
	done []string
}

func (d *told) insert(text string) Op {
	return Op{Do: func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO letter (text) VALUES (?)", text)
		if text == "bad" && err == nil {
			err = errors.New("torn")
		}
		return err
	}, Done: func(err error) { d.done = append(d.done, fmt.Sprint(text, " ", err)) }}
}

func run(c *Committer, ops ...Op) {
	ch := make(chan Op, len(ops))
	for _, op := range ops {
		ch <- op
	}
	close(ch)
	c.Run(ch)
}

// What waits is committed together, in order, before it is done.
func TestGroup(t *testing.T) {
	db := open(t, letters(3), testFile(t))
	var d told
	transactions := 0
	c := &Committer{DB: db, Last: func(*sql.Tx) error { transactions++; return nil }}
	ops := make([]Op, maxGroup+1)
	want := make([]string, len(ops))
	for i := range ops {
		ops[i], want[i] = d.insert(fmt.Sprint(i)), fmt.Sprint(i, " ", nil)
	}
	ops[0].Done = func(err error) {
		d.done = append(d.done, fmt.Sprint("0 ", err))
		assert.Equal(t, maxGroup, get[int](t, db, "SELECT COUNT(*) FROM letter"))
	}
	run(c, append(ops, Op{Do: func(*sql.Tx) error { return nil }})...)
	require.Equal(t, want, d.done)
	require.Equal(t, 2, transactions)
	require.Equal(t, maxGroup+1, get[int](t, db, "SELECT COUNT(*) FROM letter"))
}

// What fails fails nobody else, and leaves nothing behind.
func TestGroupFails(t *testing.T) {
	db := open(t, letters(3), testFile(t))
	var d told
	undone := 0
	c := &Committer{DB: db, Undone: func(err error) error { undone++; return fmt.Errorf("spool: %w", err) }}
	run(c, d.insert("a"), d.insert("bad"), d.insert("b"))
	require.Equal(t, []string{"a <nil>", "bad spool: torn", "b <nil>"}, d.done)
	require.Equal(t, "a b", get[string](t, db, "SELECT GROUP_CONCAT(text, ' ') FROM letter"))
	require.Equal(t, 2, undone, "the whole, and the one")

	c = &Committer{DB: db, Last: func(*sql.Tx) error { return errors.New("too much") }}
	d.done = nil
	run(c, d.insert("c"))
	require.Equal(t, []string{"c too much"}, d.done)
	require.Equal(t, 2, get[int](t, db, "SELECT COUNT(*) FROM letter"))
}

// Not each of those that wait, waits for a file that another process holds; the next group does.
func TestGroupLocked(t *testing.T) {
	s, file := letters(3), testFile(t)
	s.Connections = 1
	db := open(t, s, file)
	exec(t, db, "PRAGMA busy_timeout = 10")
	tx, err := open(t, letters(3), file).Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	var d told
	a := d.insert("a")
	a.Done = func(err error) {
		assert.True(t, Locked(err), err)
		assert.NoError(t, tx.Commit())
	}
	noted := Op{Note: func(notes []byte) ([]byte, bool) { return notes, false }, Done: func(err error) { assert.NoError(t, err) }}
	c := &Committer{DB: db}
	run(c, a, d.insert("b"), noted)
	require.Equal(t, []string{"b database is locked (5) (SQLITE_BUSY)"}, d.done)
	run(c, d.insert("c"))
	require.Equal(t, "c", get[string](t, db, "SELECT GROUP_CONCAT(text, ' ') FROM letter"))
}

// What is lazy waits for what is not, and is on disk at the end in any case, in order.
func TestGroupLazy(t *testing.T) {
	db := open(t, letters(3), testFile(t))
	var d told
	transactions := 0
	c := &Committer{DB: db, Last: func(*sql.Tx) error { transactions++; return nil }}
	lazy := func(text string) Op {
		op := d.insert(text)
		op.Lazy = true
		return op
	}
	defer func(d time.Duration) { lazyFor = d }(lazyFor)
	lazyFor = time.Hour // even if all goroutines are late
	ops, ended := make(chan Op), make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ops)
	}()
	ops <- lazy("a")
	ops <- lazy("b")
	prompt, stored := d.insert("c"), make(chan struct{})
	note := prompt.Done
	prompt.Done = func(err error) { note(err); close(stored) }
	ops <- prompt
	<-stored
	ops <- lazy("d")
	close(ops)
	<-ended
	require.Equal(t, []string{"a <nil>", "b <nil>", "c <nil>", "d <nil>"}, d.done)
	require.Equal(t, 2, transactions)

	// Nothing else comes, and it is done all the same.
	lazyFor = time.Millisecond
	ops = make(chan Op)
	go c.Run(ops)
	done := make(chan error)
	ops <- Op{Lazy: true, Do: func(*sql.Tx) error { return nil }, Done: func(err error) { done <- err }}
	require.NoError(t, <-done)
	close(ops)
}

// What a failed transaction did in memory is undone, backwards, before it is done again.
func TestGroupUndo(t *testing.T) {
	db := open(t, letters(3), testFile(t))
	var d told
	memory := ""
	op := func(text string) Op {
		op := d.insert(text)
		do, before := op.Do, ""
		op.Do = func(tx *sql.Tx) error {
			before = memory
			memory += text
			return do(tx)
		}
		op.Undo = func() { memory = before }
		return op
	}
	run(&Committer{DB: db}, op("a"), op("b"), op("bad"))
	require.Equal(t, []string{"a <nil>", "b <nil>", "bad torn"}, d.done)
	require.Equal(t, "ab", memory)
}
