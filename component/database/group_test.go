package database

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"

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
