package onionroute

import (
	"database/sql"
	"fmt"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/database"
)

// A spool is what outlives the process: items that wait for peers or were written to
// them and not acknowledged, sessions of stream management (XEP-0198), and what is
// known of peers. One goroutine writes, and commits what came meanwhile in one
// transaction, which is on disk when it is done. All methods are safe for concurrent
// use.
type spool struct {
	db  *sql.DB
	ops chan database.Op
	end chan struct{} // closed when the writer has ended

	// Compiled once: that takes longer than what they do.
	insert, renumber, delete, put *sql.Stmt
}

const maxSpoolOps = 500 // that wait

var spoolSchema = database.Schema{Migrations: []string{`
CREATE TABLE item (
	id        INTEGER PRIMARY KEY AUTOINCREMENT,
	peer      TEXT NOT NULL,    -- X.onion
	from_pair TEXT NOT NULL,    -- domains, onion side
	to_pair   TEXT NOT NULL,
	kind      INTEGER NOT NULL, -- what follows is the stanza's header, host side
	type      TEXT NOT NULL,
	stanza_id TEXT NOT NULL,
	from_jid  TEXT NOT NULL,
	to_jid    TEXT NOT NULL,
	xml       BLOB NOT NULL,    -- onion side
	since     INTEGER NOT NULL, -- Unix milliseconds
	session   TEXT NOT NULL,    -- in which it was written last, '' if it was not
	seq       INTEGER NOT NULL  -- its number there
);
CREATE TABLE session (
	id   TEXT PRIMARY KEY, -- XEP-0198 §5: the SM-ID
	peer TEXT NOT NULL,
	h    INTEGER NOT NULL  -- stanzas from the peer that were handled
);
CREATE TABLE peer (
	onion  TEXT PRIMARY KEY,
	direct INTEGER NOT NULL, -- it takes streams with TLS from the first octet, and proves itself by them
	seen   INTEGER NOT NULL  -- Unix seconds
);
`, `
CREATE TABLE online ( -- contacts of users here; addresses host side
	peer     TEXT NOT NULL,
	from_jid TEXT NOT NULL,
	to_jid   TEXT NOT NULL,
	PRIMARY KEY (peer, from_jid, to_jid)
);
`, `
ALTER TABLE session ADD COLUMN theirs TEXT NOT NULL DEFAULT ''; -- another SM-ID of it
ALTER TABLE item ADD COLUMN place INTEGER NOT NULL DEFAULT 0; -- among all
`, `
CREATE TABLE mask (       -- what peers see in the place of sessions here; addresses host side
	peer  TEXT NOT NULL,
	real  TEXT NOT NULL,
	shown TEXT NOT NULL,
	ends  INTEGER NOT NULL, -- Unix seconds; 0: the session is there
	PRIMARY KEY (peer, real)
);
CREATE TABLE mask_open (  -- who at the peer was told that it is available
	peer   TEXT NOT NULL,
	real   TEXT NOT NULL,
	to_jid TEXT NOT NULL,
	PRIMARY KEY (peer, real, to_jid)
);
`, `
CREATE TABLE waiting ( -- item without AUTOINCREMENT, which costs as much as the row
	id        INTEGER PRIMARY KEY,
	peer      TEXT NOT NULL,
	from_pair TEXT NOT NULL,
	to_pair   TEXT NOT NULL,
	kind      INTEGER NOT NULL,
	type      TEXT NOT NULL,
	stanza_id TEXT NOT NULL,
	from_jid  TEXT NOT NULL,
	to_jid    TEXT NOT NULL,
	xml       BLOB NOT NULL,
	since     INTEGER NOT NULL,
	session   TEXT NOT NULL,
	seq       INTEGER NOT NULL,
	place     INTEGER NOT NULL
);
INSERT INTO waiting (id, peer, from_pair, to_pair, kind, type, stanza_id, from_jid, to_jid, xml, since, session, seq, place)
	SELECT id, peer, from_pair, to_pair, kind, type, stanza_id, from_jid, to_jid, xml, since, session, seq, place FROM item;
DROP TABLE item;
ALTER TABLE waiting RENAME TO item;
`},
	Pragmas:     []string{"secure_delete(ON)"},
	Connections: 1,
	Instead:     "move it away; what waited for peers is lost",
}

// openSpool opens the database, or makes it.
func openSpool(path string) (*spool, error) {
	s := &spool{ops: make(chan database.Op, maxSpoolOps), end: make(chan struct{})}
	db, err := spoolSchema.Open(path, s.prepare)
	if err != nil {
		return nil, fmt.Errorf("onionroute: spool %s: %w", path, err)
	}
	s.db = db
	writer := &database.Committer{DB: db, Undone: func(err error) error { return fmt.Errorf("onionroute: spool: %w", err) }}
	go func() {
		defer close(s.end)
		writer.Run(s.ops)
	}()
	return s, nil
}

func (s *spool) prepare(db *sql.DB) (err error) {
	for query, stmt := range map[string]**sql.Stmt{insertItem: &s.insert, renumberItem: &s.renumber, deleteItems: &s.delete, putSession: &s.put} {
		if *stmt, err = db.Prepare(query); err != nil {
			return err
		}
	}
	return nil
}

// What is done for every message.
const (
	insertItem   = "INSERT INTO item (peer, from_pair, to_pair, kind, type, stanza_id, from_jid, to_jid, xml, since, session, seq, place) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
	renumberItem = "UPDATE item SET session = ?, seq = ? WHERE id = ?"
	deleteItems  = "DELETE FROM item WHERE id BETWEEN ? AND ?"
	putSession   = "INSERT INTO session (id, theirs, peer, h) VALUES (?,?,?,?) ON CONFLICT (id) DO UPDATE SET theirs = excluded.theirs, h = excluded.h"
)

// CheckSpool tells if the spool in a file can be used, and does not change it. One that is
// not there can.
func CheckSpool(path string) error {
	return spoolSchema.Check(path, func(db *sql.DB) error {
		_, err := (&spool{db: db}).items()
		return err
	})
}

// close ends the writer when all changes are on disk.
func (s *spool) close() error {
	close(s.ops)
	<-s.end
	return s.db.Close()
}

// change makes a change and waits until it is on disk.
func (s *spool) change(do func(*sql.Tx) error) error {
	done := make(chan error, 1)
	s.ops <- database.Op{Do: do, Done: func(err error) { done <- err }}
	return <-done
}

// store writes items that are new, and the session and number of all of them. done is
// called when they are on disk or that has failed.
func (s *spool) store(items []*item, session string, done func(error)) {
	seqs := make([]uint32, len(items))
	for i, it := range items {
		seqs[i] = it.seq
	}
	var fresh []*item
	undo := func() {
		for _, it := range fresh {
			it.row = 0
		}
		fresh = nil
	}
	s.ops <- database.Op{Do: func(tx *sql.Tx) error {
		undo() // it may be the second attempt
		insert, renumber := tx.Stmt(s.insert), tx.Stmt(s.renumber)
		for i, it := range items {
			if it.row != 0 {
				if _, err := renumber.Exec(session, seqs[i], it.row); err != nil {
					return err
				}
				continue
			}
			h := &it.head
			r, err := insert.Exec(it.onion, it.pair.from, it.pair.to, h.Kind, h.Type, h.ID, h.From.String(), h.To.String(), it.xml, it.since.UnixMilli(), session, seqs[i], it.order)
			if err != nil {
				return err
			}
			if it.row, err = r.LastInsertId(); err != nil {
				return err
			}
			fresh = append(fresh, it)
		}
		return nil
	}, Done: func(err error) {
		if err != nil {
			undo()
		}
		done(err)
	}}
}

// remove forgets items. One that cannot be forgotten goes out once more after
// the next start.
func (s *spool) remove(items []*item, done func(error)) {
	if len(items) == 0 {
		return
	}
	s.ops <- database.Op{Do: func(tx *sql.Tx) error {
		for from := 0; from < len(items); { // runs of numbers, which is what they mostly are
			to := from
			for to+1 < len(items) && items[to+1].row == items[to].row+1 {
				to++
			}
			if items[from].row != 0 {
				if _, err := tx.Stmt(s.delete).Exec(items[from].row, items[to].row); err != nil {
					return err
				}
			}
			from = to + 1
		}
		return nil
	}, Done: done}
}

// items reads all items, those for each peer in order.
func (s *spool) items() ([]*item, error) {
	rows, err := s.db.Query("SELECT id, peer, from_pair, to_pair, kind, type, stanza_id, from_jid, to_jid, xml, since, session, seq, place FROM item ORDER BY place, id")
	if err != nil {
		return nil, fmt.Errorf("onionroute: spool: %w", err)
	}
	defer rows.Close()
	var items []*item
	for rows.Next() {
		it := &item{kept: true, stored: true}
		var from, to string
		var since int64
		if err := rows.Scan(&it.row, &it.onion, &it.pair.from, &it.pair.to, &it.head.Kind, &it.head.Type, &it.head.ID, &from, &to, &it.xml, &since, &it.session, &it.seq, &it.order); err != nil {
			return nil, fmt.Errorf("onionroute: spool: %w", err)
		}
		if it.head.From, err = jid.Parse(from); err == nil {
			it.head.To, err = jid.Parse(to)
		}
		if err != nil || it.head.Kind > component.IQ {
			return nil, fmt.Errorf("onionroute: spool: item %d is damaged: %w", it.row, err)
		}
		// Age goes on from here by a clock that does not jump.
		it.since = time.Now().Add(-max(0, time.Since(time.UnixMilli(since))))
		items = append(items, it)
	}
	return items, rows.Err()
}
