package muc

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// An invitation makes a member of whoever enters with its token as the password. Of the
// token only the hash is kept.
type invitation struct {
	hash    [sha256.Size]byte
	uses    int   // that are left; unlimited is -1
	expires int64 // Unix seconds; 0 is never
	made    int64 // Unix seconds
	creator string
	note    string // for those who see the list
}

const (
	tokenLength    = 26 // of rand.Text: at least 128 bits, which nobody guesses
	maxInvitations = 100
)

// id is what the invitation is called in lists.
func (i *invitation) id() string { return hex.EncodeToString(i.hash[:6]) }

// over tells if nobody can become a member by it any more.
func (i *invitation) over(now time.Time) bool {
	return i.uses == 0 || i.expires != 0 && i.expires <= now.Unix()
}

// newInvitation makes an invitation and its token.
func (r *room) newInvitation(creator, note string, uses int, valid time.Duration) (token string, i *invitation) {
	token = rand.Text()
	i = &invitation{hash: sha256.Sum256([]byte(token)), uses: uses, made: r.now.Unix(), creator: creator, note: note}
	if valid > 0 {
		i.expires = r.now.Add(valid).Unix()
	}
	r.invitations = append(r.invitations, i)
	r.saveInvitation(i)
	return token, i
}

// redeem tells if an invitation lets somebody in whom the password, or affiliation, does
// not, and makes a member of who comes with it for the first time, also where anybody may
// enter. The use is stored with the membership, before anybody hears of either.
//
// Members are let in by an invitation of their room also when it is over, until it is
// revoked: clients keep the token as the room's password, and come back with it.
func (r *room) redeem(bare jid.JID, x *component.Element) bool {
	aff, word := r.affiliation(bare), x.Child(NSMUC, "password").Text()
	switch {
	case len(word) != tokenLength, aff == Outcast, r.locked:
		return false
	case bare.Localpart() == "": // a server itself: all its users would be members
		return false
	case r.cfg.Protected && word == r.cfg.Password, !r.cfg.Protected && aff >= Member:
		return false // it does not matter
	}
	hash := sha256.Sum256([]byte(word))
	n := slices.IndexFunc(r.invitations, func(i *invitation) bool { return i.hash == hash })
	if n < 0 {
		return false
	}
	i := r.invitations[n]
	if aff >= Member {
		return true
	}
	if i.over(r.now) || !r.roomFor(1, None) {
		return false
	}
	if i.uses > 0 {
		i.uses--
		r.saveInvitation(i)
	}
	r.setAffiliation(action{jid: bare, level: Member, reason: "By invitation " + i.id()}, "").now()
	return true
}

func (r *room) saveInvitation(i *invitation) {
	r.change(saveInvitation{Room: r.addr.Localpart(), invitation: *i})
}

// saveInvitation stores an invitation.
type saveInvitation struct {
	Room string
	invitation
}

func (c saveInvitation) apply(t *transaction) error {
	return t.exec(`INSERT INTO invitation (room, hash, uses, expires, made, creator, note) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (room, hash) DO UPDATE SET uses = excluded.uses`,
		c.Room, c.hash[:], c.uses, c.expires, c.made, c.creator, c.note)
}

// dropInvitation forgets an invitation.
type dropInvitation struct {
	Room string
	Hash [sha256.Size]byte
}

func (c dropInvitation) apply(t *transaction) error {
	return t.exec("DELETE FROM invitation WHERE room = ? AND hash = ?", c.Room, c.Hash[:])
}

// loadInvitations reads the invitations of a room, the oldest first.
func (st *Store) loadInvitations(r *room) error {
	return st.each("SELECT hash, uses, expires, made, creator, note FROM invitation WHERE room = ? ORDER BY made, hash", func(scan func(...any) error) error {
		i, hash := &invitation{}, []byte(nil)
		err := scan(&hash, &i.uses, &i.expires, &i.made, &i.creator, &i.note)
		copy(i.hash[:], hash)
		r.invitations = append(r.invitations, i)
		return err
	}, r.addr.Localpart())
}
