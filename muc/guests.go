package muc

import (
	"slices"
	"time"
)

// A guest is somebody who was invited (XEP-0045 §7.8.2), and has neither entered since then
// nor declined.
type guest struct {
	jid, inviter string // bare
	at           int64  // Unix seconds
}

const (
	maxInvited = 1000                // guests that a room remembers
	invitedFor = 30 * 24 * time.Hour // how long
)

// remember keeps that somebody was invited. If there are too many, the oldest is forgotten.
func (r *room) remember(invitee, by string) {
	r.forgetGuest(invitee, by)
	if len(r.guests) >= maxInvited {
		r.forgetGuest(r.guests[0].jid, r.guests[0].inviter)
	}
	g := guest{jid: invitee, inviter: by, at: r.now.Unix()}
	r.guests = append(r.guests, g)
	r.change(saveGuest{Room: r.addr.Localpart(), guest: g})
}

// invitedBy are those who invited somebody, not too long ago.
func (r *room) invitedBy(invitee string) (by []string) {
	since := r.now.Add(-invitedFor).Unix()
	for _, g := range r.guests {
		if g.jid == invitee && g.at >= since {
			by = append(by, g.inviter)
		}
	}
	return by
}

// forgetGuest forgets that somebody was invited by another one, or by anybody if by is "".
func (r *room) forgetGuest(invitee, by string) {
	n := len(r.guests)
	r.guests = slices.DeleteFunc(r.guests, func(g guest) bool { return g.jid == invitee && (by == "" || g.inviter == by) })
	if len(r.guests) < n {
		r.change(dropGuest{Room: r.addr.Localpart(), JID: invitee, Inviter: by})
	}
	if len(r.guests) == 0 {
		r.guests = nil
	}
}

// saveGuest stores a guest, and forgets those of all rooms who were invited too long ago.
type saveGuest struct {
	Room string
	guest
}

func (c saveGuest) apply(t *transaction) error {
	if err := t.exec("DELETE FROM guest WHERE at < ?", time.Unix(c.at, 0).Add(-invitedFor).Unix()); err != nil {
		return err
	}
	return t.exec(`INSERT INTO guest (room, jid, inviter, at) VALUES (?, ?, ?, ?)
		ON CONFLICT (room, jid, inviter) DO UPDATE SET at = excluded.at`, c.Room, c.jid, c.inviter, c.at)
}

// dropGuest forgets a guest of one inviter, or of all if Inviter is "".
type dropGuest struct{ Room, JID, Inviter string }

func (c dropGuest) apply(t *transaction) error {
	return t.exec("DELETE FROM guest WHERE room = ? AND jid = ? AND (? = '' OR inviter = ?)", c.Room, c.JID, c.Inviter, c.Inviter)
}

// loadGuests reads the guests of a room.
func (st *Store) loadGuests(r *room) error {
	return st.each("SELECT jid, inviter, at FROM guest WHERE room = ? ORDER BY at, jid, inviter", func(scan func(...any) error) error {
		var g guest
		err := scan(&g.jid, &g.inviter, &g.at)
		r.guests = append(r.guests, g)
		return err
	}, r.addr.Localpart())
}
