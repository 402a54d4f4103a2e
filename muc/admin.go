package muc

import (
	"mellium.im/xmpp/jid"

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
		if !known || level == None { // of which there is no list (§5.2)
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
	// Who the moderators are is for admins (§9.8), who has voice for moderators (§8.5).
	may := r.moderates(s.From.Bare())
	if role == Moderator {
		may = r.affiliation(s.From.Bare()) >= Admin
	}
	if !may {
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
	case own == Owner, own == Admin && level <= Member:
		return true
	case level < Member || !r.cfg.NonAnon:
		return false
	case ses != nil:
		return r.cfg.ListReaders.Has(ses.occ.role)
	}
	return own >= Member && r.cfg.ListReaders.Has(r.roleOf(own))
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

// adminSet changes roles and affiliations: all that is asked, or nothing.
func (r *room) adminSet(ses *session, s *component.Stanza) error {
	items := itemsOf(s)
	if len(items) == 0 || len(items) > maxItems {
		return errBadRequest
	}
	todo := make([]action, 0, len(items))
	for _, item := range items {
		a, err := r.checkItem(s.From.Bare(), item)
		switch {
		case err != nil && a.isRole:
			r.refuseItem(s, item, err)
			return nil
		case err != nil:
			return err
		}
		a.by, a.inviter = s.From, r.addr
		if ses != nil {
			a.inviter = r.nameOf(ses)
		}
		todo = append(todo, a)
	}
	if err := checkNicks(todo); err != nil {
		return err
	}
	if err := r.checkOwners(todo); err != nil {
		return err
	}
	if err := r.checkNumber(todo); err != nil {
		return err
	}
	actor := ""
	if ses != nil {
		actor = ses.occ.nick
	}
	var later tellings
	for _, a := range todo {
		if a.isRole {
			later = append(later, r.setRole(a.occ, a.role, actor, a.reason))
		} else {
			later = append(later, r.setAffiliation(a, actor)...)
		}
	}
	r.result(s)
	r.tellAll(later)
	r.afterLeaving(s.From.Bare())
	return nil
}

const maxItems = 1000

// refuseItem answers a request for roles with an error, and with the item it is because of
// (XEP-0045 §8.4).
func (r *room) refuseItem(s *component.Stanza, item *component.Element, err error) {
	e := refusal(s, err)
	e.Nodes = append([]component.Node{component.NewElement(NSAdmin, "query", item.Node()).Node()}, e.Nodes...)
	r.send(e)
}
