package muc

import (
	"cmp"
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// adminGet answers with one of the lists (XEP-0045 §8.5, §9.2, §9.5, §9.8, §10.5, §10.8).
func (r *room) adminGet(ses *session, s *component.Stanza) error {
	items := itemsOf(s)
	if len(items) != 1 {
		return errBadRequest
	}
	q := component.NewElement(NSAdmin, "query")
	if name, ok := items[0].LookupAttr("affiliation"); ok {
		level, known := affiliations[name]
		if !known {
			return errBadRequest
		}
		if !r.mayReadList(ses, s.From.Bare(), level) {
			return errForbidden
		}
		r.addAffiliates(q, level)
		r.result(s, q)
		return nil
	}
	role, known := roles[items[0].AttrValue("role")]
	if !known || role == NoRole {
		return errBadRequest
	}
	aff := r.affiliation(s.From.Bare())
	if aff < Admin && (ses == nil || ses.occ.role != Moderator) {
		return errForbidden
	}
	for _, o := range r.list {
		if o.role != role {
			continue
		}
		item := component.NewElement(NSAdmin, "item").With("affiliation", o.affiliation.String()).
			With("role", role.String()).With("nick", o.nick)
		item.SetAttr("jid", o.shown.to.JID.String())
		q.Add(item)
	}
	r.result(s, q)
	return nil
}

// mayReadList tells who may read the list of an affiliation. Where everybody is known to
// everybody, the lists of who belongs to the room are no secret either, and clients need
// them for end-to-end encryption (XEP-0384 §5.8.1).
func (r *room) mayReadList(ses *session, bare jid.JID, level Affiliation) bool {
	own := r.affiliation(bare)
	switch {
	case level == None:
		return false
	case own == Owner, own == Admin && level <= Member:
		return true
	case level < Member || !r.cfg.NonAnon:
		return false
	case ses != nil:
		return r.cfg.ListReaders.Has(ses.occ.role)
	}
	return r.cfg.MembersOnly && own >= Member && r.cfg.ListReaders.Has(r.roleOf(own))
}

func (r *room) addAffiliates(q *component.Element, level Affiliation) {
	var jids []string
	for j, a := range r.affiliates {
		if a.level == level {
			jids = append(jids, j)
		}
	}
	slices.Sort(jids)
	for _, j := range jids {
		a := r.affiliates[j]
		item := component.NewElement(NSAdmin, "item").With("affiliation", level.String()).With("jid", j)
		if a.nick != "" {
			item.SetAttr("nick", a.nick)
		}
		if a.reason != "" {
			item.Add(component.NewElement(NSAdmin, "reason", component.Text(a.reason)))
		}
		q.Add(item)
	}
}

func itemsOf(s *component.Stanza) []*component.Element {
	var items []*component.Element
	for _, n := range s.Payload().Nodes {
		if n.Element != nil && n.Element.Is(NSAdmin, "item") {
			items = append(items, n.Element)
		}
	}
	return items
}

// An action is one item of a request, checked.
type action struct {
	occ      *occupant // of a change of role
	role     Role
	jid      jid.JID // of a change of affiliation
	level    Affiliation
	nick     string
	reason   string
	isRole   bool
	setsNick bool
}

// adminSet changes roles and affiliations: all that is asked, or nothing.
func (r *room) adminSet(ses *session, s *component.Stanza) error {
	items := itemsOf(s)
	if len(items) == 0 || len(items) > maxItems {
		return errBadRequest
	}
	todo := make([]action, 0, len(items))
	for _, item := range items {
		a, err := r.checkItem(ses, s.From.Bare(), item)
		if err != nil {
			return err
		}
		todo = append(todo, a)
	}
	if err := r.checkOwners(todo); err != nil {
		return err
	}
	actor := ""
	if ses != nil {
		actor = ses.occ.nick
	}
	var later []func()
	for _, a := range todo {
		if a.isRole {
			later = append(later, r.setRole(a.occ, a.role, actor, a.reason))
		} else {
			later = append(later, r.setAffiliation(a, actor))
		}
	}
	r.result(s)
	for _, tell := range later {
		tell()
	}
	r.afterLeaving(s.From.Bare())
	return nil
}

const maxItems = 1000

// checkItem tells if one item may be done. Its errors are in the order of how much they
// tell: first if one may at all, then if it is possible, then if it is allowed for this one.
func (r *room) checkItem(ses *session, bare jid.JID, item *component.Element) (a action, err error) {
	a.reason = item.Child(NSAdmin, "reason").Text()
	if len(a.reason) > r.limits.Subject {
		return a, errBadRequest
	}
	if name, ok := item.LookupAttr("affiliation"); ok {
		level, known := affiliations[name]
		if !known {
			return a, errBadRequest
		}
		a.level = level
		return a, r.checkAffiliation(bare, item, &a)
	}
	name, ok := item.LookupAttr("role")
	if a.isRole, a.role = true, roles[name]; !ok || a.role == NoRole && name != "none" || item.AttrValue("nick") == "" {
		return a, errBadRequest
	}
	own := r.affiliation(bare)
	moderates := own >= Admin || ses != nil && ses.occ.role == Moderator
	if !moderates {
		return a, errForbidden
	}
	if a.occ = r.nicks[item.AttrValue("nick")]; a.occ == nil {
		return a, errNotFound
	}
	was := a.occ.role
	switch {
	case a.role == was:
		return a, nil
	case a.role == NoRole:
		if a.occ.affiliation > own {
			return a, errNotAllowed
		}
	case a.role == Moderator:
		if own < Admin {
			return a, errForbidden
		}
	default: // to a lesser role, or from visitor to participant
		if a.occ.affiliation >= Admin {
			return a, errNotAllowed
		}
		if was == Moderator && own < Admin {
			return a, errForbidden
		}
		if a.role < was && own < Admin && a.occ.affiliation > None && a.occ.affiliation >= own {
			return a, errNotAllowed
		}
	}
	return a, nil
}

func (r *room) checkAffiliation(bare jid.JID, item *component.Element, a *action) error {
	own := r.affiliation(bare)
	if own < Admin {
		return errForbidden
	}
	j, err := jid.Parse(item.AttrValue("jid"))
	nick, hasNick := item.LookupAttr("nick")
	switch {
	case err != nil && item.AttrValue("jid") != "":
		return errMalformed
	case item.AttrValue("jid") == "":
		o := r.nicks[nick]
		if o == nil {
			return errBadRequest
		}
		j, hasNick = o.bare, false
	}
	a.jid, a.nick = j.Bare(), nick
	a.setsNick = hasNick && a.level >= Member
	if a.setsNick && nick != "" {
		if err := r.checkNick(nick); err != nil {
			return err
		}
		if owner, ok := r.registered(nick); ok && owner != a.jid.String() {
			return errConflict
		}
	}
	was := r.listed(a.jid)
	switch {
	case a.level >= Admin && own < Owner:
		return errForbidden
	case a.level == Outcast && a.jid.Equal(bare):
		return errConflict
	case a.level == Outcast && a.jid.Localpart() == "" && a.jid.Domainpart() == bare.Domainpart():
		return errConflict
	case was >= Admin && own < Owner && a.level == Outcast:
		return errNotAllowed
	case was >= Admin && own < Owner:
		return errForbidden
	case a.level == Outcast && r.admin(a.jid):
		return errNotAllowed
	}
	return nil
}

// checkOwners is conflict if a room would lose its last owner (XEP-0045 §10.4).
func (r *room) checkOwners(todo []action) error {
	after := map[string]bool{}
	for j, a := range r.affiliates {
		if a.level == Owner {
			after[j] = true
		}
	}
	had := len(after) > 0
	for _, a := range todo {
		if a.isRole {
			continue
		}
		if a.level == Owner {
			after[a.jid.String()] = true
		} else {
			delete(after, a.jid.String())
		}
	}
	if had && len(after) == 0 {
		return errConflict
	}
	return nil
}

// setRole changes a role and returns what tells the others.
func (r *room) setRole(o *occupant, role Role, actor, reason string) (tell func()) {
	was := o.role
	if r.nicks[o.nick] != o {
		return func() {} // an item before took it away
	}
	if role == NoRole {
		tell := r.remove(o, notice{codes: []int{307}, actor: actor, reason: reason})
		return tell
	}
	o.role, o.draft = role, nil
	if r.cfg.Moderated && len(r.given) < maxInvited {
		if r.given == nil {
			r.given = map[string]Role{}
		}
		r.given[o.bare.String()] = role
	}
	return func() {
		if r.nicks[o.nick] != o {
			return
		}
		r.announce(o, notice{actor: actor, reason: reason}, was)
		r.newView(o, was)
	}
}

// newView shows o what a moderator sees, when it has become one, and the other way round.
func (r *room) newView(o *occupant, was Role) {
	if (was == Moderator) == (o.role == Moderator) {
		return
	}
	for _, other := range r.list {
		if other == o {
			continue
		}
		before := other == o || was == Moderator || r.cfg.Broadcast.Has(other.role)
		now := r.visibleTo(o, other, other.role)
		switch {
		case now && (!before || o.role == Moderator && !r.cfg.NonAnon):
			r.toOccupant(o, r.current(other))
		case before && !now:
			r.toOccupant(o, r.draftOf(other, notice{typ: string(stanza.UnavailablePresence)}, false))
		}
	}
}

// setAffiliation changes an affiliation and returns what tells the others.
func (r *room) setAffiliation(a action, actor string) (tell func()) {
	key := a.jid.String()
	old, had := r.affiliates[key]
	now := affiliate{level: a.level, reason: a.reason}
	switch {
	case a.setsNick:
		now.nick = a.nick
	case a.level >= Member:
		now.nick = old.nick
	}
	r.affiliate(key, now)
	was := old.level
	if !had {
		was = None
	}
	if r.sessionsOf(a.jid) == 0 {
		return func() {
			r.tellAbsent(a, actor, was)
			if a.setsNick {
				r.evict(a.nick, a.jid)
			}
		}
	}
	var later []func()
	for _, o := range r.occupantsOf(a.jid) {
		later = append(later, r.reaffiliate(o, actor, a.reason))
	}
	return func() {
		for _, tell := range later {
			tell()
		}
		if a.setsNick {
			r.evict(a.nick, a.jid)
		}
	}
}

func (r *room) sessionsOf(j jid.JID) int { return len(r.occupantsOf(j)) }

// affiliate stores somebody's affiliation, or forgets it.
func (r *room) affiliate(key string, a affiliate) {
	if a.level == None && a.nick == "" {
		delete(r.affiliates, key)
	} else {
		if r.affiliates == nil {
			r.affiliates = map[string]affiliate{}
		}
		r.affiliates[key] = a
	}
	r.change(saveAffiliate{Room: r.addr.Localpart(), JID: key, Level: a.level, Nick: a.nick, Reason: a.reason})
}

// reaffiliate gives an occupant the affiliation and role that it has now, or removes it,
// and returns what tells the others (XEP-0045 §9, §10).
func (r *room) reaffiliate(o *occupant, actor, reason string) (tell func()) {
	aff, role := r.affiliation(o.bare), o.role
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
	case aff == Member:
		o.role = max(o.role, Participant)
	case role != Moderator:
		o.role = cmp.Or(r.roleOf(aff), o.role)
	}
	return func() {
		if r.nicks[o.nick] != o {
			return
		}
		r.announce(o, notice{actor: actor, reason: reason}, role)
		r.newView(o, role)
	}
}

// evict removes who uses a nickname that belongs to somebody else now (XEP-0045 §7.10).
func (r *room) evict(nick string, owner jid.JID) {
	if nick == "" {
		return
	}
	if o := r.nicks[nick]; o != nil && !o.bare.Equal(owner) {
		r.remove(o, notice{codes: []int{307}, reason: "The nickname is registered by somebody else."})()
		r.afterLeaving(o.bare)
	}
}

// tellAbsent tells of a change of who is not in the room: the occupants (XEP-0045
// §9.3), and who is concerned (status 101).
func (r *room) tellAbsent(a action, actor string, was Affiliation) {
	if was == a.level {
		return
	}
	m := component.Stanza{Kind: component.Message, From: r.addr}
	before := append([]byte("<x xmlns='"+NSUser+"'><item affiliation='"), a.level.String()...)
	before = append(before, "' role='none'"...)
	full := component.AppendAttr(nil, "jid", a.jid.String())
	after := appendActor(nil, actor, a.reason)
	if a.level == Outcast {
		after = appendCodes(after, []int{301})
	}
	after = append(after, "</x>"...)
	r.toAll(component.NewDraft(&m, before, full, after))
	if (was > None || a.level > None) && a.jid.Localpart() != "" {
		x := component.NewElement(NSUser, "x",
			component.NewElement(NSUser, "item").With("affiliation", a.level.String()).With("role", "none").With("jid", a.jid.String()).Node(),
			component.NewElement(NSUser, "status").With("code", "101").Node())
		note := &component.Stanza{Kind: component.Message, From: r.addr, To: a.jid}
		r.send(note.Add(x))
	}
}
