package omemo

import (
	"bytes"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// serve looks up what a question is for, of what was fetched since then, and gives it to
// done. It is false if that is too much now.
func (st *store) serve(q *question, since time.Time, done func([]find)) bool {
	var found []find
	return st.queue(func(tx *sql.Tx) (err error) {
		found, err = st.look(tx, q, since)
		return err
	}, func(err error) {
		if err != nil {
			found = nil
		}
		done(found)
	})
}

func (st *store) look(tx *sql.Tx, q *question, since time.Time) ([]find, error) {
	var owner int64
	err := tx.QueryRow("SELECT id FROM owner WHERE jid = ?", q.owner.String()).Scan(&owner)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	found, err := q.kept(tx, owner, since)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	for i := range found {
		f := &found[i]
		if f.device != 0 {
			if err := f.ration(tx, owner, q.head.From.Bare()); err != nil {
				return nil, err
			}
		}
	}
	_, err = tx.Exec("UPDATE owner SET asked = 1, used = ? WHERE id = ?", time.Now().Unix(), owner)
	return found, err
}

// kept is what is kept of what q asks for, the newest first, as it was kept.
func (q *question) kept(tx *sql.Tx, owner int64, since time.Time) (found []find, err error) {
	query, device := "device = ?", q.device
	if q.bundles && q.device == 0 {
		query = "device > ?"
	}
	rows, err := tx.Query("SELECT device, item, xml FROM item WHERE owner = ? AND format = ? AND fetched >= ? AND "+query+" ORDER BY fetched DESC, device",
		owner, q.format.namespace, since.Unix(), device)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var f find
		var xml []byte
		if err := rows.Scan(&f.device, &f.id, &xml); err != nil {
			return nil, err
		}
		if q.ids != nil && !slices.Contains(q.ids, f.id) || q.max > 0 && len(found) == q.max {
			continue
		}
		if f, err := q.again(f, xml); err == nil {
			found = append(found, f)
		}
	}
	return found, rows.Err()
}

// again reads what was kept, and verifies it once more: a disk can be damaged.
func (n *node) again(f find, xml []byte) (find, error) {
	e, err := component.NewContentDecoder(bytes.NewReader(xml), component.NSClient, component.Limits{}).Next()
	if err != nil {
		return f, refuse("not XML")
	}
	return n.one(component.NewElement(NSPubsub, "item", e.Node()).With("id", f.id), jid.JID{})
}

// ration leaves one of the one-time pre-keys in a bundle: one that nobody got from here
// yet, while there are such. A person gets at most a quarter of them, and then those again
// that he had before, the oldest first; nobody can use up what others need.
func (f *find) ration(tx *sql.Tx, owner int64, asker jid.JID) error {
	b := f.bundle
	type handed struct {
		key   Key
		asker string
	}
	var all, mine []handed
	rows, err := tx.Query("SELECT prekey, asker FROM handed WHERE owner = ? AND format = ? AND device = ? ORDER BY at", owner, f.format.namespace, f.device)
	if err != nil {
		return err
	}
	defer rows.Close()
	who := asker.String()
	taken := map[Key]bool{}
	for rows.Next() {
		var key []byte
		var h handed
		if err := rows.Scan(&key, &h.asker); err != nil {
			return err
		}
		copy(h.key[:], key)
		taken[h.key] = true
		all = append(all, h)
		if h.asker == who {
			mine = append(mine, h)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	free := slices.DeleteFunc(slices.Clone(b.PreKeys), func(p PreKey) bool { return taken[p.Key] })
	var chosen Key
	switch share := max(1, len(b.PreKeys)/4); {
	case len(free) > 0 && len(mine) < share:
		chosen = free[rand.IntN(len(free))].Key
	case len(mine) > 0:
		chosen = mine[0].key
	default:
		chosen = all[0].key
	}
	b.PreKeys = slices.DeleteFunc(b.PreKeys, func(p PreKey) bool { return p.Key != chosen })[:1]
	f.payload = b.Element()
	return f.handOut(tx, owner, chosen, asker)
}

// handOut notes that a one-time pre-key was handed out.
func (f *find) handOut(tx *sql.Tx, owner int64, key Key, asker jid.JID) error {
	_, err := tx.Exec(`INSERT INTO handed (owner, format, device, prekey, asker, at) VALUES (?,?,?,?,?,?)
		ON CONFLICT (owner, format, device, prekey) DO UPDATE SET asker = excluded.asker, at = excluded.at`,
		owner, f.format.namespace, f.device, key[:], asker.String(), time.Now().UnixNano())
	return err
}
