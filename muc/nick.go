package muc

import (
	"strings"
	"unicode/utf8"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// checkNick tells if a nickname can be had at all (XEP-0045 §17.1).
func (r *room) checkNick(nick string) error {
	switch {
	case strings.TrimSpace(nick) == "":
		return errMalformed
	case utf8.RuneCountInString(nick) > r.limits.Nick:
		return fail(stanza.Modify, stanza.NotAcceptable, "The nickname is too long.")
	}
	return nil
}

// nickFree is conflict if somebody else has a nickname, in the room or registered.
func (r *room) nickFree(nick string, bare jid.JID) error {
	if o := r.nicks.get(nick); o != nil && !o.bare().Equal(bare) {
		return errConflict
	}
	if owner, ok := r.registered(nick); ok && owner != bare.String() {
		return errConflict
	}
	return nil
}

// registered is whose a registered nickname is.
func (r *room) registered(nick string) (bare string, ok bool) {
	bare, ok = r.reserved[nick]
	return bare, ok
}

// reserve notes the registered nickname of somebody, "" if there is none, instead of the
// one before.
func (r *room) reserve(bare, nick string) {
	if old := r.affiliates.get(bare).nick; old != "" && r.reserved[old] == bare {
		delete(r.reserved, old)
	}
	if nick == "" {
		return
	}
	if r.reserved == nil {
		r.reserved = map[string]string{}
	}
	r.reserved[nick] = bare
}

// changeNick changes the nickname of a user (XEP-0045 §7.6). If the user has more
// sessions with the old one, they keep it. A client that asks to enter has lost its state,
// and gets it.
func (r *room) changeNick(ses *session, s *component.Stanza, x *component.Element, payload string) error {
	nick, o := s.To.Resourcepart(), ses.occ
	if err := r.checkNick(nick); err != nil {
		return err
	}
	if err := r.nickFree(nick, o.bare()); err != nil {
		return err
	}
	switch to := r.nicks.get(nick); {
	case to != nil && len(to.sessions) >= maxSessions:
		return errSessions
	case to == nil && len(o.sessions) > 1 && r.full(o.affiliation):
		return errFull
	}
	if len(o.sessions) > 1 || r.nicks.get(nick) != nil {
		r.splitNick(ses, s, x, payload)
		return nil
	}
	gone := notice{typ: string(stanza.UnavailablePresence), id: s.ID, nick: nick, codes: []int{303}}
	others, own := r.draftOf(o, gone, false), r.draftOf(o, gone, true)
	r.toThoseWhoSee(o, others)
	r.copy(own, &ses.to, true)
	r.nicks.drop(o.nick)
	o.voice = r.newVoice(nick, o.id)
	r.nicks.put(o)
	ses.present(s, payload)
	r.renamed(ses, s, x)
	return nil
}

// renamed shows who has a new nickname, and all to it if it asks for that.
func (r *room) renamed(ses *session, s *component.Stanza, x *component.Element) {
	if x == nil {
		r.announce(ses.occ, notice{id: s.ID})
		return
	}
	r.retell(ses.occ, ses)
	r.welcome(ses, s, x, nil)
}

// splitNick moves one of several sessions to another nickname, or joins one to those that
// have the nickname.
func (r *room) splitNick(ses *session, s *component.Stanza, x *component.Element, payload string) {
	old := ses.occ
	gone := notice{typ: string(stanza.UnavailablePresence), id: s.ID, nick: s.To.Resourcepart(), codes: []int{303}}
	r.copy(r.draftOf(old, gone, true), &ses.to, true)
	r.drop(ses, gone)
	o := r.nicks.get(s.To.Resourcepart())
	if o == nil {
		o = &occupant{voice: r.newVoice(s.To.Resourcepart(), old.id), role: old.role, told: old.told, affiliation: old.affiliation, shown: ses}
		r.nicks.put(o)
		r.list = append(grown(r.list, 1), o)
	}
	ses.occ = o
	ses.present(s, payload)
	o.sessions = append(o.sessions, ses)
	o.shown = ses
	r.sessions.put(ses)
	if x == nil {
		r.look(ses, old)
	}
	r.renamed(ses, s, x)
}

// look shows a session what it sees as the occupant that it is now, and did not see, or
// saw otherwise, as the one that it was.
func (r *room) look(ses *session, was *occupant) {
	is := ses.occ
	for _, other := range r.list {
		if other == is {
			continue
		}
		saw, sees := other != was && r.visibleTo(was, other), r.visibleTo(is, other)
		switch {
		case sees && (!saw || r.seesJIDs(is) != r.seesJIDs(was)):
			r.copy(r.current(other), &ses.to, r.seesJIDs(is))
		case saw && !sees:
			r.copy(r.draftOf(other, notice{typ: string(stanza.UnavailablePresence)}, false), &ses.to, r.seesJIDs(is))
		}
	}
}
