package muc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// An occupant is a nickname in a room, and the user behind it. One user can have it in
// several sessions (XEP-0045 §7.2.8).
type occupant struct {
	*voice
	role        Role
	told        Role // that the others, and o itself, know of
	affiliation Affiliation
	sessions    []*session
	shown       *session // whose presence the others see

	draft *component.Draft // of the presence as it is, nil if it changed
}

// A session is one client in a room.
type session struct {
	to      component.Recipient
	occ     *occupant
	serial  uint32 // tells the sessions of an occupant apart
	payload string // XML of the presence
	lang    string
	seen    int64 // when it last said something, Unix seconds
	asked   int64 // when it was last asked if it is there
	missed  bool  // it did not get something, and does not know

	messages, presences rateLimit
}

// A visit is an occupant and its first session, the only one that most have. They are one
// piece of memory, since each piece that stays among what is soon forgotten keeps a page
// from being given back.
type visit struct {
	occupant occupant
	session  session
	list     [1]*session
}

func (o *occupant) key() string { return o.nick }

// present takes a new presence. A text of a stanza may be part of a larger piece of memory.
func (ses *session) present(s *component.Stanza, payload string) {
	ses.payload, ses.lang = payload, strings.Clone(s.Lang)
}

// bare is the address of the user.
func (o *occupant) bare() jid.JID { return o.shown.to.JID.Bare() }

func (ses *session) key() string { return ses.to.String() }

// occupantID is the id of a user in the room: the same for all visits and nicknames, and
// no use outside, nor in another room that gets the name later (XEP-0421 §3.3).
func (r *room) occupantID(bare jid.JID) string {
	h := hmac.New(sha256.New, r.key)
	h.Write([]byte(r.addr.String()))
	h.Write([]byte{0})
	h.Write([]byte(bare.String()))
	if r.salt != 0 { // rooms of older releases have none
		h.Write(binary.BigEndian.AppendUint64([]byte{0}, uint64(r.salt)))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:24])
}

// A notice is a presence of an occupant.
type notice struct {
	typ     string
	id      string
	nick    string // the new one, of who changes it
	actor   string // nickname of who did it
	reason  string
	codes   []int  // for everybody
	own     []int  // for the occupant, beside 110
	payload string // instead of that of the presence, with unavailable
	extra   []byte // in the x element
	role    *Role  // instead of the occupant's
	after   []byte // behind all
}

// draftOf makes the presence of o; own has the codes of self-presence.
func (r *room) draftOf(o *occupant, n notice, own bool) *component.Draft {
	s := &component.Stanza{Kind: component.Presence, Type: n.typ}
	before := make([]byte, 0, 512)
	if n.typ == "" {
		s.Lang = o.shown.lang
		before = append(before, o.shown.payload...)
	}
	if own {
		s.ID = n.id
	}
	before = append(before, n.payload...)
	role := o.role
	switch {
	case n.role != nil:
		role = *n.role
	case n.typ != "" && n.nick == "":
		role = NoRole
	}
	before = append(before, "<x xmlns='"+NSUser+"'><item affiliation='"...)
	item := make([]byte, 0, 64)
	item = append(append(item, o.affiliation.String()...), "' role='"...)
	item = append(append(item, role.String()...), '\'')
	if n.nick != "" {
		item = component.AppendAttr(item, "nick", n.nick)
	}
	before = append(before, item...)
	full := make([]byte, 0, 128)
	for i, ses := range o.sessions {
		if i > 0 {
			full = append(append(full, "/><item affiliation='"...), item...)
		}
		full = component.AppendAttr(full, "jid", ses.to.String())
	}
	if len(o.sessions) == 0 {
		full = component.AppendAttr(full, "jid", o.bare().String())
	}
	after := make([]byte, 0, 256)
	after = appendActor(after, n.actor, n.reason)
	after = appendCodes(after, n.codes)
	if own {
		after = append(after, "<status code='110'/>"...)
		after = appendCodes(after, n.own)
	}
	after = append(append(after, n.extra...), "</x>"...)
	after = appendOccupantID(after, o.id)
	if n.typ == "" {
		after = appendHats(after, r.hatsOf(o))
	}
	after = append(after, n.after...)
	return component.NewDraftFrom(o.from, s, before, full, after)
}

// appendActor ends an item element with who did it and why (XEP-0045 §8.2).
func appendActor(dst []byte, actor, reason string) []byte {
	if actor == "" && reason == "" {
		return append(dst, '/', '>')
	}
	dst = append(dst, '>')
	if actor != "" {
		dst = component.AppendAttr(append(dst, "<actor"...), "nick", actor)
		dst = append(dst, '/', '>')
	}
	if reason != "" {
		dst = component.AppendText(append(dst, "<reason>"...), reason)
		dst = append(dst, "</reason>"...)
	}
	return append(dst, "</item>"...)
}

func appendCodes(dst []byte, codes []int) []byte {
	for _, c := range codes {
		dst = append(dst, "<status code='"...)
		dst = strconv.AppendInt(dst, int64(c), 10)
		dst = append(dst, '\'', '/', '>')
	}
	return dst
}

func appendOccupantID(dst []byte, id string) []byte {
	dst = append(append(dst, "<occupant-id xmlns='"+NSOccupantID+"' id='"...), id...)
	return append(dst, '\'', '/', '>')
}

// current is the presence of o as it is. In a small room it is written anew when it is
// needed, which is seldom, and not kept.
func (r *room) current(o *occupant) *component.Draft {
	if o.draft != nil {
		return o.draft
	}
	d := r.draftOf(o, notice{}, false)
	if len(r.list) > smallRoom {
		o.draft = d
	}
	return d
}

const smallRoom = 20 // occupants

// plain tells if there is more in n than the presence itself.
func (n *notice) plain() bool {
	return n.actor != "" || n.reason != "" || len(n.codes) > 0 || len(n.extra) > 0 || len(n.after) > 0
}

// announceOwn sends o its own presence.
func (r *room) announceOwn(o *occupant, n notice) {
	d := r.draftOf(o, n, true)
	for _, ses := range o.sessions {
		r.copy(d, &ses.to, true)
	}
}

// forget takes o off the lists.
func (r *room) forget(o *occupant) {
	if r.nicks.get(o.nick) == o {
		r.nicks.drop(o.nick)
	}
	if i := slices.Index(r.list, o); i >= 0 {
		r.list = slices.Delete(r.list, i, i+1)
	}
}

// occupantsOf are the occupants of a bare JID, or of a domain.
func (r *room) occupantsOf(j jid.JID) []*occupant {
	var os []*occupant
	for _, o := range r.list {
		if o.bare().Equal(j) || j.Localpart() == "" && o.bare().Domainpart() == j.Domainpart() {
			os = append(os, o)
		}
	}
	return os
}
