package muc

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/allium-xmpp/allium/component/database"
)

const maxJobs = 1000 // that wait to be committed

// A job is what a room wants stored, and what is to be done then, with the error of the
// transaction. Jobs are done in the order in which they were given to the store.
type job struct {
	undone  *atomic.Bool // of the room: what it wants behind what could not be stored is not stored either; nil: of none
	changes []change
	done    func(err error)
	err     error
}

// commitAll commits jobs, as many in one transaction as wait, and lets them be done by
// another goroutine, so that the next transaction is under way meanwhile.
func (st *Store) commitAll() {
	defer close(st.ended)
	committed := make(chan []*job, 4)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for jobs := range committed {
			for _, j := range jobs {
				j.done(j.err)
			}
		}
	}()
	for {
		select {
		case <-st.scrubs.C:
			st.scrub()
		case j, ok := <-st.work:
			if !ok {
				close(committed)
				<-sent
				return
			}
			jobs := st.batch(j)
			st.commit(jobs, nil)
			committed <- jobs
		}
	}
}

// batch is a job and what else waits.
func (st *Store) batch(first *job) []*job {
	jobs := []*job{first}
	for len(jobs) < maxJobs {
		select {
		case j, ok := <-st.work:
			if !ok {
				return jobs
			}
			jobs = append(jobs, j)
		default:
			return jobs
		}
	}
	return jobs
}

// commit applies all jobs in one transaction. If that fails, each is tried in one of its
// own, so that what cannot be stored in one room fails nobody else. But for a file that another
// process holds not each of them waits: locked is what is known of that.
func (st *Store) commit(jobs []*job, locked error) {
	n := 0
	for _, j := range jobs {
		if j.undone != nil && j.undone.Load() {
			j.err, j.changes = errUndone, nil
		}
		n += len(j.changes)
	}
	if n == 0 {
		return
	}
	err := locked
	if err == nil {
		err = st.apply(jobs)
	}
	if err != nil && len(jobs) > 1 {
		if database.Locked(err) {
			locked = err
		}
		for i := range jobs {
			st.commit(jobs[i:i+1], locked)
		}
		return
	}
	if j := jobs[0]; err != nil && j.undone != nil && !onlyMessages(j.changes) {
		j.undone.Store(true)
	}
	if err != nil && st.failed == nil {
		slog.Error("rooms cannot be stored; messages in rooms with an archive are refused until this is mended", "error", err)
	} else if err == nil && st.failed != nil {
		slog.Info("rooms are stored again")
	}
	st.failed = err
	for _, j := range jobs {
		if len(j.changes) > 0 {
			j.err = err
		}
	}
}

func (st *Store) apply(jobs []*job) (err error) {
	tx, err := st.db.Begin()
	if err != nil {
		return err
	}
	t := &transaction{st: st, tx: tx, rows: st.rows[:0]}
	if err := t.apply(jobs); err != nil {
		tx.Rollback()
		clear(st.numbers) // of rooms that are not there after all
		return err
	}
	st.rows = t.rows
	if err := tx.Commit(); err != nil {
		clear(st.numbers)
		return err
	}
	st.note(jobs)
	if t.deleted {
		st.scrubSoon()
	}
	return nil
}

func (t *transaction) apply(jobs []*job) error {
	for _, j := range jobs {
		for _, c := range j.changes {
			if err := c.apply(t); err != nil {
				return err
			}
		}
	}
	return t.flush()
}

var errUndone = errors.New("muc: what came before could not be stored")

// submit gives a job to the store.
func (st *Store) submit(changes []change, done func(err error)) {
	st.work <- &job{changes: changes, done: done}
}

// wait waits until all that was submitted is done.
func (st *Store) wait() {
	done := make(chan struct{})
	st.submit(nil, func(error) { close(done) })
	<-done
}
