package database

import (
	"errors"
	"fmt"
	"io/fs"

	"modernc.org/sqlite" // and the driver of that name
	sqlite3 "modernc.org/sqlite/lib"
)

var errNewer = errors.New("it was written by a newer Allium")

// Explain adds to an error what an admin can do about it. What is not an error of SQLite is
// one of what is in the file.
func (s *Schema) Explain(err error) error {
	var e *sqlite.Error
	var file *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNewer):
		return fmt.Errorf("%w: use that one, or %s", err, s.Instead)
	case errors.As(err, &file):
		return fmt.Errorf("it, or what lies beside it, cannot be read or written: that and its folder must be Allium's, and the disk must have room (%w)", err)
	case !errors.As(err, &e):
		return fmt.Errorf("it is damaged: %s (%w)", s.Instead, err)
	}
	switch e.Code() & 0xff { // what is above tells more of the same
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR: // the last: a table is not there
		return fmt.Errorf("it is damaged: %s (%w)", s.Instead, err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return fmt.Errorf("it cannot be used: it, what lies beside it and its folder must be Allium's, to read and to write (%w)", err)
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
		return fmt.Errorf("it cannot be read or written: is the disk full, or broken? (%w)", err)
	}
	return err
}

// Locked tells if an error is that another process holds the file, for which was waited.
func Locked(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}
