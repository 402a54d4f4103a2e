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
	// Note, which may be nil, is called as Do is, and before it, and appends what is to be
	// written to the journal. Do is only called if it says that the database has to be
	// changed too.
	Note func(notes []byte) (all []byte, also bool)
	// Lazy is what can wait for a moment for others, to be committed with them.
	Lazy bool
}

// A Committer does operations in the order in which they come: what came while one
// transaction was under way is in the next one, since what costs is the transaction. Where
// there are notes alone there is none.
type Committer struct {
	DB *sql.DB
	// Soon is the file, if it has a Schema with Soon. What is committed is on disk some
	// 200 ms later at most, beside what a flush takes, and nobody waits for that.
	Soon string
	// Unsaved, which may be nil, is called by another goroutine when that fails, once until
	// it goes well again. It is tried again all the time.
	Unsaved func(error)
	// Journal is where notes go, of a database with Soon; nil: there are none. Fold writes to
	// the database what of them is not done with, and Folded is called when that is committed.
	Journal *Journal
	Fold    func(*sql.Tx) error
	Folded  func()
	// Last, which may be nil, is the end of each transaction.
	Last func(*sql.Tx) error
	// Undone, which may be nil, is called when a transaction was undone, with the error,
	// and gives the one that Done gets.
	Undone func(error) error

	saver  *saver
	locked error            // what each of a group gets, and does not wait for by itself
	late   <-chan time.Time // when the journal is to be folded
	notes  []byte           // to be used again
}

// Run does what comes until the channel is closed and empty. It is the one goroutine that
// calls all of the functions but Unsaved. The journal is folded and closed at the end.
func (c *Committer) Run(ops <-chan Op) {
	if c.Soon != "" {
		c.saver = startSaver(c.Soon, c.Unsaved)
		defer c.end()
	}
	for {
		op, ok := c.next(ops)
		if !ok {
			return
		}
		group := gather(op, ops)
		c.makeRoom()
		err := c.commit(group)
		if err != nil && len(group) > 1 { // not all suffer for the one that fails
			if Locked(err) {
				c.locked = err
			}
			for i := range group {
				group[i].done(c.commit(group[i : i+1]))
			}
			c.locked = nil
		} else {
			for _, op := range group {
				op.done(err)
			}
		}
		if c.Journal.full() {
			c.fold()
		}
	}
}

// next waits for an operation, and folds the journal meanwhile when it is time.
func (c *Committer) next(ops <-chan Op) (op Op, ok bool) {
	for {
		if c.late == nil && !c.Journal.isEmpty() {
			c.late = time.After(foldAfter)
		}
		select {
		case op, ok = <-ops:
			return op, ok
		case <-c.late:
			c.late = nil
			c.fold()
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
	var tx *sql.Tx
	notes := c.notes[:0]
	for _, op := range group {
		if op.Note != nil {
			var also bool
			if notes, also = op.Note(notes); !also {
				continue
			}
		}
		if tx == nil {
			if c.locked != nil {
				return c.locked
			}
			var err error
			if tx, err = c.DB.Begin(); err != nil {
				return err
			}
			defer tx.Rollback() // does nothing behind a Commit
		}
		if err := op.Do(tx); err != nil {
			return err
		}
	}
	if tx != nil && c.Last != nil {
		if err := c.Last(tx); err != nil {
			return err
		}
	}
	back := func() {}
	if len(notes) > 0 {
		var err error
		if back, err = c.Journal.append(notes, c.saver.flushing.Load()); err != nil {
			return err
		}
		c.saver.save(c.Journal.file())
		if cap(notes) <= keptBuffer {
			c.notes = notes
		}
	}
	if tx == nil {
		return nil
	}
	if err := tx.Commit(); err != nil {
		back()
		if len(notes) > 0 {
			c.saver.save(c.Journal.file())
		}
		return err
	}
	if c.saver != nil {
		c.saver.save(nil)
	}
	return nil
}

// fold folds the journal, if it can be. Else it is tried again later, and notes go on to be
// written there.
func (c *Committer) fold() {
	if !c.Journal.isEmpty() && c.Journal.mayFold() {
		c.foldNow()
	}
}

func (c *Committer) foldNow() {
	j := c.Journal
	full := j.number & 1
	if j.Fold(c.DB, c.Fold) == nil {
		c.Folded()
		j.empty[full] = c.saver.retire(j.files[full])
	}
}

// makeRoom waits, with a journal that takes no more, until it may be folded: the disk is slow.
// If it fails, nobody waits.
func (c *Committer) makeRoom() {
	for c.Journal.overfull() && !c.saver.failing.Load() && !c.Journal.mayFold() {
		time.Sleep(time.Millisecond)
	}
	if c.Journal.overfull() {
		c.fold()
	}
}

// end folds what is left, and has all flushed.
func (c *Committer) end() {
	if !c.Journal.isEmpty() {
		c.foldNow() // nothing comes behind it
	}
	c.saver.stop()
	c.Journal.close()
}
