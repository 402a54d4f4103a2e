package onionroute

import (
	"cmp"
	"database/sql"
	"maps"
	"slices"
)

// recent is what is in the spool's journal and not in its database. Most of what is written
// for a peer that is there has arrived before it would be worth a row. It belongs to the
// spool's goroutine.
type recent struct {
	batches  map[uint64]*batch // with items that are not done
	last     uint64            // the newest one
	sessions map[string]notedSession
	noted    uint64 // how many there were
}

// A notedSession is a session that is in what is recent.
type notedSession struct {
	storedSession
	number uint64 // 0: it is not there
}

func newRecent() *recent {
	return &recent{batches: map[uint64]*batch{}, sessions: map[string]notedSession{}}
}

// A batch is items for one peer, all as of a session.
type batch struct {
	peer, session string
	records       []byte
	ends          []int // of each item's record there

	number uint64
	items  []*item // nil: it is done
	left   int     // how many are not
	row    int64   // where it was folded to
}

// newBatch is a batch of items as they are now.
func newBatch(items []*item, session string) *batch {
	b := &batch{peer: items[0].onion, session: session, ends: make([]int, 0, len(items))}
	size := 0
	for _, it := range items {
		size += len(it.xml) + 256 // which is enough for most
	}
	b.records = make([]byte, 0, size)
	for _, it := range items {
		b.records = it.appendRecord(b.records)
		b.ends = append(b.ends, len(b.records))
	}
	return b
}

// live are the items that are not done, and their records.
func (b *batch) live() (items []*item, records []byte) {
	if b.left == len(b.items) {
		return b.items, b.records
	}
	start := 0
	for i, it := range b.items {
		if it != nil {
			items, records = append(items, it), append(records, b.records[start:b.ends[i]]...)
		}
		start = b.ends[i]
	}
	return items, records
}

// A spot is where an item is in what is recent.
type spot struct {
	batch *batch // nil: nowhere
	place int    // there, from 0
}

// inSpool tells if the item is anywhere there.
func (it *item) inSpool() bool { return it.slot.row != 0 || it.spot.batch != nil }

// move puts an item somewhere else, and gives where it was.
func (r *recent) move(it *item, to spot) (was spot) {
	was = it.spot
	if b := was.batch; b != nil {
		b.items[was.place] = nil
		if b.left--; b.left == 0 {
			delete(r.batches, b.number)
		}
	}
	it.spot = to
	if b := to.batch; b != nil {
		if b.items[to.place] == nil {
			b.items[to.place] = it
			b.left++
		}
		r.batches[b.number] = b
	}
	return was
}

// add adds a new batch of these items, and gives where they were.
func (r *recent) add(b *batch, items []*item) (before []spot) {
	r.last++
	b.number, b.items, b.left = r.last, slices.Clone(items), len(items)
	for i, it := range items {
		before = append(before, r.move(it, spot{b, i}))
	}
	return before
}

// handled notes how far a session was handled, and gives what takes that back.
func (r *recent) handled(ss storedSession) (back func()) {
	before, joined := r.sessions[ss.id], r.sessions[ss.theirs]
	delete(r.sessions, ss.theirs) // it was a session of its own before
	number := before.number
	if number == 0 {
		r.noted++
		number = r.noted
	}
	r.sessions[ss.id] = notedSession{ss, number}
	return func() { r.restore(ss.id, before); r.restore(ss.theirs, joined) }
}

// ended forgets a session, and gives what takes that back.
func (r *recent) ended(id string) (back func()) {
	before := r.sessions[id]
	delete(r.sessions, id)
	return func() { r.restore(id, before) }
}

func (r *recent) restore(id string, ss notedSession) {
	if ss.number == 0 {
		delete(r.sessions, id)
	} else {
		r.sessions[id] = ss
	}
}

// fold writes to the database what is recent.
func (r *recent) fold(s *spool, tx *sql.Tx) error {
	for _, b := range slices.SortedFunc(maps.Values(r.batches), func(a, b *batch) int { return cmp.Compare(a.number, b.number) }) {
		items, records := b.live()
		if err := s.drop(tx, items); err != nil {
			return err
		}
		row, err := tx.Stmt(s.insert).Exec(b.peer, b.session, records)
		if err == nil {
			b.row, err = row.LastInsertId()
		}
		if err != nil {
			return err
		}
	}
	// Of two of a peer the later one counts (see Gateway.load).
	for _, ss := range slices.SortedFunc(maps.Values(r.sessions), func(a, b notedSession) int { return cmp.Compare(a.number, b.number) }) {
		if _, err := tx.Stmt(s.put).Exec(ss.id, ss.theirs, ss.peer, ss.h, ss.since.Unix()); err != nil {
			return err
		}
		if err := s.dropSessions(tx, ss.theirs); err != nil {
			return err
		}
	}
	return nil
}

// folded forgets what is in the database now.
func (r *recent) folded() {
	for _, b := range r.batches {
		items, _ := b.live()
		for i, it := range items {
			it.slot, it.spot = slot{b.row, i, len(items)}, spot{}
		}
	}
	clear(r.batches)
	clear(r.sessions)
}
