package onionroute

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/allium-xmpp/allium/component/database"
)

// A storedSession is what is known of a session after a restart.
type storedSession struct {
	id, theirs, peer string
	h                uint32
	since            time.Time // as it is read: when it was kept last
}

// sessions reads all sessions, in the order in which they began.
func (s *spool) sessions() ([]storedSession, error) {
	rows, err := s.db.Query("SELECT id, theirs, peer, h, since FROM session ORDER BY rowid")
	if err != nil {
		return nil, fmt.Errorf("onionroute: spool: %w", err)
	}
	defer rows.Close()
	var out []storedSession
	for rows.Next() {
		var ss storedSession
		var since int64
		if err := rows.Scan(&ss.id, &ss.theirs, &ss.peer, &ss.h, &since); err != nil {
			return nil, fmt.Errorf("onionroute: spool: %w", err)
		}
		ss.since = time.Unix(since, 0)
		out = append(out, ss)
	}
	return out, rows.Err()
}

// handled keeps, as of now, how many stanzas of a session were handled.
func (s *spool) handled(ss storedSession) error {
	if ss.id == "" {
		return nil // it cannot be resumed
	}
	ss.since = time.Now()
	back, done := func() {}, make(chan error, 1)
	s.do(database.Op{Note: func(notes []byte) ([]byte, bool) {
		back = s.recent.handled(ss)
		return ss.appendNote(notes), false
	}, Undo: func() { back() }, Done: func(err error) { done <- err }})
	return <-done
}

// endSession forgets a session.
func (s *spool) endSession(ids []string, done func(error)) {
	var back []func()
	s.do(database.Op{Note: func(notes []byte) ([]byte, bool) {
		for _, id := range ids {
			back = append(back, s.recent.ended(id))
		}
		return appendSessionsNote(notes, ids), true
	}, Do: func(tx *sql.Tx) error { return s.dropSessions(tx, ids...) }, Undo: func() {
		for _, f := range back {
			f()
		}
		back = nil
	}, Done: done})
}

// dropSession takes a session out of the spool, as soon as that can be written. If it were
// still there after a restart, the peer's next one could be taken for the same, and what was
// read in this one for read in that.
func (g *Gateway) dropSession(ids []string) {
	g.spool.endSession(ids, func(err error) {
		if err != nil && !errors.Is(err, errClosed) {
			time.AfterFunc(g.times.tick, func() { g.dropSession(ids) })
		}
	})
}

func (s *spool) dropSessions(tx *sql.Tx, ids ...string) error {
	for _, id := range ids {
		if _, err := tx.Exec("DELETE FROM session WHERE id = ?", id); err != nil {
			return err
		}
	}
	return nil
}

// remember keeps if the peer takes direct TLS.
func (s *spool) remember(onion string, direct bool, done func(error)) {
	s.do(database.Op{Do: func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO peer (onion, direct, seen) VALUES (?,?,?) ON CONFLICT (onion) DO UPDATE SET direct = excluded.direct, seen = excluded.seen", onion, direct, time.Now().Unix())
		return err
	}, Done: done})
}

// correct keeps that a peer takes direct TLS, if anything is known of it.
func (s *spool) correct(onion string, done func(error)) {
	s.do(database.Op{Do: func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE peer SET direct = 1, seen = ? WHERE onion = ?", time.Now().Unix(), onion)
		return err
	}, Done: done})
}

// tidy forgets what is known of peers for longer than it is believed, or beyond the newest.
func (s *spool) tidy(within time.Duration, newest int) {
	s.do(database.Op{Lazy: true, Do: func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM peer WHERE seen < ? OR onion NOT IN (SELECT onion FROM peer ORDER BY seen DESC LIMIT ?)", time.Now().Add(-within).Unix(), newest)
		return err
	}})
}

// direct tells if the peer takes direct TLS, and if that is known and not too long ago.
func (s *spool) direct(onion string, within time.Duration) (direct, known bool) {
	var seen int64
	if err := s.db.QueryRow("SELECT direct, seen FROM peer WHERE onion = ?", onion).Scan(&direct, &seen); err != nil {
		return false, false
	}
	age := time.Since(time.Unix(seen, 0))
	return direct, age >= 0 && age < within
}
