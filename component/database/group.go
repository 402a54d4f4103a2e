package database

import (
	"database/sql"
	"time"
)

// maxGroup is how many operations are in one transaction at most.
const maxGroup = 500

// lazyFor is how long what is lazy waits for something that is not.
var lazyFor = 100 * time.Millisecond

// An Op is something to do in a transaction. Do may be called twice, if what else was in the
// first transaction failed. Undo, which may be nil, is called whenever a transaction in
// which Do may have been called has failed, the last one's first. Done, which may be nil, is
// called when it is committed or that has failed, and must not wait.
type Op struct {
	Do   func(*sql.Tx) error
	Undo func()
	Done func(error)
	// Lazy is what can wait for a moment for others, to be committed with them.
	Lazy bool
}

// A Committer does operations in the order in which they come: what came while one
// transaction was under way is in the next one, since what costs is the transaction.
type Committer struct {
	DB *sql.DB
	// Soon is the file, if it has a Schema with Soon. What is committed is on disk some
	// 50 ms later at most, beside what a flush takes, and nobody waits for that.
	Soon string
	// Unsaved, which may be nil, is called by another goroutine when that fails, once until
	// it goes well again.
	Unsaved func(error)
	// Last, which may be nil, is the end of each transaction.
	Last func(*sql.Tx) error
	// Undone, which may be nil, is called when a transaction was undone, with the error,
	// and gives the one that Done gets.
	Undone func(error) error
}

// Run does what comes until the channel is closed and empty. It is the one goroutine that
// calls all of the functions but Unsaved.
func (c *Committer) Run(ops <-chan Op) {
	committed := func() {}
	if c.Soon != "" {
		s := startSaver(c.Soon, c.Unsaved)
		defer s.stop()
		committed = s.save
	}
	for op := range ops {
		group := gather(op, ops)
		err := c.commit(group)
		if err != nil && len(group) > 1 { // not all suffer for the one that fails
			for i := range group {
				group[i].done(c.commit(group[i : i+1]))
			}
			committed()
			continue
		}
		committed()
		for _, op := range group {
			op.done(err)
		}
	}
}

// gather gives an operation and those that wait behind it.
func gather(op Op, ops <-chan Op) []Op {
	group, lazy := []Op{op}, op.Lazy
	var late <-chan time.Time
	for len(group) < maxGroup {
		var ok bool
		if lazy {
			if late == nil {
				late = time.After(lazyFor)
			}
			select {
			case op, ok = <-ops:
			case <-late:
			}
		} else {
			select {
			case op, ok = <-ops:
			default:
			}
		}
		if !ok {
			break
		}
		group, lazy = append(group, op), lazy && op.Lazy
	}
	return group
}

func (op *Op) done(err error) {
	if op.Done != nil {
		op.Done(err)
	}
}

func (c *Committer) commit(group []Op) error {
	err := c.apply(group)
	if err != nil {
		for i := len(group) - 1; i >= 0; i-- {
			if undo := group[i].Undo; undo != nil {
				undo()
			}
		}
	}
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
