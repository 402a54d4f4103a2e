package onionroute

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/allium-xmpp/allium/component/database"
)

// A slot is where an item is in the database: the spool's own.
type slot struct {
	row   int64 // 0: nowhere
	place int   // there, from 0
	of    int   // how many places the row has
}

// store writes items for one peer, all as of a session, with the numbers that they have
// now; what was written of them before does not count any more. done is called when that
// is committed or has failed.
func (s *spool) store(items []*item, session string, done func(error)) {
	b := newBatch(items, session)
	var before []spot
	s.do(database.Op{Note: func(notes []byte) ([]byte, bool) {
		before = s.recent.add(b, items)
		return b.appendNote(notes), false
	}, Undo: func() {
		for i, was := range before {
			s.recent.move(items[i], was)
		}
		before = nil
	}, Done: done})
}

// remove forgets items, at leisure. One that cannot be forgotten goes out once more after
// the next start.
func (s *spool) remove(items []*item, done func(error)) {
	if len(items) == 0 {
		return
	}
	var before []spot
	s.do(database.Op{Lazy: true, Note: func(notes []byte) (all []byte, also bool) {
		for _, it := range items {
			before = append(before, s.recent.move(it, spot{}))
			also = also || it.slot.row != 0
		}
		return appendDoneNotes(notes, before), also
	}, Do: func(tx *sql.Tx) error { return s.drop(tx, items) }, Undo: func() {
		for i, was := range before {
			s.recent.move(items[i], was)
		}
		before = nil
	}, Done: func(err error) {
		if err == nil {
			for _, it := range items {
				it.slot = slot{}
			}
		}
		done(err)
	}})
}

// drop takes items from where they are, row by row.
func (s *spool) drop(tx *sql.Tx, items []*item) error {
	for len(items) > 0 {
		n := 1
		for n < len(items) && items[n].slot.row == items[0].slot.row {
			n++
		}
		if err := s.dropFrom(tx, items[0].slot, items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func (s *spool) dropFrom(tx *sql.Tx, at slot, items []*item) error {
	if at.row == 0 {
		return nil
	}
	if len(items) == at.of {
		_, err := tx.Stmt(s.delete).Exec(at.row)
		return err
	}
	gone := ""
	for i := 0; i < len(items); {
		first, last := items[i].slot.place, items[i].slot.place
		for i++; i < len(items) && items[i].slot.place == last+1; i++ {
			last++
		}
		gone += fmt.Sprintf("%d-%d ", first, last)
	}
	if _, err := tx.Stmt(s.thin).Exec(at.row, at.of, len(items), gone, len(items)); err != nil {
		return err
	}
	r, err := tx.Stmt(s.empty).Exec(at.row)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); n == 0 || err != nil {
		return err
	}
	_, err = tx.Exec("DELETE FROM thinned WHERE batch = ?", at.row)
	return err
}

const maxBatch = 1 << 20 // items, which is more than there ever are

var errDamaged = errors.New("it is damaged")

// items reads all items, in the order in which they came.
func (s *spool) items() ([]*item, error) {
	rows, err := s.db.Query("SELECT id, peer, session, items, COALESCE(gone, '') FROM batch LEFT JOIN thinned ON batch = id ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("onionroute: spool: %w", err)
	}
	defer rows.Close()
	var items []*item
	for rows.Next() {
		var row int64
		var peer, session, gone string
		var records []byte
		if err := rows.Scan(&row, &peer, &session, &records, &gone); err != nil {
			return nil, fmt.Errorf("onionroute: spool: %w", err)
		}
		batch, err := readRecords(records)
		if err != nil {
			return nil, fmt.Errorf("onionroute: spool: batch %d: %w", row, err)
		}
		for i, it := range batch {
			it.onion, it.session, it.slot, it.stored = peer, session, slot{row, i, len(batch)}, true
			if it.order == 0 { // of a release that had none: before all others, and no two the same
				it.order = row*maxBatch + int64(i) - 1<<62
			}
		}
		for _, span := range strings.Fields(gone) {
			var first, last int
			if _, err := fmt.Sscanf(span, "%d-%d", &first, &last); err != nil || first < 0 || last < first || last >= len(batch) {
				return nil, fmt.Errorf("onionroute: spool: batch %d: %w", row, errDamaged)
			}
			clear(batch[first : last+1])
		}
		items = append(items, slices.DeleteFunc(batch, func(it *item) bool { return it == nil })...)
	}
	slices.SortStableFunc(items, func(a, b *item) int { return cmp.Compare(a.order, b.order) })
	return items, rows.Err()
}
