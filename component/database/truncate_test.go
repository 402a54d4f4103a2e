package database

import (
	"database/sql"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The log is emptied as soon as nobody reads what was before, and all is in the file.
func TestTruncate(t *testing.T) {
	file := testFile(t)
	db := open(t, letters(3), file)
	reader, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	defer reader.Rollback()
	require.NoError(t, reader.QueryRow("SELECT COUNT(*) FROM letter").Scan(new(int)))
	exec(t, db, "INSERT INTO letter (text) VALUES ('dear')")
	size := func() int64 {
		st, err := os.Stat(file + "-wal")
		require.NoError(t, err)
		return st.Size()
	}
	done, err := Truncate(t.Context(), db, time.Millisecond)
	require.NoError(t, err)
	require.False(t, done)
	require.NotZero(t, size())
	require.NoError(t, reader.Rollback())
	done, err = Truncate(t.Context(), db, time.Millisecond)
	require.NoError(t, err)
	require.True(t, done)
	require.Zero(t, size())
	assert.Equal(t, "dear", get[string](t, db, "SELECT text FROM letter"))
	for range 2 { // all connections there are
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		var ms int
		require.NoError(t, conn.QueryRowContext(t.Context(), "PRAGMA busy_timeout").Scan(&ms))
		assert.Equal(t, 5000, ms)
	}
}
