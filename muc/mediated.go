package muc

import (
	"slices"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// mediated handles what the room passes on, or acts on: invitations, their refusals, and
// forms (XEP-0045 §7.8.2, §7.13, §8.6, §9.9).
func (r *room) mediated(ses *session, s *component.Stanza) error {
	if x := s.Child(NSUser, "x"); x != nil {
		if d := x.Child(NSUser, "decline"); d != nil {
			return r.decline(s, d)
		}
		var invites []*component.Element
		for _, n := range x.Nodes {
			if n.Element != nil && n.Element.Is(NSUser, "invite") {
				invites = append(invites, n.Element)
			}
		}
		if len(invites) > 0 {
			return r.invite(ses, s, invites)
		}
	}
	if f := component.ParseForm(s.Child(component.NSData, "x")); f != nil && f.Type == "submit" {
		switch f.FormType {
		case NSRequest:
			return r.voice(ses, f)
		case NSRegisterMU:
			return r.approveRegistration(s, f)
		}
	}
	if ses == nil {
		return errNotInRoom
	}
	return errBadRequest
}

// invite passes invitations on (XEP-0045 §7.8.2): all, or none.
func (r *room) invite(ses *session, s *component.Stanza, invites []*component.Element) error {
	aff := r.affiliation(s.From.Bare())
	switch {
	case ses == nil:
		return errNotInRoom
	case ses.occ.role < Participant, !r.cfg.mayInvite() && aff < Admin:
		return errForbidden
	}
	for range invites { // each is a message to somebody
		if !ses.messages.allow(r.limits.MessageRate, r.now) {
			return errRate
		}
	}
	if r.cfg.MembersOnly && !r.roomFor(len(invites), aff) {
		return errTooManyMembers
	}
	to := make([]jid.JID, len(invites))
	for i, e := range invites {
		j, err := component.ParseJID(e.AttrValue("to"))
		switch {
		case err != nil || j.Localpart() == "": // a domain would make members of all its users
			return errMalformed
		}
		if max(len(e.Child(NSUser, "reason").Text()), len(e.Child(NSUser, "continue").AttrValue("thread")), len(s.Lang)) > r.limits.Subject {
			return errReason
		}
		to[i] = j
	}
	for i, e := range invites {
		bare := to[i].Bare()
		if r.affiliation(bare) == Outcast && aff < Admin {
			continue // an error would tell who is banned, and so who somebody was
		}
		if r.cfg.MembersOnly && r.listed(bare) == None {
			r.setAffiliation(action{jid: bare, level: Member, by: s.From}, ses.occ.nick).now()
		}
		if !r.reaches(s.From, bare) {
			continue // an error would tell whose server is near, and so where we are
		}
		// What waits for the room to be opened keeps no more of the stanza than it has to.
		id, lang, reason, goesOn := s.ID, s.Lang, e.Child(NSUser, "reason").Text(), continued(e)
		r.whenOpen(func() {
			r.remember(bare.String(), ses.occ.bare().String())
			m := r.invitation(r.nameOf(ses), to[i], reason)
			m.ID, m.Lang = id, lang
			if goesOn != nil {
				m.Child(NSUser, "x").Child(NSUser, "invite").Add(goesOn)
			}
			r.send(m)
		})
	}
	return nil
}

// continued tells that an invitation is to go on with a chat of two (XEP-0045 §7.9); nil if it
// is not.
func continued(invite *component.Element) *component.Element {
	c := invite.Child(NSUser, "continue")
	if c == nil {
		return nil
	}
	e := component.NewElement(NSUser, "continue")
	if thread, ok := c.LookupAttr("thread"); ok {
		e.SetAttr("thread", thread)
	}
	return e
}

// whenOpen tells somebody outside of the room at once, or when the room is unlocked: until
// then there is no room for others (XEP-0045 §10.1.1). As many wait as maxInvited.
func (r *room) whenOpen(tell func()) {
	switch {
	case !r.locked:
		tell()
	case len(r.held) < maxInvited:
		r.held = append(r.held, tell)
	}
}

// opened tells those who had to wait for it.
func (r *room) opened() {
	held := r.held
	r.held = nil
	for _, tell := range held {
		tell()
	}
}

// nameOf is what somebody outside may know of who invites: the real address where all
// occupants know it, and the nickname elsewhere.
func (r *room) nameOf(ses *session) jid.JID {
	if r.cfg.NonAnon {
		return ses.to.JID.Bare()
	}
	return r.nickJID(ses.occ.nick)
}

// decline tells who invited somebody that it was in vain. Nobody else can be told
// anything in this way, nor found out about.
func (r *room) decline(s *component.Stanza, d *component.Element) error {
	j, err := component.ParseJID(d.AttrValue("to"))
	switch {
	case err != nil || d.AttrValue("to") == "":
		return errMalformed
	case len(d.Child(NSUser, "reason").Text()) > r.limits.Subject:
		return errReason
	}
	var to []*occupant
	if j.Bare().Equal(r.addr) {
		if o := r.nicks.get(j.Resourcepart()); o != nil {
			to = []*occupant{o}
		}
	} else {
		to = r.occupantsOf(j.Bare())
	}
	by := r.invitedBy(s.From.Bare().String())
	to = slices.DeleteFunc(to, func(o *occupant) bool { return !slices.Contains(by, o.bare().String()) })
	if len(to) == 0 {
		return errNotFound
	}
	r.forgetGuest(s.From.Bare().String(), to[0].bare().String())
	out := component.NewElement(NSUser, "decline").With("from", s.From.Bare().String())
	if reason := d.Child(NSUser, "reason"); reason != nil {
		out.Add(component.NewElement(NSUser, "reason", component.Text(reason.Text())))
	}
	for _, o := range to {
		m := component.Stanza{Kind: component.Message, ID: s.ID, From: r.addr, Lang: s.Lang}
		m.Add(component.NewElement(NSUser, "x", out.Node()))
		r.toOccupant(o, component.NewDraft(&m, nil, nil, nil))
	}
	return nil
}

// voice handles a visitor's request for voice, and a moderator's answer (XEP-0045 §7.13,
// §8.6).
func (r *room) voice(ses *session, f *component.Form) error {
	if ses == nil {
		return errNotInRoom
	}
	if role, ok := f.Values("muc#role"); ok && first(role) != Participant.String() {
		return errBadRequest
	}
	if allow, answered := f.Values("muc#request_allow"); answered && ses.occ.role == Moderator {
		o := r.nicks.get(f.Value("muc#roomnick"))
		if o == nil {
			return errNotFound
		}
		// Somebody else may have the nickname by now.
		if j, err := component.ParseJID(f.Value("muc#jid")); err == nil && !j.Bare().Equal(o.bare()) {
			return errNotFound
		}
		if is, _ := component.Bool(first(allow)); is && o.role == Visitor {
			r.setRole(o, Participant, ses.occ.nick, "")()
		}
		return nil
	}
	switch {
	case !r.cfg.Voice:
		return errNotAllowed
	case ses.occ.role != Visitor:
		return errForbidden
	case !r.asks.allow(r.limits.VoiceRate, r.now):
		return errRate
	}
	form := component.Form{Type: "form", FormType: NSRequest, Title: "Voice request",
		Instructions: "To approve this request for voice, choose \"Grant voice\" and send the form.",
		Fields: []component.Field{
			{Var: "muc#role", Type: "list-single", Label: "Requested role", Values: []string{"participant"},
				Options: []component.Option{{Label: "Participant", Value: "participant"}}},
			{Var: "muc#jid", Type: "jid-single", Label: "Address", Values: []string{ses.to.String()}},
			{Var: "muc#roomnick", Type: "text-single", Label: "Nickname", Values: []string{ses.occ.nick}},
			{Var: "muc#request_allow", Type: "boolean", Label: "Grant voice to this person?", Values: []string{"0"}},
		}}
	m := component.Stanza{Kind: component.Message, From: r.addr}
	d := component.NewDraft(m.Add(form.Element()), nil, nil, nil)
	for _, o := range r.list {
		if o.role == Moderator {
			r.toOccupant(o, d)
		}
	}
	return nil
}

func first(v []string) string {
	if len(v) > 0 {
		return v[0]
	}
	return ""
}
