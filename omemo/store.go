package omemo

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// A store keeps device lists and bundles in an SQLite file. One goroutine does all that is
// asked of it, and commits what came meanwhile in one transaction. It is a memory and not
// an archive: what it is too busy for is left out. It is safe for concurrent use.
type store struct {
	db    *sql.DB
	o     *Options
	ops   chan op
	ended chan struct{}

	mu     sync.RWMutex // against use after close
	closed bool

	// The goroutine's own: what there is.
	users int
	bytes int64
}

// An op is something to do. done, which may be nil, is called when it is on disk or has
// failed, and must not wait.
type op struct {
	do   func(*sql.Tx) error
	done func(error)
}

const (
	maxOps   = 4096 // that wait
	maxGroup = 500  // in one transaction
)

// storeMigrations are applied in order; PRAGMA user_version counts them.
var storeMigrations = []string{`
CREATE TABLE owner (
	id    INTEGER PRIMARY KEY,
	jid   TEXT NOT NULL UNIQUE,
	asked INTEGER NOT NULL, -- if somebody has asked for the keys
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
`}

// openStore opens the file, or makes it.
func openStore(file string, o *Options) (*store, error) {
	db, err := openFile(file, storeMigrations)
	var st *store
	if err == nil {
		st = &store{db: db, o: o, ops: make(chan op, maxOps), ended: make(chan struct{})}
		if err = st.count(db); err != nil {
			db.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("omemo: %s: %w: if it is damaged, move it away; keys are fetched again", file, err)
	}
	go st.run()
	return st, nil
}

// openFile opens an SQLite file that nobody else can read, or makes it. The database has one
// connection.
func openFile(file string, migrations []string) (*sql.DB, error) {
	// Who asked for whose keys is nobody's business, nor are our own.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	q := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)", "foreign_keys(ON)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := migrate(db, migrations); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

var errNewer = errors.New("it was written by a newer Allium")

// CheckFile tells if the file of a directory can be used, where there is one. It does not
// change it.
func CheckFile(file string) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := readStore(file)
	if err != nil {
		return err
	}
	defer db.Close()
	var result string
	if err := db.QueryRow("PRAGMA quick_check").Scan(&result); err != nil || result != "ok" {
		return errors.Join(errors.New("it is damaged: move it away; keys are fetched again"), err)
	}
	return nil
}

// readStore opens the file of a directory only to read it, also while a directory has it.
func readStore(file string) (*sql.DB, error) {
	q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(5000)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	var version int
	err = db.QueryRow("PRAGMA user_version").Scan(&version)
	if err == nil && version > len(storeMigrations) {
		err = errNewer
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func migrate(db *sql.DB, migrations []string) error {
	var version int
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(migrations) {
		return errNewer
	}
	for ; version < len(migrations); version++ {
		if _, err := db.Exec("BEGIN; " + migrations[version] + fmt.Sprintf("PRAGMA user_version = %d; COMMIT", version+1)); err != nil {
			return err
		}
	}
	return nil
}

// count finds out how much there is.
func (st *store) count(db interface {
	QueryRow(query string, args ...any) *sql.Row
}) error {
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

// queue has o done soon. It is false if too much waits, or the store is closed.
func (st *store) queue(o op) bool {
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

func (st *store) run() {
	defer close(st.ended)
	for o := range st.ops {
		group := []op{o}
		for more := true; more && len(group) < maxGroup; {
			select {
			case o, ok := <-st.ops:
				if ok {
					group = append(group, o)
				}
				more = ok
			default:
				more = false
			}
		}
		err := st.commit(group)
		if err != nil && len(group) > 1 { // not all suffer for the one that fails
			for _, o := range group {
				st.finish([]op{o}, st.commit([]op{o}))
			}
			continue
		}
		st.finish(group, err)
	}
}

func (st *store) finish(group []op, err error) {
	if err != nil {
		st.o.Log.Error("the directory of OMEMO keys cannot be written: is the disk full?", "error", err)
	}
	for _, o := range group {
		if o.done != nil {
			o.done(err)
		}
	}
}

func (st *store) commit(group []op) error {
	tx, err := st.db.Begin()
	if err != nil {
		return err
	}
	for _, o := range group {
		if err = o.do(tx); err != nil {
			break
		}
	}
	if err == nil {
		err = st.evict(tx)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		tx.Rollback()
		return errors.Join(err, st.count(st.db))
	}
	return nil
}

// evict forgets users while there is too much: first those whose keys nobody has asked for,
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
