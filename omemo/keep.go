package omemo

import (
	"bytes"
	"database/sql"
	"errors"
	"slices"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// Limits of what is kept of one user.
const (
	maxBundlesKept = 64      // of one format
	maxBytesKept   = 1 << 20 // of both formats
	renewEvery     = time.Hour
)

// what says whose list or bundle it is. item is the id of the item of pubsub, "" for any.
type what struct {
	owner  jid.JID // bare
	format *Format
	device uint32 // 0: the list
	item   string
}

// keep keeps what was found at that side, and looks for the bundles of a new list if it is
// of a peer. asked is the request that it answers, nil if there was none.
func (d *Directory) keep(at side, owner jid.JID, found []find, asked *component.Stanza) {
	for _, f := range found {
		if f.payload != nil {
			d.store.keep(owner, f, asked)
		}
		if at == peerSide && f.device == 0 {
			d.renew(owner, f)
		}
	}
}

// keep keeps a list or a bundle. With a new list go the bundles of devices that are not on it.
func (st *store) keep(owner jid.JID, f find, asked *component.Stanza) {
	xml := f.payload.AppendXML(nil, component.NSClient)
	now := time.Now().Unix()
	var asker jid.JID
	if asked != nil {
		asker = asked.From.Bare()
	}
	st.queue(func(tx *sql.Tx) error {
		id, err := st.owner(tx, owner, asked != nil || st.o.Local(owner), now)
		if err != nil {
			return err
		}
		var old []byte
		var item string
		var since int64
		err = tx.QueryRow("SELECT item, xml, fetched FROM item WHERE owner = ? AND format = ? AND device = ?",
			id, f.format.namespace, f.device).Scan(&item, &old, &since)
		same := err == nil && bytes.Equal(old, xml) && item == f.id
		switch {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		case same && since <= now && time.Duration(now-since)*time.Second < renewEvery:
			return nil
		case err == nil && f.bundle != nil:
			one, err := st.rationed(tx, id, &f, old, asker)
			if one {
				_, err = tx.Exec("UPDATE item SET fetched = ? WHERE owner = ? AND format = ? AND device = ?", now, id, f.format.namespace, f.device)
			}
			if one || err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`INSERT INTO item (owner, format, device, item, xml, fetched) VALUES (?,?,?,?,?,?)
			ON CONFLICT (owner, format, device) DO UPDATE SET item = excluded.item, xml = excluded.xml, fetched = excluded.fetched`,
			id, f.format.namespace, f.device, f.id, xml, now); err != nil {
			return err
		}
		if same {
			return nil
		}
		if f.list != nil {
			err = st.prune(tx, id, f.list)
		} else if err = st.replaced(tx, id, &f); err == nil {
			err = st.bound(tx, id, f.format)
		}
		if err != nil {
			return err
		}
		return st.weigh(tx, id)
	}, nil)
}

// owner is the row of a user, which is made if there is none.
func (st *store) owner(tx *sql.Tx, owner jid.JID, asked bool, now int64) (id int64, err error) {
	err = tx.QueryRow("SELECT id FROM owner WHERE jid = ?", owner.String()).Scan(&id)
	switch {
	case err == nil:
		_, err = tx.Exec("UPDATE owner SET asked = MAX(asked, ?), used = ? WHERE id = ?", asked, now, id)
	case errors.Is(err, sql.ErrNoRows):
		st.users++
		err = tx.QueryRow("INSERT INTO owner (jid, asked, used, bytes) VALUES (?,?,?,0) RETURNING id", owner.String(), asked, now).Scan(&id)
	}
	return id, err
}

// prune forgets bundles of devices that are not on the list, and which bundles were refused.
func (st *store) prune(tx *sql.Tx, owner int64, l *DeviceList) error {
	if _, err := tx.Exec("DELETE FROM refused WHERE owner = ? AND node NOT IN (?,?)", owner, NodeLegacyDevices, NodeOMEMO2Devices); err != nil {
		return err
	}
	have, err := column[uint32](tx, "SELECT device FROM item WHERE owner = ? AND format = ? AND device > 0", owner, l.Format.namespace)
	if err != nil {
		return err
	}
	for _, device := range have {
		if slices.ContainsFunc(l.Devices, func(d Device) bool { return d.ID == device }) {
			continue
		}
		if _, err := tx.Exec("DELETE FROM item WHERE owner = ? AND format = ? AND device = ?", owner, l.Format.namespace, device); err != nil {
			return err
		}
	}
	return nil
}

// rationed tells if a bundle is what another directory gave of the one that is kept: the same
// with one of its one-time pre-keys. That is the asker's, and the rest stays.
func (st *store) rationed(tx *sql.Tx, owner int64, f *find, old []byte, asker jid.JID) (bool, error) {
	n := node{format: f.format, bundles: true, device: f.device}
	kept, err := n.again(find{id: current, device: f.device}, old)
	if err != nil || len(f.bundle.PreKeys) != 1 || kept.bundle.Signature != f.bundle.Signature || !slices.Contains(kept.bundle.PreKeys, f.bundle.PreKeys[0]) {
		return false, nil
	}
	if err := f.handOut(tx, owner, f.bundle.PreKeys[0].Key, asker); err != nil {
		return false, err
	}
	return true, nil
}

// replaced forgets to whom pre-keys were handed that a device has replaced.
func (st *store) replaced(tx *sql.Tx, owner int64, f *find) error {
	handed, err := column[[]byte](tx, "SELECT prekey FROM handed WHERE owner = ? AND format = ? AND device = ?", owner, f.format.namespace, f.device)
	if err != nil {
		return err
	}
	for _, key := range handed {
		if slices.ContainsFunc(f.bundle.PreKeys, func(k PreKey) bool { return bytes.Equal(k.Key[:], key) }) {
			continue
		}
		if _, err := tx.Exec("DELETE FROM handed WHERE owner = ? AND format = ? AND device = ? AND prekey = ?",
			owner, f.format.namespace, f.device, key); err != nil {
			return err
		}
	}
	return nil
}

// bound forgets the oldest bundles of a user who has too many.
func (st *store) bound(tx *sql.Tx, owner int64, f *Format) error {
	if _, err := tx.Exec(`DELETE FROM item WHERE owner = ? AND format = ? AND device IN
		(SELECT device FROM item WHERE owner = ? AND format = ? AND device > 0 ORDER BY fetched DESC, device LIMIT 1000 OFFSET ?)`,
		owner, f.namespace, owner, f.namespace, maxBundlesKept); err != nil {
		return err
	}
	for {
		var sum int64
		if err := tx.QueryRow("SELECT COALESCE(SUM(LENGTH(xml)), 0) FROM item WHERE owner = ?", owner).Scan(&sum); err != nil || sum <= maxBytesKept {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM item WHERE owner = ? AND device > 0 AND fetched =
			(SELECT MIN(fetched) FROM item WHERE owner = ? AND device > 0)`, owner, owner); err != nil {
			return err
		}
	}
}

// weigh notes how much is kept of a user.
func (st *store) weigh(tx *sql.Tx, owner int64) error {
	var before, now int64
	if err := tx.QueryRow("SELECT bytes, (SELECT COALESCE(SUM(LENGTH(xml)), 0) FROM item WHERE owner = owner.id) FROM owner WHERE id = ?", owner).
		Scan(&before, &now); err != nil {
		return err
	}
	st.bytes += now - before
	_, err := tx.Exec("UPDATE owner SET bytes = ? WHERE id = ?", now, owner)
	return err
}

// drop forgets a list or a bundle.
func (st *store) drop(w what) {
	st.forget(w, "device = ? AND (item = ? OR ? = '')", w.device, w.item, w.item)
}

// dropBundles forgets all bundles.
func (st *store) dropBundles(w what) { st.forget(w, "device > 0") }

func (st *store) forget(w what, which string, args ...any) {
	st.queue(func(tx *sql.Tx) error {
		var id int64
		if err := tx.QueryRow("SELECT id FROM owner WHERE jid = ?", w.owner.String()).Scan(&id); errors.Is(err, sql.ErrNoRows) {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM item WHERE owner = ? AND format = ? AND "+which, append([]any{id, w.format.namespace}, args...)...); err != nil {
			return err
		}
		return st.weigh(tx, id)
	}, nil)
}

// column is the one column of a query.
func column[T any](tx *sql.Tx, query string, args ...any) (values []T, err error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, rows.Err()
}
