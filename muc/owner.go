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
		how := forOccupants(d)
		if len(component.AppendNodes(nil, []component.Node{how.Node()})) > r.limits.Subject+maxText {
			return errReason
		}
		r.destroy(how)
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
	if err := r.checkOwners(todo); err != nil {
		return err
	}
	if err := r.checkNumber(todo); err != nil {
		return err
	}
	old := r.cfg
	r.locked = false
	if c != *old { // else it stays shared
		r.cfg = &c
	}
	r.save()
	if old.Archive && !c.Archive {
		r.forgetAll()
	}
	var later tellings
	for _, a := range todo {
		a.by = s.From
		later = append(later, r.setAffiliation(a, "")...)
	}
	r.result(s)
	r.tellAll(later)
	r.configured(old)
	if !r.gone {
		r.opened()
	}
	return nil
}

// configured does and tells what a new configuration means for who is in the room
// (XEP-0045 §10.2).
func (r *room) configured(old *Config) {
	before := len(r.list)
	r.history.drop(0, max(0, len(r.history.list)-r.historyLength()))
	for _, o := range r.list {
		o.draft = nil
	}
	if r.cfg.MembersOnly && !old.MembersOnly {
		for _, o := range append([]*occupant(nil), r.list...) {
			if o.affiliation < Member {
				r.remove(o, notice{codes: []int{322}})()
				r.portion()
			}
		}
	}
	if r.cfg.NonAnon && !old.NonAnon {
		r.reveal()
	}
	r.rebroadcast()
	if codes := changeCodes(*old, *r.cfg); len(codes) > 0 {
		r.tellCodes(codes)
	}
	// A temporary room that was empty all the time may wait for who was in it before a crash.
	if len(r.list) < before || old.Persistent {
		r.afterLeaving(r.addr)
	}
}

// changeCodes are the status codes of a change of configuration (XEP-0045 §10.2.1).
func changeCodes(old, now Config) (codes []int) {
	for _, c := range []struct {
		was, is *bool
		on, off int
	}{
		{&old.Archive, &now.Archive, 170, 171},
		{&old.NonAnon, &now.NonAnon, 172, 173},
		{&old.ShowMembers, &now.ShowMembers, 102, 103},
	} {
		switch {
		case *c.is && !*c.was:
			codes = append(codes, c.on)
		case *c.was && !*c.is:
			codes = append(codes, c.off)
		}
		*c.was = *c.is
	}
	if old != now { // in something else
		codes = append(codes, 104)
	}
	return codes
}

// tellCodes sends status codes in a message to everybody.
func (r *room) tellCodes(codes []int) {
	x := append(appendCodes([]byte("<x xmlns='"+NSUser+"'>"), codes), "</x>"...)
	m := component.Stanza{Kind: component.Message, From: r.addr, Type: string(stanza.GroupChatMessage)}
	r.toAll(component.NewDraft(&m, x, nil, nil))
}
