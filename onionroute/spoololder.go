package onionroute

import (
	"time"

	"mellium.im/xmpp/jid"
)

// adopt takes over what an older release left, row by row.
func (s *spool) adopt() error {
	items, err := s.older()
	if err != nil || len(items) == 0 {
		return err
	}
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing behind a Commit
	for _, it := range items {
		if _, err := tx.Stmt(s.insert).Exec(it.onion, it.session, it.appendRecord(nil)); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("DELETE FROM item"); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *spool) older() (items []*item, err error) {
	rows, err := s.db.Query("SELECT peer, from_pair, to_pair, kind, type, stanza_id, from_jid, to_jid, xml, since, session, seq, place FROM item ORDER BY place, id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		it := &item{}
		var from, to string
		var since int64
		if err := rows.Scan(&it.onion, &it.pair.from, &it.pair.to, &it.head.Kind, &it.head.Type, &it.head.ID, &from, &to, &it.xml, &since, &it.session, &it.seq, &it.order); err != nil {
			return nil, err
		}
		if it.head.From, err = jid.Parse(from); err == nil {
			it.head.To, err = jid.Parse(to)
		}
		if err != nil {
			return nil, errDamaged
		}
		it.since = time.UnixMilli(since)
		items = append(items, it)
	}
	return items, rows.Err()
}
