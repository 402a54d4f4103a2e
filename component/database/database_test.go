package database

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// letters is a schema as it was with each release: the first n migrations.
func letters(n int) *Schema {
	return &Schema{Migrations: []string{
		`CREATE TABLE letter (id INTEGER PRIMARY KEY, text TEXT NOT NULL); CREATE TABLE stamp (id INTEGER PRIMARY KEY);`,
		`ALTER TABLE letter ADD COLUMN sender TEXT NOT NULL DEFAULT 'nobody';`,
		`CREATE INDEX letter_by_sender ON letter (sender); UPDATE letter SET sender = 'somebody';`,
	}[:n], Instead: "write it again"}
}

func testFile(t *testing.T) string { return filepath.Join(t.TempDir(), "50% of? #1.sqlite") }

func open(t *testing.T, s *Schema, file string) *sql.DB {
	t.Helper()
	db, err := s.Open(file, nil)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	_, err := db.Exec(query)
	require.NoError(t, err)
}

func get[T any](t *testing.T, db *sql.DB, query string) (v T) {
	t.Helper()
	require.NoError(t, db.QueryRow(query).Scan(&v))
	return v
}

// What a file of any release has is there still, and each migration is applied once.
func TestMigrate(t *testing.T) {
	for n := range 4 {
		file := testFile(t)
		db := open(t, letters(n), file)
		assert.Equal(t, n, get[int](t, db, "PRAGMA user_version"))
		if n > 0 {
			exec(t, db, "INSERT INTO letter (text) VALUES ('dear')")
		}
		require.NoError(t, db.Close())
		for range 2 {
			db = open(t, letters(3), file)
			assert.Equal(t, 3, get[int](t, db, "PRAGMA user_version"))
			if n > 0 {
				want := map[int]string{1: "dear somebody", 2: "dear somebody", 3: "dear nobody"}[n]
				assert.Equal(t, want, get[string](t, db, "SELECT text || ' ' || sender FROM letter"))
			}
			require.NoError(t, db.Close())
		}
	}
}

// A migration that fails leaves the file as it was, also of those before it.
func TestMigrationFails(t *testing.T) {
	file := testFile(t)
	open(t, letters(1), file).Close()
	s := letters(2)
	s.Migrations = append(s.Migrations, "CREATE TABLE letter (id INTEGER)")
	_, err := s.Open(file, nil)
	require.ErrorContains(t, err, "letter already exists")
	db := open(t, letters(1), file)
	assert.Equal(t, 1, get[int](t, db, "PRAGMA user_version"))
	assert.Zero(t, get[int](t, db, "SELECT COUNT(*) FROM pragma_table_info('letter') WHERE name = 'sender'"))
}

// A file of a newer release is left alone.
func TestTooNew(t *testing.T) {
	file := testFile(t)
	open(t, letters(3), file).Close()
	_, err := letters(2).Open(file, nil)
	require.EqualError(t, err, "it was written by a newer Allium: use that one, or write it again")
	_, err = letters(2).OpenReadOnly(file)
	require.EqualError(t, err, "it was written by a newer Allium: use that one, or write it again")
	require.ErrorContains(t, letters(2).Check(file, nil), "newer Allium")
	assert.Equal(t, 3, get[int](t, open(t, letters(3), file), "PRAGMA user_version"))
}

// What is committed is on disk, and nobody else can read it: neither the file nor what lies
// beside it.
func TestPragmas(t *testing.T) {
	file := testFile(t)
	s := letters(3)
	s.Pragmas = []string{"secure_delete(ON)"}
	db := open(t, s, file)
	exec(t, db, "INSERT INTO letter (text) VALUES ('dear')")
	conns := make([]*sql.Conn, 3)
	for i := range conns {
		var err error
		conns[i], err = db.Conn(t.Context())
		require.NoError(t, err)
		defer conns[i].Close()
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000", "secure_delete": "1"} {
			var is string
			require.NoError(t, conns[i].QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&is))
			assert.Equal(t, want, is, pragma)
		}
	}
	files, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, f := range files {
		st, err := f.Info()
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), st.Mode(), f.Name())
	}
	assert.Zero(t, db.Stats().MaxOpenConnections)
	s.Connections = 1
	assert.Equal(t, 1, open(t, s, file).Stats().MaxOpenConnections)
}

// Who opens a file looks at what is in it.
func TestReady(t *testing.T) {
	file := testFile(t)
	var seen *sql.DB
	_, err := letters(3).Open(file, func(db *sql.DB) error {
		seen = db
		assert.Equal(t, 3, get[int](t, db, "PRAGMA user_version"))
		return errors.New("a letter is torn")
	})
	require.EqualError(t, err, "it is damaged: write it again (a letter is torn)")
	require.Error(t, seen.Ping(), "it is closed")
	_, err = letters(3).Open(file, func(db *sql.DB) error { return db.QueryRow("SELECT 1 FROM parcel").Err() })
	require.ErrorContains(t, err, "it is damaged: write it again (")
	require.ErrorContains(t, err, "parcel")
}

// A check tells what is wrong, and changes nothing.
func TestCheck(t *testing.T) {
	file := testFile(t)
	s, torn := letters(3), func(*sql.DB) error { return errors.New("a letter is torn") }
	require.NoError(t, s.Check(file, torn))
	require.NoFileExists(t, file)
	open(t, letters(1), file).Close()
	require.NoError(t, s.Check(file, torn), "it is migrated before anybody looks at what is in it")
	assert.Equal(t, 1, get[int](t, open(t, letters(1), file), "PRAGMA user_version"))
	db := open(t, s, file)
	require.NoError(t, s.Check(file, nil), "while it is open")
	require.EqualError(t, s.Check(file, torn), "it is damaged: write it again (a letter is torn)")
	readOnly, err := s.OpenReadOnly(file)
	require.NoError(t, err)
	defer readOnly.Close()
	exec(t, db, "INSERT INTO letter (text) VALUES ('dear')")
	assert.Equal(t, 1, get[int](t, readOnly, "SELECT COUNT(*) FROM letter"))
	_, err = readOnly.Exec("DELETE FROM letter")
	require.ErrorContains(t, err, "readonly")
}

// A file that is damaged is one that an admin can do something about.
func TestDamaged(t *testing.T) {
	file := testFile(t)
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("not a database", 1000)), 0o600))
	_, err := letters(3).Open(file, nil)
	require.ErrorContains(t, err, "it is damaged: write it again (")
	require.ErrorContains(t, letters(3).Check(file, nil), "it is damaged: write it again (")

	// Only some of its pages are: what is not read is not known.
	require.NoError(t, os.Remove(file))
	db := open(t, letters(3), file)
	exec(t, db, "INSERT INTO letter (text) SELECT HEX(ZEROBLOB(1000)) FROM (VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9))")
	require.NoError(t, db.Close())
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	for i := 4096; i < len(whole); i++ {
		whole[i] ^= 0x55
	}
	require.NoError(t, os.WriteFile(file, whole, 0o600))
	require.ErrorContains(t, letters(3).Check(file, nil), "it is damaged: write it again (")
	_, err = letters(3).Open(file, func(db *sql.DB) error { return db.QueryRow("SELECT COUNT(text) FROM letter").Scan(new(int)) })
	require.ErrorContains(t, err, "it is damaged: write it again (")
}

// Who changes something sees all that was changed before: others wait from its beginning.
func TestOneWrites(t *testing.T) {
	file := testFile(t)
	tx, err := open(t, letters(3), file).Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	s := letters(3)
	s.Connections = 1
	other := open(t, s, filepath.Join(filepath.Dir(file), "other.sqlite"))
	exec(t, other, "PRAGMA busy_timeout = 0")
	exec(t, other, "ATTACH '"+file+"' AS shared")
	_, err = other.Exec("INSERT INTO shared.letter (text) VALUES ('dear')")
	require.ErrorContains(t, err, "locked")
	require.NoError(t, tx.Commit())
	exec(t, other, "INSERT INTO shared.letter (text) VALUES ('dear')")
}
