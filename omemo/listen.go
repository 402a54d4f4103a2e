package omemo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"

	"golang.org/x/time/rate"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const (
	maxListeners   = 256 // to one list of one local user
	maxListenersOf = 16  // of these, those of one contact
	recheckRate    = 20  // lists a second that the host is asked for
)

// A listener is a client at a peer that the host notifies of a local user's list. Which do
// the host alone knows: it reads what clients want (XEP-0163 §4.3), and who is a contact.
type listener struct {
	owner  jid.JID // bare
	format *Format
	at     jid.JID // mostly with a resource
}

// hash is how a list is told from another one.
func (f *find) hash() []byte {
	sum := sha256.Sum256(f.payload.AppendXML(nil, component.NSClient))
	return sum[:]
}

// Recheck asks the host, soon and not all at once, for the lists of local users that clients
// at peers listen to, and tells those of a list that they do not know. It is for when the
// host could not reach Allium for a while, and so nobody at a peer. It does not wait.
func (d *Directory) Recheck() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.endRecheck()
	ctx, cancel := context.WithCancel(d.ctx)
	d.endRecheck = cancel
	d.wg.Go(func() { d.recheck(ctx) })
}

// recheck asks in the place of one listener to each list: it gives what that contact may
// have, and mostly there is nothing new.
func (d *Directory) recheck(ctx context.Context) {
	select {
	case <-time.After(d.settle): // the peers' domains may have links of their own
	case <-ctx.Done():
		return
	}
	found := make(chan []listener, 1)
	var all []listener
	if !d.store.queue(func(tx *sql.Tx) (err error) {
		all, err = someListeners(tx)
		return err
	}, func(error) { found <- all }) {
		return
	}
	pace := rate.NewLimiter(recheckRate, 1)
	for _, l := range <-found {
		if pace.Wait(ctx) != nil {
			return
		}
		d.listen(l, nil)
	}
}

// someListeners are one for each list that there is any for.
func someListeners(tx *sql.Tx) (all []listener, err error) {
	rows, err := tx.Query("SELECT owner.jid, format, MIN(listener.jid) FROM listener JOIN owner ON owner.id = listener.owner GROUP BY owner.jid, format")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var owner, space, at string
		if err := rows.Scan(&owner, &space, &at); err != nil {
			return nil, err
		}
		l := listener{format: Legacy}
		if space == OMEMO2.namespace {
			l.format = OMEMO2
		}
		if l.owner, err = jid.Parse(owner); err != nil {
			return nil, err
		}
		if l.at, err = jid.Parse(at); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, rows.Err()
}

// listen asks the host for a list in the place of a listener, after another who got that one.
func (d *Directory) listen(l listener, last []byte) {
	d.inquire(&question{node: node{format: l.format}, name: l.format.nodeFor(0), owner: l.owner, at: hostSide, from: l.at, listens: true, last: last})
}

// heard takes the answer to what listen asked; f is nil if the host has refused it: who was
// refused listens no more. Then it is the turn of one who does not know this list.
func (d *Directory) heard(q *question, f *find) {
	hash := q.last
	if f != nil {
		hash = f.hash()
	}
	var late bool
	var next string
	d.store.queue(func(tx *sql.Tx) error {
		var id int64
		var told []byte
		late, next = false, ""
		err := tx.QueryRow("SELECT owner.id, told FROM listener JOIN owner ON owner.id = listener.owner WHERE owner.jid = ? AND format = ? AND listener.jid = ?",
			q.owner.String(), q.format.namespace, q.from.String()).Scan(&id, &told)
		switch {
		case errors.Is(err, sql.ErrNoRows): // it has left meanwhile
			return nil
		case err != nil:
			return err
		case f == nil:
			_, err = tx.Exec("DELETE FROM listener WHERE owner = ? AND format = ? AND jid = ?", id, q.format.namespace, q.from.String())
		default:
			late = !bytes.Equal(hash, told)
			_, err = tx.Exec("UPDATE listener SET told = ? WHERE owner = ? AND format = ? AND jid = ?", hash, id, q.format.namespace, q.from.String())
		}
		if err != nil {
			return err
		}
		err = tx.QueryRow("SELECT jid FROM listener WHERE owner = ? AND format = ? AND (told <> ? OR ?) ORDER BY jid LIMIT 1",
			id, q.format.namespace, hash, hash == nil).Scan(&next)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	}, func(err error) {
		if err != nil {
			return
		}
		if late {
			d.later(peerSide, q.notification(f))
		}
		if at, err := jid.Parse(next); err == nil {
			d.wg.Go(func() { d.listen(listener{q.owner, q.format, at}, hash) })
		}
	})
}

// notification is what the host would have sent to the one in whose place it was asked.
func (q *question) notification(f *find) *component.Stanza {
	items := component.NewElement(NSPubsubEvent, "items").With("node", q.name).Add(f.item(NSPubsubEvent))
	s := &component.Stanza{Kind: component.Message, Type: string(stanza.HeadlineMessage), ID: newID(), To: q.from, From: q.owner}
	return s.Add(component.NewElement(NSPubsubEvent, "event").Add(items))
}

// told notes that the host has notified a listener.
func (st *store) told(owner, at jid.JID, f find) {
	hash, now := f.hash(), time.Now().UnixNano()
	st.queue(func(tx *sql.Tx) error {
		var id int64
		if err := tx.QueryRow("SELECT id FROM owner WHERE jid = ?", owner.String()).Scan(&id); errors.Is(err, sql.ErrNoRows) {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO listener (owner, format, jid, told, at) VALUES (?,?,?,?,?)
			ON CONFLICT (owner, format, jid) DO UPDATE SET told = excluded.told, at = excluded.at`,
			id, f.format.namespace, at.String(), hash, now); err != nil {
			return err
		}
		who := at.Bare().String()
		if _, err := tx.Exec(`DELETE FROM listener WHERE owner = ? AND format = ? AND jid IN
			(SELECT jid FROM listener WHERE owner = ? AND format = ? AND (jid = ? OR substr(jid, 1, ?) = ?) ORDER BY at DESC, jid LIMIT -1 OFFSET ?)`,
			id, f.format.namespace, id, f.format.namespace, who, len([]rune(who))+1, who+"/", maxListenersOf); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM listener WHERE owner = ? AND format = ? AND jid IN
			(SELECT jid FROM listener WHERE owner = ? AND format = ? ORDER BY at DESC, jid LIMIT -1 OFFSET ?)`,
			id, f.format.namespace, id, f.format.namespace, maxListeners)
		return err
	}, nil)
}

// presence takes note of who does not listen any more: a client that goes off-line, or a
// contact that is none.
func (d *Directory) presence(from side, s *component.Stanza) {
	switch typ := stanza.PresenceType(s.Type); {
	case from == peerSide && (typ == stanza.UnavailablePresence || typ == stanza.UnsubscribePresence):
		d.store.deaf(s.To.Bare(), s.From)
	case from == hostSide && typ == stanza.UnsubscribedPresence:
		d.store.deaf(s.From.Bare(), s.To)
	}
}

// deaf forgets a listener, or, of a bare address, all there.
func (st *store) deaf(owner, at jid.JID) {
	who := at.String()
	st.queue(func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM listener WHERE owner = (SELECT id FROM owner WHERE jid = ?) AND (jid = ? OR substr(jid, 1, ?) = ?)",
			owner.String(), who, len([]rune(who))+1, who+"/")
		return err
	}, nil)
}
