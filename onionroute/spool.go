package onionroute

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/allium-xmpp/allium/component/database"
)

// A spool is what outlives the process: items that wait for peers or were written to
// them and not acknowledged, sessions of stream management (XEP-0198), and what is
// known of peers. One goroutine writes, and commits what came meanwhile at once; it
// outlives the process then, and the machine soon after. What mostly is done with soon, items
// and how far sessions were handled, goes to a journal first (see database.Journal and
// recent). All methods are safe for concurrent use.
type spool struct {
	db  *sql.DB
	ops chan database.Op
	end chan struct{} // closed when the writer has ended

	mu     sync.RWMutex
	closed bool // nothing is to be sent to ops

	recent *recent // what its journal has; the writer's own
	newest int64   // the highest order that an item had when it was opened

	// Compiled once: that takes longer than what they do.
	insert, thin, empty, delete, put *sql.Stmt
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
`, `
CREATE TABLE batch ( -- of items, which item has one by one: what costs is the row
	id      INTEGER PRIMARY KEY,
	peer    TEXT NOT NULL,    -- X.onion
	session TEXT NOT NULL,    -- in which it was written last, '' if it was not
	items   BLOB NOT NULL     -- records, see item.appendRecord
);
CREATE TABLE thinned ( -- batches of which some items are done; not in the same row, which is written as a whole
	batch INTEGER PRIMARY KEY,
	kept  INTEGER NOT NULL, -- how many items are not done
	gone  TEXT NOT NULL     -- the places of the others, from 0: "0-3 7-7 "
);
`, `
ALTER TABLE session ADD COLUMN since INTEGER NOT NULL DEFAULT 0; -- Unix seconds: when the row was last written
UPDATE session SET since = CAST(strftime('%s', 'now') AS INTEGER);
CREATE TABLE met ( -- whom accounts here have business with; bare addresses, host side
	contact TEXT NOT NULL,
	account TEXT NOT NULL,
	peer    TEXT NOT NULL,    -- X.onion
	day     INTEGER NOT NULL, -- when it was seen last, in days since 1970
	PRIMARY KEY (contact, account)
);
`, database.JournalTable, `
ALTER TABLE met ADD COLUMN shown INTEGER NOT NULL DEFAULT 0; -- if it was told when the account is on-line, as its contact
`},
	Pragmas:     []string{"secure_delete(ON)"},
	Soon:        true, // a message would wait for the disk twice on its way, and so would those that are read behind it
	Connections: 1,
	Instead:     "move it away, and what lies beside it under its name; what waited for peers is lost",
}

// openSpool opens the database, or makes it. unsaved, which may be nil, is told why what is
// committed does not get on disk.
func openSpool(path string, unsaved func(error)) (*spool, error) {
	s := &spool{ops: make(chan database.Op, maxSpoolOps), end: make(chan struct{}), recent: newRecent()}
	var journal *database.Journal
	_, err := spoolSchema.Open(path, func(db *sql.DB) error {
		if err := s.prepare(db); err != nil {
			return err
		}
		r, err := newReplay(s)
		if err != nil {
			return err
		}
		// SQLite has what is its own beside the file, and not beside a link to it.
		if path, err = filepath.EvalSymlinks(path); err == nil {
			journal, err = database.OpenJournal(db, path, r.notes, r.fold)
		}
		s.recent.last, s.newest = r.recent.last, r.newest()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("onionroute: spool %s: %w", path, err)
	}
	writer := &database.Committer{DB: s.db, Soon: path, Unsaved: unsaved,
		Journal: journal, Fold: func(tx *sql.Tx) error { return s.recent.fold(s, tx) }, Folded: s.recent.folded,
		Undone: func(err error) error { return fmt.Errorf("onionroute: spool: %w", err) }}
	go func() {
		defer close(s.end)
		writer.Run(s.ops)
	}()
	return s, nil
}

func (s *spool) prepare(db *sql.DB) (err error) {
	s.db = db
	for query, stmt := range map[string]**sql.Stmt{insertBatch: &s.insert, thinBatch: &s.thin, emptyBatch: &s.empty, deleteBatch: &s.delete, putSession: &s.put} {
		if *stmt, err = db.Prepare(query); err != nil {
			return err
		}
	}
	return s.adopt()
}

// What is done for every message that waits.
const (
	insertBatch = "INSERT INTO batch (peer, session, items) VALUES (?,?,?)"
	thinBatch   = "INSERT INTO thinned (batch, kept, gone) VALUES (?, ? - ?, ?) ON CONFLICT (batch) DO UPDATE SET kept = thinned.kept - ?, gone = thinned.gone || excluded.gone"
	emptyBatch  = "DELETE FROM batch WHERE id = ? AND EXISTS (SELECT 1 FROM thinned WHERE batch = batch.id AND kept <= 0)"
	deleteBatch = "DELETE FROM batch WHERE id = ?"
	putSession  = "INSERT INTO session (id, theirs, peer, h, since) VALUES (?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET theirs = excluded.theirs, h = excluded.h, since = excluded.since"
)

// CheckSpool tells if the spool in a file can be used, and does not change it. One that is
// not there can.
func CheckSpool(path string) error {
	return spoolSchema.Check(path, func(db *sql.DB) error {
		r, err := newReplay(&spool{db: db})
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		if err != nil {
			return err
		}
		return database.CheckJournal(db, path, r.notes)
	})
}

var errClosed = errors.New("onionroute: the spool is closed")

// do makes a change, soon. What comes after the end is told so: timers may still go off.
func (s *spool) do(op database.Op) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case !s.closed:
		s.ops <- op
	case op.Done != nil:
		op.Done(errClosed)
	}
}

// close ends the writer when all changes are committed.
func (s *spool) close() error {
	s.mu.Lock()
	s.closed = true
	close(s.ops)
	s.mu.Unlock()
	<-s.end
	return s.db.Close()
}

// change makes a change and waits until it is committed.
func (s *spool) change(do func(*sql.Tx) error) error {
	done := make(chan error, 1)
	s.do(database.Op{Do: do, Done: func(err error) { done <- err }})
	return <-done
}
