package muc

import (
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// ownerGet answers with the configuration form (XEP-0045 §10.2).
func (r *room) ownerGet(_ *session, s *component.Stanza) error {
	if r.affiliation(s.From.Bare()) < Owner {
		return errForbidden
	}
	r.result(s, component.NewElement(NSOwner, "query", r.form().Element().Node()))
	return nil
}

// ownerSet configures or destroys the room (XEP-0045 §10.1, §10.2, §10.9).
func (r *room) ownerSet(_ *session, s *component.Stanza) error {
	if r.affiliation(s.From.Bare()) < Owner {
		return errForbidden
	}
	if d := s.Payload().Child(NSOwner, "destroy"); d != nil {
		r.destroy(forOccupants(d))
		r.result(s)
		return nil
	}
	f := component.ParseForm(s.Payload().Child(component.NSData, "x"))
	switch {
	case f == nil:
		return errBadRequest
	case f.Type == "cancel":
		if r.locked {
			r.destroy(nil)
		}
		r.result(s)
		return nil
	case f.Type != "submit", f.FormType != "" && f.FormType != NSRoomConfig:
		return errBadRequest
	}
	return r.configure(s, f)
}

// forOccupants is a destroy element as the occupants get it.
func forOccupants(d *component.Element) *component.Element {
	e := component.NewElement(NSUser, "destroy")
	if j := d.AttrValue("jid"); j != "" {
		e.SetAttr("jid", j)
	}
	for _, name := range []string{"password", "reason"} {
		if c := d.Child(NSOwner, name); c != nil {
			e.Add(component.NewElement(NSUser, name, component.Text(c.Text())))
		}
	}
	return e
}

// configure applies a submitted form: all of it, or nothing.
func (r *room) configure(s *component.Stanza, f *component.Form) error {
	c, err := r.submitted(f)
	if err != nil {
		return err
	}
	todo, err := r.lists(f)
	if err != nil {
		return err
	}
	for _, a := range todo {
		if r.admin(a.jid) && a.level < Owner && r.affiliates[a.jid.String()].level == Owner && len(r.withLevel(Owner)) == 1 {
			return errConflict
		}
	}
	if err := r.checkOwners(todo); err != nil {
		return err
	}
	old, wasLocked := r.cfg, r.locked
	r.cfg, r.locked = c, false
	r.save()
	var later []func()
	for _, a := range todo {
		later = append(later, r.setAffiliation(a, ""))
	}
	r.result(s)
	for _, tell := range later {
		tell()
	}
	r.configured(old, wasLocked)
	return nil
}

// configured does and tells what a new configuration means for who is in the room
// (XEP-0045 §10.2.1).
func (r *room) configured(old Config, wasLocked bool) {
	if r.historyLength() < len(r.history) {
		r.history = r.history[len(r.history)-r.historyLength():]
	}
	for _, o := range r.list {
		o.draft = nil
	}
	if r.cfg.MembersOnly && !old.MembersOnly {
		for _, o := range append([]*occupant(nil), r.list...) {
			if o.affiliation < Member {
				r.remove(o, notice{codes: []int{322}})()
			}
		}
	}
	if r.cfg.NonAnon && !old.NonAnon {
		for _, o := range r.list {
			r.announce(o, notice{}, o.role)
		}
	}
	if r.cfg.Broadcast != old.Broadcast {
		r.rebroadcast(old.Broadcast)
	}
	var codes []int
	changed := r.cfg != old
	add := func(is, was bool, on, off int) {
		switch {
		case is && !was:
			codes = append(codes, on)
		case was && !is:
			codes = append(codes, off)
		}
	}
	add(r.cfg.Archive, old.Archive, 170, 171)
	add(r.cfg.NonAnon, old.NonAnon, 172, 173)
	add(r.cfg.ShowMembers, old.ShowMembers, 102, 103)
	old.Archive, old.NonAnon, old.ShowMembers = r.cfg.Archive, r.cfg.NonAnon, r.cfg.ShowMembers
	if r.cfg != old || changed && len(codes) == 0 {
		codes = append(codes, 104)
	}
	if len(codes) > 0 && (!wasLocked || len(codes) > 0 && codes[0] != 104) {
		r.tellCodes(codes)
	}
	if !r.cfg.Persistent && len(r.list) == 0 {
		r.end()
	}
}

// tellCodes sends status codes in a message to everybody.
func (r *room) tellCodes(codes []int) {
	x := append(appendCodes([]byte("<x xmlns='"+NSUser+"'>"), codes), "</x>"...)
	m := component.Stanza{Kind: component.Message, From: r.addr, Type: string(stanza.GroupChatMessage)}
	r.toAll(component.NewDraft(&m, x, nil, nil))
}

// rebroadcast shows and hides occupants after the roles whose presence is seen changed.
func (r *room) rebroadcast(before Roles) {
	for _, o := range r.list {
		was, is := before.Has(o.role), r.cfg.Broadcast.Has(o.role)
		if was == is {
			continue
		}
		d := r.current(o)
		if was {
			d = r.draftOf(o, notice{typ: string(stanza.UnavailablePresence)}, false)
		}
		for _, viewer := range r.list {
			if viewer != o && viewer.role != Moderator {
				r.toOccupant(viewer, d)
			}
		}
	}
}
