package muc

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"
)

// retention is what a Store knows of the size of archives, so that it need not look
// where nothing is to be deleted.
type retention struct {
	mu       sync.Mutex
	extents  map[string]*extent // of archives by room, as far as they were looked at
	running  bool
	sweeping sync.WaitGroup
	stop     chan struct{}
}

// An extent is how much there is in the archive of a room.
type extent struct {
	count  int
	oldest int64
}

const (
	sliceOf   = 200  // messages that one job deletes, so that others need not wait for long
	surveyed  = 50   // archives that one job looks at
	surveyMax = 2000 // archives that one call of expire looks at for the first time
)

// expire deletes what is older, or more, than rooms keep, and the archives that were dropped,
// or that the service keeps none of. It is called from time to time, and does not wait: the work is done in small
// slices between what else is stored.
func (st *Store) expire(now time.Time, l Limits, rooms map[string]*Config) {
	st.mu.Lock()
	defer st.mu.Unlock()
	select {
	case <-st.stop:
		return
	default:
	}
	if st.running {
		return
	}
	var unknown, due []string
	keep := map[string]keeping{}
	for name, c := range rooms {
		k := keepingOf(c, l, now)
		a := st.extents[name]
		switch {
		case a == nil && len(unknown) < surveyMax:
			unknown = append(unknown, name)
		case a != nil && k.surplus(*a) > 0:
			due = append(due, name)
		default:
			continue
		}
		keep[name] = k
	}
	st.running = true
	st.sweeping.Go(func() { st.sweep(unknown, due, keep, trim{now: now, limits: l}) })
}

// keeping is what a room keeps.
type keeping struct {
	since  int64 // id
	number int
}

func keepingOf(c *Config, l Limits, now time.Time) keeping {
	k := keeping{since: math.MinInt64, number: math.MaxInt}
	if !c.Archive || l.NoArchive {
		return keeping{since: math.MaxInt64}
	}
	if days := smallest(c.KeepDays, l.KeepDays); days > 0 {
		k.since = daysBefore(now, days)
	}
	if n := smallest(c.KeepNumber, l.KeepNumber); n > 0 {
		k.number = n
	}
	return k
}

// smallest is the smaller of two limits, of which 0 is none.
func smallest(a, b int) int {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// daysBefore is the id of a message of that time. No message is older than mostDays, and with
// more days than there can be, the time would be one to come.
func daysBefore(now time.Time, days int) int64 {
	return now.AddDate(0, 0, -min(days, mostDays)).UnixMicro()
}

const mostDays = 100_000

// surplus is how many messages are to be deleted at least.
func (k keeping) surplus(a extent) int {
	n := a.count - k.number
	if a.count > 0 && a.oldest < k.since {
		n = max(n, 1)
	}
	return n
}

// sweep does what expire found.
func (st *Store) sweep(unknown, due []string, keep map[string]keeping, how trim) {
	defer func() {
		st.mu.Lock()
		st.running = false
		st.mu.Unlock()
	}()
	err := st.clearDropped()
	for len(unknown) > 0 && err == nil {
		n := min(len(unknown), surveyed)
		s := &survey{names: unknown[:n]}
		if err = st.do(s); err != nil {
			break
		}
		for name, a := range s.found {
			if k := keep[name]; k.surplus(a) > 0 {
				due = append(due, name)
			}
		}
		unknown = unknown[n:]
	}
	for i := 0; i < len(due) && err == nil; {
		t := how
		t.name = due[i]
		if err = st.do(&t); t.done {
			i++
		}
	}
	if err != nil && !errors.Is(err, errStopped) {
		slog.Error("old messages of rooms cannot be deleted", "error", err)
	}
}

var errStopped = errors.New("muc: store is closed")

// do has one change stored, and waits for it.
func (st *Store) do(c change) error {
	select {
	case <-st.stop:
		return errStopped
	default:
	}
	done := make(chan error, 1)
	st.submit([]change{c}, func(err error) { done <- err })
	return <-done
}

// clearDropped deletes the archives of rooms that are no more, or have dropped theirs.
func (st *Store) clearDropped() error {
	rows, err := st.db.Query("SELECT room FROM dropped")
	if err != nil {
		return err
	}
	defer rows.Close()
	var rooms []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return err
		}
		rooms = append(rooms, n)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for i := 0; i < len(rooms); {
		c := &clearSlice{room: rooms[i]}
		if err := st.do(c); err != nil {
			return err
		}
		if c.done {
			i++
		}
	}
	return nil
}

// noted is a change that retention takes note of when it is stored. It is called with mu
// held.
type noted interface{ note(st *Store) }

func (st *Store) note(jobs []*job) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, j := range jobs {
		for _, c := range j.changes {
			if n, ok := c.(noted); ok {
				n.note(st)
			}
		}
	}
}

func (c saveMessage) note(st *Store) {
	if a := st.extents[c.Room]; a != nil {
		if a.count++; a.count == 1 {
			a.oldest = c.ID
		}
	}
}

func (st *Store) extent(room string) (extent, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if a := st.extents[room]; a != nil {
		return *a, true
	}
	return extent{}, false
}

func (c dropRoom) note(st *Store) { delete(st.extents, c.Name) }

func (c dropArchive) note(st *Store) { delete(st.extents, c.Room) }

// A survey finds out how much there is in archives.
type survey struct {
	names []string
	found map[string]extent
}

func (c *survey) apply(t *transaction) error {
	if err := t.flush(); err != nil {
		return err
	}
	c.found = map[string]extent{}
	for _, name := range c.names {
		var a extent
		var oldest sql.NullInt64
		err := t.tx.QueryRow("SELECT COUNT(*), MIN(id) FROM message WHERE room = "+roomNumber, name).Scan(&a.count, &oldest)
		if err != nil {
			return err
		}
		a.oldest = oldest.Int64
		c.found[name] = a
	}
	return nil
}

func (c *survey) note(st *Store) {
	for name, a := range c.found {
		st.extents[name] = &a
	}
}

// A trim deletes a slice of what a room does not keep: the oldest messages, so that there
// are no holes (XEP-0313 §3.2). Their ids are not given again. What the room keeps is what is
// stored by then: it may have been given an archive since it was looked at.
type trim struct {
	name    string
	now     time.Time
	limits  Limits
	deleted int64
	oldest  int64
	done    bool // nothing more is to be deleted
}

func (c *trim) apply(t *transaction) error {
	if err := t.flush(); err != nil {
		return err
	}
	have, ok := t.st.extent(c.name)
	if !ok {
		c.done = true // the room was destroyed meanwhile
		return nil
	}
	var room int64
	var config []byte
	err := t.tx.QueryRow("SELECT number, config FROM room WHERE name = ?", c.name).Scan(&room, &config)
	if errors.Is(err, sql.ErrNoRows) {
		c.done = true // or in this very transaction
		return nil
	}
	var cfg Config
	if err = cmp.Or(err, json.Unmarshal(config, &cfg)); err != nil {
		return err
	}
	keep := keepingOf(&cfg, c.limits, c.now)
	upTo, err := lastOf(t, room, keep.since, sliceOf)
	if n := min(have.count-keep.number, sliceOf); n > 0 && err == nil {
		var last int64
		last, err = lastOf(t, room, math.MaxInt64, n)
		upTo = max(upTo, last)
	}
	if err != nil {
		return err
	}
	res, err := t.tx.Exec("DELETE FROM message WHERE room = ? AND id <= ?", room, upTo)
	if err != nil {
		return err
	}
	if c.deleted, err = res.RowsAffected(); err != nil {
		return err
	}
	t.deleted = t.deleted || c.deleted > 0
	if err := t.exec("UPDATE room SET last_id = ? WHERE number = ? AND last_id < ?", upTo, room, upTo); err != nil {
		return err
	}
	var oldest sql.NullInt64
	err = t.tx.QueryRow("SELECT MIN(id) FROM message WHERE room = ?", room).Scan(&oldest)
	c.oldest = oldest.Int64
	have.count, have.oldest = have.count-int(c.deleted), c.oldest
	c.done = c.deleted == 0 || keep.surplus(have) <= 0
	return err
}

func (c *trim) note(st *Store) {
	if x := st.extents[c.name]; x != nil {
		x.count -= int(c.deleted)
		x.oldest = c.oldest
	}
}

// lastOf is the id of the last of the first n messages of a room that are before an id; 0
// if there is none.
func lastOf(t *transaction, room, before int64, n int) (int64, error) {
	var id sql.NullInt64
	err := t.tx.QueryRow("SELECT MAX(id) FROM (SELECT id FROM message WHERE room = ? AND id < ? ORDER BY id LIMIT ?) AS slice", room, before, n).Scan(&id)
	return id.Int64, err
}

// A clearSlice deletes a slice of an archive that was dropped.
type clearSlice struct {
	room int64
	done bool
}

func (c *clearSlice) apply(t *transaction) error {
	if err := t.flush(); err != nil {
		return err
	}
	upTo, err := lastOf(t, c.room, math.MaxInt64, sliceOf)
	if err != nil {
		return err
	}
	if upTo == 0 {
		c.done = true
		return t.exec("DELETE FROM dropped WHERE room = ?", c.room)
	}
	return t.erase("DELETE FROM message WHERE room = ? AND id <= ?", c.room, upTo)
}
