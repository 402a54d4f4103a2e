package onionroute

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What waited in a file of an older release waits still.
func TestSpoolOlderFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spool.sqlite")
	older := spoolSchema
	older.Migrations = older.Migrations[:4]
	db, err := older.Open(file, nil)
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO item VALUES (7, ?, 'a', 'b', 0, 'chat', 'id', 'alice@a.example', 'bob@b.example', 'xml', 1000, 'session', 3, 9)", testX)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	s, err := openSpool(file)
	require.NoError(t, err)
	defer s.close()
	items, err := s.items()
	require.NoError(t, err)
	require.Len(t, items, 1)
	it := items[0]
	assert.Equal(t, []any{int64(7), testX, pair{"a", "b"}, "chat", "id", "alice@a.example", "bob@b.example", "xml", "session", uint32(3), int64(9)},
		[]any{it.row, it.onion, it.pair, it.head.Type, it.head.ID, it.head.From.String(), it.head.To.String(), string(it.xml), it.session, it.seq, it.order})
}
