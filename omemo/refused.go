package omemo

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"mellium.im/xmpp/jid"
)

// HostSettings says how an admin mends a host that keeps keys from those who need them.
const HostSettings = "with ejabberd, set force_node_config of mod_pubsub to access_model: open for \"eu.siacs.conversations.axolotl.*\" and \"urn:xmpp:omemo:2:*\" " +
	"(nodes that are there already stay as they are until a client opens them, or their owner deletes them); " +
	"with Prosody, load mod_privilege, for the host and for the component, and set privileged_entities to iq = { [\"http://jabber.org/protocol/pubsub\"] = \"get\" } for Allium's gateway domain"

// Refused tells, by an error with words for an admin, if the host has refused to peers, in
// the last 30 days, what the file of a directory says that there is, and has not given it to
// anybody since. A Directory may be using the file.
func Refused(file string) error {
	var users int
	var last int64
	err := storeSchema.Check(file, func(db *sql.DB) error {
		return db.QueryRow("SELECT COUNT(DISTINCT owner), COALESCE(MAX(at), 0) FROM refused WHERE at > ?", time.Now().Add(-auditAge).Unix()).Scan(&users, &last)
	})
	if err == nil && users > 0 {
		err = fmt.Errorf("it has refused them those of %d of its users, the last time on %s: %s", users, time.Unix(last, 0).UTC().Format(time.DateOnly), HostSettings)
	}
	return err
}

// refused notes that the host does not let a peer read what q is for, if that is there: on
// the list, or the list itself.
func (st *store) refused(q *question) {
	st.queue(func(tx *sql.Tx) error {
		var id int64
		var xml []byte
		err := tx.QueryRow("SELECT owner, xml FROM item JOIN owner ON owner.id = item.owner WHERE jid = ? AND format = ? AND device = 0",
			q.owner.String(), q.format.namespace).Scan(&id, &xml)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		} else if err != nil {
			return err
		}
		kept, err := (&node{format: q.format}).again(find{}, xml)
		if err != nil || q.bundles && !slices.ContainsFunc(kept.list.Devices, func(d Device) bool { return q.device == 0 || q.device == d.ID }) {
			return nil
		}
		_, err = tx.Exec("INSERT INTO refused (owner, node, at) VALUES (?,?,?) ON CONFLICT (owner, node) DO UPDATE SET at = excluded.at", id, q.name, time.Now().Unix())
		return err
	}, nil)
}

// granted notes that the host has let a peer read.
func (st *store) granted(q *question) {
	st.queue(func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM refused WHERE owner = (SELECT id FROM owner WHERE jid = ?) AND node = ?", q.owner.String(), q.name)
		return err
	}, nil)
}

// knownLists are the local users whose lists the file of a directory has, those first whose
// keys were used last.
func knownLists(file string, local func(jid.JID) bool, most int) (users []jid.JID, err error) {
	err = storeSchema.Check(file, func(db *sql.DB) error {
		rows, err := db.Query("SELECT DISTINCT jid, used FROM owner JOIN item ON item.owner = owner.id WHERE device = 0 ORDER BY used DESC, jid")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() && len(users) < most {
			var name string
			var used int64
			if err := rows.Scan(&name, &used); err != nil {
				return err
			}
			if j, err := jid.Parse(name); err == nil && local(j) {
				users = append(users, j)
			}
		}
		return rows.Err()
	})
	return users, err
}
