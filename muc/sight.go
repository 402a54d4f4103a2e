package muc

import (
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// visibleTo tells if viewer sees o's presence (muc#roomconfig_presencebroadcast). It goes
// by what they have been told: while several things change at once, they are told of them
// one after the other.
func (r *room) visibleTo(viewer, o *occupant) bool {
	return viewer == o || viewer.told == Moderator || r.shown.Has(o.told)
}

// announce sends o's presence as it is now to everybody, o itself last. Those who may not
// see o any more see it leave.
func (r *room) announce(o *occupant, n notice) {
	o.draft = nil
	d := r.current(o)
	if n.plain() {
		d = r.draftOf(o, n, false)
	}
	var left *component.Draft
	was, shown := o.told, r.shown.Has(o.told)
	o.told = o.role
	for _, viewer := range r.list {
		switch {
		case viewer == o:
		case r.visibleTo(viewer, o):
			r.toOccupant(viewer, d)
		case shown:
			if left == nil {
				left = r.unavailable(o)
			}
			r.toOccupant(viewer, left)
		}
	}
	r.announceOwn(o, n)
	if (was == Moderator) != (o.role == Moderator) {
		r.newView(o)
	}
}

func (r *room) unavailable(o *occupant) *component.Draft {
	return r.draftOf(o, notice{typ: string(stanza.UnavailablePresence)}, false)
}

// newView shows o what a moderator sees, when it has become one, and the other way round.
func (r *room) newView(o *occupant) {
	for _, other := range r.list {
		shown := r.shown.Has(other.told)
		switch {
		case other == o:
		case o.told == Moderator && (!shown || !r.cfg.NonAnon):
			r.toOccupant(o, r.current(other))
		case o.told != Moderator && !shown:
			r.toOccupant(o, r.unavailable(other))
		}
	}
}

// remove takes o out of the room with all its sessions, and returns what tells the
// others, after the one who did it has got an answer (XEP-0045 §8.2).
func (r *room) remove(o *occupant, n notice) (tell func()) {
	n.typ = string(stanza.UnavailablePresence)
	r.announceOwn(o, n)
	d := r.draftOf(o, n, false)
	for _, ses := range o.sessions {
		r.sessions.drop(ses.to.String())
		r.departed(ses)
		r.leftRelays(ses)
	}
	r.forget(o)
	if r.shown.Has(o.told) { // by all, whatever becomes of them
		return func() { r.toAll(d) }
	}
	var saw []*occupant
	for _, viewer := range r.list {
		if r.visibleTo(viewer, o) {
			saw = append(saw, viewer)
		}
	}
	return func() {
		for _, viewer := range saw {
			if r.nicks.get(viewer.nick) == viewer {
				r.toOccupant(viewer, d)
			}
		}
	}
}

// toThoseWhoSee sends d to everybody else who can see o.
func (r *room) toThoseWhoSee(o *occupant, d *component.Draft) {
	for _, viewer := range r.list {
		if viewer != o && r.visibleTo(viewer, o) {
			r.toOccupant(viewer, d)
		}
	}
}

// reveal shows the addresses of all to those who could not see them before.
func (r *room) reveal() {
	for _, o := range r.list {
		for _, viewer := range r.list {
			if viewer != o && viewer.told != Moderator && r.visibleTo(viewer, o) {
				r.toOccupant(viewer, r.current(o))
			}
		}
		r.portion()
	}
}

// rebroadcast shows and hides occupants after the roles whose presence is seen changed.
func (r *room) rebroadcast() {
	was := r.shown
	r.shown = r.cfg.Broadcast
	for _, o := range r.list {
		if was.Has(o.told) == r.shown.Has(o.told) {
			continue
		}
		d := r.current(o)
		if was.Has(o.told) {
			d = r.unavailable(o)
		}
		for _, viewer := range r.list {
			if viewer != o && viewer.told != Moderator {
				r.toOccupant(viewer, d)
			}
		}
		r.portion()
	}
}
