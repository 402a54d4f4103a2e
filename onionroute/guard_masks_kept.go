package onionroute

import (
	"database/sql"
	"fmt"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component/database"
)

// The masks are kept in the spool, as sessions of local users outlive us: so after a
// restart peers see nobody twice, and what they send to a session finds to it, such as what
// is said in the rooms that it is in. Nothing waits until that is on disk: a crash can lose
// what happened in the moment before.

// keep takes up the masks that are in a spool, and keeps all changes there.
func (m *masks) keep(s *spool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, err := s.masks(time.Now())
	if err != nil {
		return err
	}
	m.spool = s // before, so that those that are too many go there too
	for _, k := range known.order {
		m.add(k, known.byReal[k])
	}
	return nil
}

// keptMasks are the masks in a spool, and in which order they were made.
type keptMasks struct {
	byReal map[maskKey]*mask
	order  []maskKey
}

// masks reads all masks of sessions that have not ended. Of those that nobody was told of
// it is not known if they have: they are kept for a while.
func (s *spool) masks(now time.Time) (keptMasks, error) {
	known := keptMasks{byReal: map[maskKey]*mask{}}
	err := s.change(func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM mask WHERE ends > 0 AND ends < ?", now.Unix())
		if err == nil {
			_, err = tx.Exec("UPDATE mask SET ends = ? WHERE ends = 0 AND (peer, real) NOT IN (SELECT peer, real FROM mask_open)", now.Add(maskLife).Unix())
		}
		return err
	})
	if err != nil {
		return known, err
	}
	rows, err := s.db.Query(`SELECT peer, real, shown, ends, coalesce(to_jid, '') FROM mask
		LEFT JOIN mask_open USING (peer, real) ORDER BY mask.rowid`)
	if err != nil {
		return known, fmt.Errorf("onionroute: spool: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var k maskKey
		var shown, to string
		var ends int64
		if err := rows.Scan(&k.base, &k.address, &shown, &ends, &to); err != nil {
			return known, fmt.Errorf("onionroute: spool: %w", err)
		}
		kept := known.byReal[k]
		if kept == nil {
			kept = &mask{open: map[string]bool{}}
			if kept.real, err = jid.Parse(k.address); err == nil {
				kept.shown, err = jid.Parse(shown)
			}
			if err != nil {
				return known, fmt.Errorf("onionroute: spool: a masked address is damaged: %w", err)
			}
			if ends != 0 {
				kept.ends = time.Unix(ends, 0)
			}
			known.byReal[k] = kept
			known.order = append(known.order, k)
		}
		if to != "" {
			kept.open[to] = true
		}
	}
	return known, rows.Err()
}

func (m *masks) keepNew(k maskKey, made *mask) {
	m.write("INSERT OR REPLACE INTO mask (peer, real, shown, ends) VALUES (?,?,?,0)", k.base, k.address, made.shown.String())
}

func (m *masks) keepGone(k maskKey) {
	m.write("DELETE FROM mask WHERE peer = ? AND real = ?", k.base, k.address)
	m.write("DELETE FROM mask_open WHERE peer = ? AND real = ?", k.base, k.address)
}

// keepOpen keeps that somebody was told that a session is available.
func (m *masks) keepOpen(k maskKey, to string) {
	m.write("INSERT OR IGNORE INTO mask_open (peer, real, to_jid) VALUES (?,?,?)", k.base, k.address, to)
}

func (m *masks) keepClosed(k maskKey, to string) {
	m.write("DELETE FROM mask_open WHERE peer = ? AND real = ? AND to_jid = ?", k.base, k.address, to)
}

// keepEnd keeps when a mask is forgotten, and forgets those whose time is over.
func (m *masks) keepEnd(k maskKey, ends time.Time) {
	unix := int64(0)
	if !ends.IsZero() {
		unix = ends.Unix()
		m.write("DELETE FROM mask WHERE ends > 0 AND ends < ?", time.Now().Unix())
	}
	m.write("UPDATE mask SET ends = ? WHERE peer = ? AND real = ?", unix, k.base, k.address)
}

// write changes what is in the spool, if there is one, soon.
func (m *masks) write(query string, args ...any) {
	if m.spool == nil {
		return
	}
	m.spool.do(database.Op{Do: func(tx *sql.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	}, Done: func(error) {}})
}
