package omemo

import (
	"database/sql"
	"errors"
	"time"
)

// Limits of sessions that are kept.
const (
	maxOwnSessions  = 1000
	maxSessionBytes = 256 << 10 // of one; who skips many messages makes it large
)

// A sessionKey says with whom a session is.
type sessionKey struct {
	format *Format
	jid    string // bare
	device uint32
}

// loadSession is what is kept of a session, nil if there is none.
func loadSession(tx *sql.Tx, k sessionKey) (record []byte, err error) {
	err = tx.QueryRow("SELECT record FROM session WHERE format = ? AND jid = ? AND device = ?", k.format.namespace, k.jid, k.device).Scan(&record)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return record, err
}

// storeSession keeps a session. If there are too many, those that were not used for longest
// are forgotten.
func storeSession(tx *sql.Tx, k sessionKey, record []byte, now time.Time) error {
	if len(record) > maxSessionBytes {
		return errors.New("a session is too large")
	}
	if _, err := tx.Exec("INSERT OR REPLACE INTO session (format, jid, device, record, used) VALUES (?,?,?,?,?)",
		k.format.namespace, k.jid, k.device, record, now.Unix()); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM session WHERE rowid IN (SELECT rowid FROM session ORDER BY used DESC, rowid DESC LIMIT -1 OFFSET ?)", maxOwnSessions)
	return err
}
