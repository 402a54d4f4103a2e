package database

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"
)

// A Schema is what the files of one kind are like. It is not changed, and can be used by
// many at a time.
type Schema struct {
	// Migrations are applied in order, each once in the life of a file. What a release
	// had stays as it is: a change is one more at the end.
	Migrations []string
	// Pragmas are set on each connection, as "secure_delete(ON)", beside those that all
	// files have.
	Pragmas []string
	// Soon is for a file that is written at every moment. What is committed there outlives
	// the process at once, and is on disk soon: see [Committer].
	Soon bool
	// Connections is how many there are at most; 0 is any number. Only one writes at a
	// time, and others wait for up to 5 seconds.
	Connections int
	// Instead tells an admin what to do with a file that cannot be used, as "move it away;
	// all is fetched again".
	Instead string
}

// Open opens a file, or makes it, and applies the migrations that it lacks: all of them or
// none. Then it calls ready, which may be nil, to see what is in it; if that fails the
// database is closed again. An error of ready that is not one of SQLite's is a fault of what
// is in the file.
func (s *Schema) Open(file string, ready func(*sql.DB) error) (*sql.DB, error) {
	// SQLite would make it as readable as the umask lets it. What it makes beside the file
	// gets the file's mode.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, s.Explain(err)
	}
	f.Close()
	synchronous := "synchronous(FULL)"
	if s.Soon {
		synchronous = "synchronous(NORMAL)"
	}
	q := url.Values{"_pragma": append([]string{busy, "journal_mode(WAL)", synchronous}, s.Pragmas...),
		"_txlock": {"immediate"}} // else one that reads first and writes then fails when another has written meanwhile
	db, err := sql.Open("sqlite", uri(file, q))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(s.Connections)
	if err = s.migrate(db); err == nil && ready != nil {
		err = ready(db)
	}
	if err != nil {
		db.Close()
		return nil, s.Explain(err)
	}
	return db, nil
}

// OpenReadOnly opens a file that is there only to read it, also while another process has
// it open. It may lack migrations.
func (s *Schema) OpenReadOnly(file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", uri(file, url.Values{"mode": {"ro"}, "_pragma": {busy}}))
	if err != nil {
		return nil, err
	}
	if _, err := s.version(db); err != nil {
		db.Close()
		return nil, s.Explain(err)
	}
	return db, nil
}

// Check tells if a file can be used, where there is one, and changes nothing. It reads all
// of the file. If the file has all migrations it calls also, which may be nil, to look at
// what is in it.
func (s *Schema) Check(file string, also func(*sql.DB) error) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := s.OpenReadOnly(file)
	if err != nil {
		return err
	}
	defer db.Close()
	var result string
	if err := db.QueryRow("PRAGMA quick_check(1)").Scan(&result); err != nil {
		return s.Explain(err)
	}
	if result != "ok" {
		return s.Explain(errors.New(result))
	}
	if version, err := s.version(db); err != nil || version < len(s.Migrations) || also == nil {
		return s.Explain(err)
	}
	return s.Explain(also(db))
}

const busyFor = 5 * time.Second // as long who writes waits for others

var busy = fmt.Sprintf("busy_timeout(%d)", busyFor.Milliseconds())

// uri is how SQLite is told of a file, whatever its name is.
func uri(file string, q url.Values) string {
	return "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode()
}

// version is how many migrations were applied.
func (s *Schema) version(db interface {
	QueryRow(query string, args ...any) *sql.Row
}) (version int, err error) {
	err = db.QueryRow("PRAGMA user_version").Scan(&version)
	if err == nil && version > len(s.Migrations) {
		err = errNewer
	}
	return version, err
}

func (s *Schema) migrate(db *sql.DB) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	version, err := s.version(tx)
	if err != nil || version == len(s.Migrations) {
		return err
	}
	for _, m := range s.Migrations[version:] {
		if _, err := tx.Exec(m); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(s.Migrations))); err != nil {
		return err
	}
	return tx.Commit()
}
