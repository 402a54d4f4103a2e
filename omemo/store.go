package omemo

import (
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/allium-xmpp/allium/component/database"
)

// A store keeps device lists and bundles in an SQLite file. One goroutine does all that is
// asked of it, and commits what came meanwhile in one transaction. It is a memory and not
// an archive: what it is too busy for is left out. It is safe for concurrent use.
type store struct {
	db    *sql.DB
	o     *Options
	ops   chan database.Op
	ended chan struct{}

	mu     sync.RWMutex // against use after close
	closed bool

	// The goroutine's own: what there is.
	users int
	bytes int64
}

const maxOps = 4096 // that wait

var storeSchema = database.Schema{Migrations: []string{`
CREATE TABLE owner (
	id    INTEGER PRIMARY KEY,
	jid   TEXT NOT NULL UNIQUE,
	asked INTEGER NOT NULL, -- if somebody has asked for the keys, or they are of a user of the host
	used  INTEGER NOT NULL, -- last; Unix seconds
	bytes INTEGER NOT NULL  -- of what is kept
);
CREATE INDEX owner_used ON owner (asked, used);
CREATE TABLE item (
	owner   INTEGER NOT NULL REFERENCES owner (id) ON DELETE CASCADE,
	format  TEXT NOT NULL,    -- the namespace
	device  INTEGER NOT NULL, -- 0: the device list
	item    TEXT NOT NULL,    -- its id
	xml     BLOB NOT NULL,
	fetched INTEGER NOT NULL, -- Unix seconds
	PRIMARY KEY (owner, format, device)
);
CREATE TABLE handed ( -- one-time pre-keys that were handed out from here
	owner  INTEGER NOT NULL,
	format TEXT NOT NULL,
	device INTEGER NOT NULL,
	prekey BLOB NOT NULL,
	asker  TEXT NOT NULL,
	at     INTEGER NOT NULL, -- last; Unix nanoseconds
	PRIMARY KEY (owner, format, device, prekey),
	FOREIGN KEY (owner, format, device) REFERENCES item (owner, format, device) ON DELETE CASCADE
);
`, `
CREATE TABLE listener ( -- clients at peers that the host notifies of a local user's list
	owner  INTEGER NOT NULL REFERENCES owner (id) ON DELETE CASCADE,
	format TEXT NOT NULL,
	jid    TEXT NOT NULL,
	told   BLOB NOT NULL,    -- hash of the last list that it was told
	at     INTEGER NOT NULL, -- when; Unix nanoseconds
	PRIMARY KEY (owner, format, jid)
);
CREATE TABLE refused ( -- what the host did not let peers read of a local user, though it is there
	owner INTEGER NOT NULL REFERENCES owner (id) ON DELETE CASCADE,
	node  TEXT NOT NULL,
	at    INTEGER NOT NULL, -- last; Unix seconds
	PRIMARY KEY (owner, node)
);
`},
	Pragmas:     []string{"foreign_keys(ON)"},
	Connections: 1,
	Instead:     "move it away; keys are fetched again",
}

// openStore opens the file, or makes it.
func openStore(file string, o *Options) (*store, error) {
	st := &store{o: o, ops: make(chan database.Op, maxOps), ended: make(chan struct{})}
	db, err := storeSchema.Open(file, func(db *sql.DB) error { return st.count(db) })
	if err != nil {
		return nil, fmt.Errorf("omemo: %s: %w", file, err)
	}
	st.db = db
	writer := &database.Committer{DB: db, Last: st.evict, Undone: func(err error) error { return errors.Join(err, st.count(db)) }}
	go func() {
		defer close(st.ended)
		writer.Run(st.ops)
	}()
	return st, nil
}

// CheckFile tells if the file of a directory can be used, where there is one. It does not
// change it.
func CheckFile(file string) error { return storeSchema.Check(file, nil) }

// CheckOwnDevice tells if the file of an OwnDevice can be used, where there is one. It does
// not change it.
func CheckOwnDevice(file string) error { return ownSchema.Check(file, nil) }

// count finds out how much there is.
func (st *store) count(db *sql.DB) error {
	return db.QueryRow("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM owner").Scan(&st.users, &st.bytes)
}

// close does what waits, and closes the file.
func (st *store) close() error {
	st.mu.Lock()
	st.closed = true
	st.mu.Unlock()
	close(st.ops)
	<-st.ended
	return st.db.Close()
}

// queue has something done soon. done, which may be nil, is called when it is on disk or has
// failed, and must not wait. It is false if too much waits, or the store is closed.
func (st *store) queue(do func(*sql.Tx) error, done func(error)) bool {
	o := database.Op{Do: do, Done: func(err error) {
		if err != nil {
			st.o.Log.Error("the directory of OMEMO keys cannot be written: is the disk full?", "error", err)
		}
		if done != nil {
			done(err)
		}
	}}
	st.mu.RLock()
	defer st.mu.RUnlock()
	if st.closed {
		return false
	}
	select {
	case st.ops <- o:
		return true
	default:
		return false
	}
}

// evict forgets users while there is too much: first those at peers whose keys nobody has asked for,
// then those whose keys were not used for longest.
func (st *store) evict(tx *sql.Tx) error {
	for st.users > st.o.MaxUsers || st.bytes > st.o.MaxBytes && st.users > 0 {
		var id, bytes int64
		if err := tx.QueryRow("SELECT id, bytes FROM owner ORDER BY asked, used, id LIMIT 1").Scan(&id, &bytes); err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM owner WHERE id = ?", id); err != nil {
			return err
		}
		st.users--
		st.bytes -= bytes
	}
	return nil
}
