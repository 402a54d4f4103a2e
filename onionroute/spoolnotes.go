package onionroute

import (
	"database/sql"
	"encoding/binary"
	"time"
)

// What notes in the spool's journal tell: numbers, and texts behind their lengths.
const (
	noteBatch    = 1 + iota // peer, session, items
	noteDone                // batch, spans of places there
	noteSession             // SM-ID, another one, peer, how many were handled, since
	noteSessions            // SM-IDs of one that has ended
)

func appendText[T string | []byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

func appendNumbers(dst []byte, numbers ...int64) []byte {
	for _, n := range numbers {
		dst = binary.AppendVarint(dst, n)
	}
	return dst
}

func (b *batch) appendNote(dst []byte) []byte {
	dst = appendNumbers(dst, noteBatch, int64(b.number))
	return appendText(appendText(appendText(dst, b.peer), b.session), b.records)
}

func (ss *storedSession) appendNote(dst []byte) []byte {
	dst = appendNumbers(dst, noteSession, int64(ss.h), ss.since.Unix())
	return appendText(appendText(appendText(dst, ss.id), ss.theirs), ss.peer)
}

func appendSessionsNote(dst []byte, ids []string) []byte {
	dst = appendNumbers(dst, noteSessions, int64(len(ids)))
	for _, id := range ids {
		dst = appendText(dst, id)
	}
	return dst
}

// appendDoneNotes tells that what is at these spots is done.
func appendDoneNotes(dst []byte, spots []spot) []byte {
	for len(spots) > 0 {
		first, n := spots[0], 1
		for n < len(spots) && spots[n] == (spot{first.batch, first.place + n}) {
			n++
		}
		if first.batch != nil {
			dst = appendNumbers(dst, noteDone, int64(first.batch.number), int64(first.place), int64(n))
		}
		spots = spots[n:]
	}
	return dst
}

// A replay reads the notes of a journal, and makes of them what was recent, for a database
// as it is: something of what they tell may be there already.
type replay struct {
	spool   *spool
	recent  *recent
	items   map[int64]*item   // by their order, also those in the database
	batches map[uint64]*batch // also those of which all is done
	done    []*item           // that the database may have
	ended   []string          // sessions that it may have
}

func newReplay(s *spool) (*replay, error) {
	r := &replay{spool: s, recent: newRecent(), items: map[int64]*item{}, batches: map[uint64]*batch{}}
	items, err := s.items()
	for _, it := range items {
		r.items[it.order] = it
	}
	return r, err
}

func (r *replay) notes(data []byte) error {
	for in := (&recordReader{data: data}); len(in.data) > 0; {
		if ok := r.note(in); !ok || in.short {
			return errDamaged
		}
	}
	return nil
}

func (r *replay) note(in *recordReader) (ok bool) {
	switch in.number() {
	case noteBatch:
		return r.batch(uint64(in.number()), in.text(), in.text(), in.text())
	case noteDone:
		return r.doneAt(uint64(in.number()), in.number(), in.number())
	case noteSession:
		ss := storedSession{h: uint32(in.number()), since: time.Unix(in.number(), 0), id: in.text(), theirs: in.text(), peer: in.text()}
		r.recent.handled(ss)
		return true
	case noteSessions:
		for n := in.number(); n > 0 && !in.short; n-- {
			id := in.text()
			delete(r.recent.sessions, id)
			r.ended = append(r.ended, id)
		}
		return true
	}
	return false
}

func (r *replay) batch(number uint64, peer, session, records string) (ok bool) {
	items, err := readRecords([]byte(records))
	if err != nil || len(items) == 0 {
		return false
	}
	for _, it := range items {
		it.onion = peer
		if was := r.items[it.order]; was != nil {
			it.slot = was.slot
			r.recent.move(was, spot{})
		}
		r.items[it.order] = it
	}
	b := newBatch(items, session)
	r.recent.last = number - 1
	r.recent.add(b, items)
	r.batches[number] = b
	return true
}

func (r *replay) doneAt(number uint64, first, n int64) (ok bool) {
	b := r.batches[number]
	if b == nil || first < 0 || n < 0 || first > int64(len(b.items)) || n > int64(len(b.items))-first {
		return false
	}
	for _, it := range b.items[first : first+n] {
		if it != nil {
			r.recent.move(it, spot{})
			r.done = append(r.done, it)
			delete(r.items, it.order)
		}
	}
	return true
}

// newest is the highest order that an item has.
func (r *replay) newest() (order int64) {
	for n := range r.items {
		order = max(order, n)
	}
	return order
}

// fold writes to the database what was read.
func (r *replay) fold(tx *sql.Tx) error {
	if err := r.spool.drop(tx, r.done); err != nil {
		return err
	}
	if err := r.spool.dropSessions(tx, r.ended...); err != nil {
		return err
	}
	return r.recent.fold(r.spool, tx)
}
