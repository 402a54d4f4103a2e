package muc

import (
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// setRole changes a role and returns what tells the others.
func (r *room) setRole(o *occupant, role Role, actor, reason string) (tell func()) {
	was := o.role
	if r.nicks.get(o.nick) != o || role == was {
		return func() {} // an item before took it away, or there is nothing to tell
	}
	if role == NoRole {
		return r.remove(o, notice{codes: []int{307}, actor: actor, reason: reason})
	}
	o.role, o.draft = role, nil
	bare := o.bare().String()
	if _, known := r.given[bare]; r.cfg.Moderated && (known || len(r.given) < maxInvited) {
		if r.given == nil {
			r.given = map[string]Role{}
		}
		r.given[bare] = role
	}
	return func() {
		if r.nicks.get(o.nick) != o {
			return
		}
		r.announce(o, notice{actor: actor, reason: reason})
	}
}

// setAffiliation changes an affiliation, tells of who is not there, and returns what tells
// of who is.
func (r *room) setAffiliation(a action, actor string) (tell tellings) {
	key := a.jid.String()
	old := r.affiliates.get(key)
	now := affiliate{level: a.level, reason: a.reason}
	switch {
	case a.setsNick:
		now.nick = a.nick
	case a.level >= Member:
		now.nick = old.nick
	}
	here := r.occupantsOf(a.jid)
	now.far = a.level >= Member && (old.far || old.level < Member) && len(here) == 0 && !r.reaches(a.by, a.jid)
	r.affiliate(key, now)
	if a.setsNick {
		r.evict(a.nick, a.jid)
	}
	if old.level != now.level {
		delete(r.given, key) // the affiliation brings a role of its own
	}
	if len(here) == 0 {
		r.tellAbsent(a, actor, old.level)
	}
	for _, o := range here {
		if o.affiliation != r.affiliation(o.bare()) || old.nick != now.nick {
			tell = append(tell, r.reaffiliate(o, actor, a.reason))
		}
	}
	return tell
}

// comes notes that somebody has come of their own accord.
func (r *room) comes(bare string) {
	if a := r.affiliates.get(bare); a.far {
		a.far = false
		r.affiliate(bare, a)
	}
}

// affiliate stores somebody's affiliation, or forgets it.
func (r *room) affiliate(key string, a affiliate) {
	a.jid = key
	r.reserve(key, a.nick)
	if a.level == None && a.nick == "" {
		r.affiliates.drop(key)
	} else {
		r.affiliates.put(a)
	}
	r.change(saveAffiliate{Room: r.addr.Localpart(), JID: key, Level: a.level, Nick: a.nick, Reason: a.reason, Far: a.far})
}

// reaffiliate gives an occupant the affiliation and role that it has now, or removes it,
// and returns what tells the others (XEP-0045 §9, §10).
func (r *room) reaffiliate(o *occupant, actor, reason string) (tell func()) {
	aff, role := r.affiliation(o.bare()), o.role
	before := o.affiliation
	o.affiliation, o.draft = aff, nil
	switch {
	case aff == Outcast:
		return r.remove(o, notice{codes: []int{301}, actor: actor, reason: reason})
	case aff < Member && r.cfg.MembersOnly:
		return r.remove(o, notice{codes: []int{321}, actor: actor, reason: reason})
	case aff >= Admin:
		o.role = Moderator
	case before >= Admin:
		o.role = r.roleOf(aff)
	case aff > before:
		o.role = max(role, r.roleOf(aff))
	case aff < before && role != Moderator: // who lost an affiliation gains no voice by that
		o.role = min(role, r.roleOf(aff))
	}
	return func() {
		if r.nicks.get(o.nick) != o {
			return
		}
		r.announce(o, notice{actor: actor, reason: reason})
	}
}

// evict removes who uses a nickname that belongs to somebody else now (XEP-0045 §7.10).
func (r *room) evict(nick string, owner jid.JID) {
	if o := r.nicks.get(nick); o != nil && !o.bare().Equal(owner) {
		r.remove(o, notice{codes: []int{307}, reason: "This nickname is reserved"})()
	}
}

// tellAbsent tells of a change of who is not in the room: the occupants who know them
// (XEP-0045 §10.3), and who is concerned.
func (r *room) tellAbsent(a action, actor string, was Affiliation) {
	if was == a.level {
		return
	}
	m := component.Stanza{Kind: component.Message, From: r.addr}
	before := append([]byte("<x xmlns='"+NSUser+"'><item affiliation='"), a.level.String()...)
	before = component.AppendAttr(append(before, '\''), "jid", a.jid.String())
	after := appendActor(nil, actor, a.reason)
	if a.level == Outcast {
		after = appendCodes(after, []int{301})
	}
	d := component.NewDraft(&m, before, nil, append(after, "</x>"...))
	for _, o := range r.list {
		if r.seesJIDs(o) {
			r.toOccupant(o, d)
		}
	}
	if r.locked {
		was = None // nobody outside has heard of more
	}
	r.whenOpen(func() {
		if r.listed(a.jid) == a.level { // still
			r.tellConcerned(a, was)
		}
	})
}

// tellConcerned tells who is not in the room of the own affiliation, by an invitation
// (XEP-0045 §9.5) or with status 101 (§18.1). That is a courtesy, which is left out where it
// is too much: else one request would send a thousand messages to strangers.
func (r *room) tellConcerned(a action, was Affiliation) {
	invites := a.level == Member && was < Member && r.cfg.MembersOnly
	switch {
	case a.jid.Localpart() == "", !r.reaches(a.by, a.jid), invites && a.inviter.Equal(jid.JID{}), max(was, a.level) <= None:
	case !r.outside.allow(r.creator, r.limits.MessageRate, r.now):
	case invites:
		r.send(r.invitation(a.inviter, a.jid, a.reason))
	default:
		x := component.NewElement(NSUser, "x",
			component.NewElement(NSUser, "item").With("affiliation", a.level.String()).With("role", "none").With("jid", a.jid.String()).Node(),
			component.NewElement(NSUser, "status").With("code", "101").Node())
		note := &component.Stanza{Kind: component.Message, From: r.addr, To: a.jid}
		r.send(note.Add(x))
	}
}

// reaches tells if somebody may have the room write to somebody who is not in it.
func (r *room) reaches(by, whom jid.JID) bool {
	return r.mayReach == nil || r.mayReach(by.Bare(), whom.Bare())
}

// invitation is one into the room (XEP-0045 §7.8.2), also for clients that only know
// XEP-0249.
func (r *room) invitation(from, to jid.JID, reason string) *component.Stanza {
	invite := component.NewElement(NSUser, "invite").With("from", from.String())
	x := component.NewElement(NSUser, "x", invite.Node())
	direct := component.NewElement(NSConference, "x").With("jid", r.addr.String())
	if reason != "" {
		invite.Add(component.NewElement(NSUser, "reason", component.Text(reason)))
		direct.SetAttr("reason", reason)
	}
	if r.cfg.Protected {
		x.Add(component.NewElement(NSUser, "password", component.Text(r.cfg.Password)))
		direct.SetAttr("password", r.cfg.Password)
	}
	m := &component.Stanza{Kind: component.Message, From: r.addr, To: to}
	return m.Add(x, direct)
}
