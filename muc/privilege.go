package muc

import (
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

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
	by       jid.JID // who wants it; the zero JID if that is us
	inviter  jid.JID // who invites a new member; the zero JID if that is done elsewhere
}

// checkItem tells if one item may be done. Its errors are in the order of how much they
// tell: first if one may at all, then if it is possible, then if it is allowed for this one.
func (r *room) checkItem(bare jid.JID, item *component.Element) (a action, err error) {
	a.reason = item.Child(NSAdmin, "reason").Text()
	if len(a.reason) > r.limits.Subject {
		return a, errReason
	}
	affiliation, isAffiliation := item.LookupAttr("affiliation")
	role, isRole := item.LookupAttr("role")
	known := false
	switch {
	case isAffiliation == isRole: // both is one too many (§17.4)
		return a, errBadRequest
	case isRole:
		if a.role, known = roles[role]; !known || item.AttrValue("nick") == "" {
			return a, errBadRequest
		}
		a.isRole = true
		return a, r.checkRole(bare, item.AttrValue("nick"), &a)
	}
	if a.level, known = affiliations[affiliation]; !known {
		return a, errBadRequest
	}
	return a, r.checkAffiliation(bare, item, &a)
}

// moderates tells if somebody is a moderator who is there (XEP-0045 §8).
func (r *room) moderates(bare jid.JID) bool {
	for _, o := range r.list {
		if o.role == Moderator && o.bare().Equal(bare) {
			return true
		}
	}
	return false
}

// checkRole tells if bare may give an occupant a role (XEP-0045 §5.1.3). What moderators
// do they do in the room; to make moderators is for admins, wherever they are (§9.6, §9.7).
func (r *room) checkRole(bare jid.JID, nick string, a *action) error {
	own, o := r.affiliation(bare), r.occupantNamed(nick)
	takes := o != nil && o.role == Moderator && a.role != NoRole
	switch {
	case a.role == Moderator && own < Admin:
		return errForbidden
	case a.role != Moderator && !r.moderates(bare) && !(takes && own >= Admin):
		return errForbidden
	case o == nil:
		return errNotFound
	}
	a.occ = o
	was, of := o.role, o.affiliation
	switch {
	case a.role == was, a.role == Moderator:
	case a.role == NoRole: // §8.2
		if of > own || was == Moderator && own < Admin && !o.bare().Equal(bare) {
			return errNotAllowed
		}
	case of >= Admin: // whoever asks (§8.4, §9.7)
		return errNotAllowed
	case was == Moderator && own < Admin:
		return errForbidden
	case a.role < was && own < Admin && of > None && of >= own: // §8.4
		return errNotAllowed
	}
	return nil
}

// occupantNamed is the occupant with a nickname as somebody wrote it.
func (r *room) occupantNamed(nick string) *occupant {
	j, err := r.addr.WithResource(nick)
	if err != nil {
		return nil
	}
	return r.nicks.get(j.Resourcepart())
}

// checkAffiliation tells if bare may give somebody an affiliation (XEP-0045 §5.2.3).
func (r *room) checkAffiliation(bare jid.JID, item *component.Element, a *action) error {
	own := r.affiliation(bare)
	if own < Admin || own < Owner && a.level >= Admin {
		return errForbidden
	}
	nick, hasNick := item.LookupAttr("nick")
	if text := item.AttrValue("jid"); text != "" {
		j, err := component.ParseJID(text)
		if err != nil {
			return errMalformed
		}
		a.jid = j.Bare()
	} else if nick == "" {
		return errBadRequest
	} else if o := r.occupantNamed(nick); o != nil && o.bare().Localpart() == "" {
		return errNotAllowed // all its users would get it, which is to be asked for by address
	} else if o != nil {
		a.jid, hasNick = o.bare(), false
	} else {
		return errNotFound
	}
	was := r.listed(a.jid)
	switch self := a.jid.Localpart() == "" && a.jid.Domainpart() == bare.Domainpart(); {
	case a.level == Outcast && (self || a.jid.Equal(bare)): // §9.1
		return errConflict
	case a.level == Outcast && (own < Owner && was >= Admin || r.admin(a.jid)):
		return errNotAllowed
	case own < Owner && was >= Admin: // §10.4, §10.7
		return errForbidden
	}
	if a.setsNick = hasNick && a.level >= Member; a.setsNick && nick != "" {
		var err error
		a.nick, err = r.registrable(nick, a.jid)
		return err
	}
	return nil
}

// registrable is a nickname as it is compared, if somebody may have it registered.
func (r *room) registrable(nick string, bare jid.JID) (string, error) {
	j, err := r.addr.WithResource(nick)
	if err != nil {
		return "", errMalformed
	}
	nick = j.Resourcepart()
	if err := r.checkNick(nick); err != nil {
		return "", err
	}
	if owner, ok := r.registered(nick); ok && owner != bare.String() {
		return "", errConflict
	}
	return nick, nil
}

// checkNicks is conflict if a request gives one nickname to two.
func checkNicks(todo []action) error {
	given := map[string]jid.JID{}
	for _, a := range todo {
		if !a.setsNick || a.nick == "" {
			continue
		}
		if other, twice := given[a.nick]; twice && !other.Equal(a.jid) {
			return errConflict
		}
		given[a.nick] = a.jid
	}
	return nil
}

// checkOwners is conflict if a room would lose its last owner (XEP-0045 §10.4).
func (r *room) checkOwners(todo []action) error {
	after := map[string]bool{}
	for _, j := range r.withLevel(Owner) {
		after[j] = true
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
