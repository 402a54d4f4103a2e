package omemo

import (
	"database/sql"
	"errors"
	"slices"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// renewPause is how often the bundles of one user are looked for at most. What comes in the
// meantime is looked at when it has gone by.
const renewPause = 10 * time.Minute

// A renewal is when bundles were, or are to be, looked for.
type renewal struct {
	due   time.Time
	timer *time.Timer
}

// renew fetches the bundles of the devices of a list, if they are not kept, or not fresh. It
// waits for a moment, since clients that see a list mostly ask for bundles at once. A list
// that came without content is fetched itself.
func (d *Directory) renew(owner jid.JID, f find) {
	if f.list != nil && len(f.list.Devices) == 0 {
		return
	}
	key, unlisted := f.format.namespace+" "+owner.String(), f.list == nil
	if unlisted {
		key += " list"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	last, ok := d.renewed.Get(key)
	if d.closed || ok && last.due.After(time.Now()) {
		return // what is kept by then is looked at
	}
	wait := d.settle
	if ok {
		wait = max(wait, d.pause-time.Since(last.due))
	}
	d.renewed.Add(key, renewal{time.Now().Add(wait), time.AfterFunc(wait, func() {
		if unlisted {
			d.fetch(&question{node: node{format: f.format}, name: f.format.nodeFor(0), owner: owner})
			return
		}
		d.store.stale(what{owner: owner, format: f.format}, time.Now().Add(-d.o.Fresh), func(devices []uint32) {
			d.wg.Go(func() { d.fetchBundles(owner, f.format, devices) })
		})
	})})
}

// stale gives the devices of the list that is kept to done whose bundles are not kept, or are
// older.
func (st *store) stale(w what, since time.Time, done func([]uint32)) {
	var devices []uint32
	st.queue(func(tx *sql.Tx) error {
		devices = devices[:0]
		var id int64
		var xml []byte
		err := tx.QueryRow("SELECT owner, xml FROM item JOIN owner ON owner.id = item.owner WHERE jid = ? AND format = ? AND device = 0",
			w.owner.String(), w.format.namespace).Scan(&id, &xml)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		} else if err != nil {
			return err
		}
		kept, err := (&node{format: w.format}).again(find{}, xml)
		if err != nil {
			return nil
		}
		fresh, err := column[uint32](tx, "SELECT device FROM item WHERE owner = ? AND format = ? AND device > 0 AND fetched BETWEEN ? AND ?",
			id, w.format.namespace, since.Unix(), time.Now().Unix())
		if err != nil {
			return err
		}
		for _, d := range kept.list.Devices {
			if !slices.Contains(fresh, d.ID) && len(devices) < maxBundlesKept {
				devices = append(devices, d.ID)
			}
		}
		return nil
	}, func(err error) {
		if err == nil && len(devices) > 0 {
			done(devices)
		}
	})
}

func (d *Directory) fetchBundles(owner jid.JID, f *Format, devices []uint32) {
	if f == OMEMO2 {
		q := &question{node: node{format: f, bundles: true}, name: NodeOMEMO2Bundles, owner: owner}
		for _, id := range devices {
			q.ids = append(q.ids, formatID(id))
		}
		d.fetch(q)
		return
	}
	for _, id := range devices {
		d.fetch(&question{node: node{format: f, bundles: true, device: id}, name: f.nodeFor(id), owner: owner})
	}
}

// fetch asks a peer in the directory's own name. If that cannot be now, it is left until
// there is another occasion.
func (d *Directory) fetch(q *question) {
	q.at, q.from = peerSide, d.o.AtPeers
	d.inquire(q)
}

// inquire asks a question of the directory's own.
func (d *Directory) inquire(q *question) {
	s := &component.Stanza{Kind: component.IQ, Type: string(stanza.GetIQ), To: q.owner}
	if err := d.ask(d.ctx, q, s.Add(q.request())); err != nil {
		d.o.Log.Debug("keys cannot be fetched now", "error", err)
	}
}
