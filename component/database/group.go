package database

import (
	"database/sql"
)

// maxGroup is how many operations are in one transaction at most.
const maxGroup = 500

// An Op is something to do in a transaction. Do may be called twice, if what else was in the
// first transaction failed. Done, which may be nil, is called when it is on disk or has
// failed, and must not wait.
type Op struct {
	Do   func(*sql.Tx) error
	Done func(error)
}

// A Committer does operations in the order in which they come: what came while one
// transaction was under way is in the next one, since what costs is that it gets on disk.
type Committer struct {
	DB *sql.DB
	// Last, which may be nil, is the end of each transaction.
	Last func(*sql.Tx) error
	// Undone, which may be nil, is called when a transaction was undone, with the error,
	// and gives the one that Done gets.
	Undone func(error) error
}

// Run does what comes until the channel is closed and empty. It is the one goroutine that
// calls all of the functions.
func (c *Committer) Run(ops <-chan Op) {
	for op := range ops {
		group := []Op{op}
		for more := true; more && len(group) < maxGroup; {
			select {
			case op, ok := <-ops:
				if ok {
					group = append(group, op)
				}
				more = ok
			default:
				more = false
			}
		}
		err := c.commit(group)
		if err != nil && len(group) > 1 { // not all suffer for the one that fails
			for _, op := range group {
				op.done(c.commit([]Op{op}))
			}
			continue
		}
		for _, op := range group {
			op.done(err)
		}
	}
}

func (op *Op) done(err error) {
	if op.Done != nil {
		op.Done(err)
	}
}

func (c *Committer) commit(group []Op) error {
	err := c.apply(group)
	if err != nil && c.Undone != nil {
		err = c.Undone(err)
	}
	return err
}

func (c *Committer) apply(group []Op) error {
	tx, err := c.DB.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing behind a Commit
	for _, op := range group {
		if err := op.Do(tx); err != nil {
			return err
		}
	}
	if c.Last != nil {
		if err := c.Last(tx); err != nil {
			return err
		}
	}
	return tx.Commit()
}
