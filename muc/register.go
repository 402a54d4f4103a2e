package muc

import (
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const fieldNick = "muc#register_roomnick"

// registerGet answers with the registration form (XEP-0045 §7.10).
func (r *room) registerGet(_ *session, s *component.Stanza) error {
	if err := r.mayRegister(s.From.Bare()); err != nil {
		return err
	}
	q := component.NewElement(NSRegister, "query")
	nick := r.affiliates.get(s.From.Bare().String()).nick
	if nick != "" {
		q.Add(component.NewElement(NSRegister, "registered"), component.NewElement(NSRegister, "username", component.Text(nick)))
	}
	f := component.Form{Type: "form", FormType: NSRegisterMU, Title: "Registration with " + r.title(),
		Fields: []component.Field{{Var: fieldNick, Type: "text-single", Label: "Nickname", Required: true}}}
	if nick != "" {
		f.Fields[0].Values = []string{nick}
	}
	r.result(s, q.Add(f.Element()))
	return nil
}

// The bounds of those with an affiliation in a room.
const (
	maxAffiliates  = 10_000 // by what those do who are no admins
	mostAffiliates = 20_000 // by what anybody does

	// Octets of their addresses, nicknames and reasons. A room that is awake has these in memory.
	mostAffiliateOctets = 4 << 20
)

var errTooManyMembers = fail(stanza.Wait, stanza.ResourceConstraint, "The room has as many members as it can have.")

// octets is what it takes to remember an affiliation.
func (a affiliate) octets() int { return len(a.jid) + len(a.nick) + len(a.reason) }

// affiliateOctets is what it takes to remember all affiliations.
func (r *room) affiliateOctets() (n int) {
	for _, a := range r.affiliates {
		n += a.octets()
	}
	return n
}

// roomFor tells if n more can have an affiliation by what somebody does who has own.
func (r *room) roomFor(n int, own Affiliation) bool {
	limit := maxAffiliates
	if own >= Admin {
		limit = mostAffiliates
	}
	return len(r.affiliates)+n <= limit && r.affiliateOctets() < mostAffiliateOctets
}

// checkNumber tells if a request would give affiliations to more than can have one, or with
// more about them than there is room for.
func (r *room) checkNumber(todo []action) error {
	now := map[string]affiliate{}
	for _, a := range todo {
		if key := a.jid.String(); !a.isRole {
			now[key] = affiliate{jid: key, level: a.level, nick: a.nick, reason: a.reason}
		}
	}
	more, octets := 0, 0
	for key, a := range now {
		octets -= r.affiliates.get(key).octets()
		if a.level == None {
			continue
		}
		octets += a.octets()
		if _, found := r.affiliates.find(key); !found {
			more++
		}
	}
	if more > 0 && !r.roomFor(more, Admin) || octets > 0 && r.affiliateOctets()+octets > mostAffiliateOctets {
		return errTooManyMembers
	}
	return nil
}

func (r *room) mayRegister(bare jid.JID) error {
	switch aff := r.affiliation(bare); {
	case bare.Localpart() == "": // a server itself: all its users would be members
		return errNotAllowed
	case aff >= Member:
		return nil
	case aff == Outcast, r.cfg.NoNicks:
		return errNotAllowed
	case !r.roomFor(1, aff):
		return errTooManyMembers
	case r.cfg.MembersOnly && !r.cfg.Approve:
		return errUnregistered
	}
	return nil
}

// registerSet registers a nickname, or ends that.
func (r *room) registerSet(_ *session, s *component.Stanza) error {
	bare, q := s.From.Bare(), s.Payload()
	if !r.registers.allow(bare.String(), r.limits.PresenceRate, r.now) {
		return errRate // all are told each time
	}
	if q.Child(NSRegister, "remove") != nil {
		return r.unregister(s)
	}
	if err := r.mayRegister(bare); err != nil {
		return err
	}
	f := component.ParseForm(q.Child(component.NSData, "x"))
	nick := f.Value(fieldNick)
	if f == nil {
		nick = q.Child(NSRegister, "username").Text()
	} else if f.Type != "submit" || f.FormType != "" && f.FormType != NSRegisterMU {
		return errBadRequest
	}
	if nick == "" {
		return errBadRequest
	}
	nick, err := r.registrable(nick, bare)
	if err != nil {
		return err
	}
	// Nobody can have others sent away by registering their nickname, but admins those who
	// do not belong to the room.
	if o := r.nicks.get(nick); o != nil && !o.bare().Equal(bare) && (o.affiliation > None || r.affiliation(bare) < Admin) {
		return errConflict
	}
	level := r.listed(bare)
	if _, own := r.affiliates.find(bare.String()); level > Member && !own {
		return fail(stanza.Cancel, stanza.NotAllowed, "All of your server have more rights here than a member: an owner can give you your own.")
	}
	if level < Member && r.cfg.Approve && !r.admin(bare) {
		if !r.asks.allow(r.limits.VoiceRate, r.now) {
			return errRate
		}
		r.askAdmins(bare, nick)
		r.result(s)
		return nil
	}
	r.setAffiliation(action{jid: bare, level: max(level, Member), nick: nick, setsNick: true}, "").now()
	r.result(s)
	r.afterLeaving(bare)
	return nil
}

// unregister ends a registration, and with it the membership (XEP-0077 §3.2).
func (r *room) unregister(s *component.Stanza) error {
	bare := s.From.Bare()
	a := r.affiliates.get(bare.String())
	switch {
	case a.level < Member:
		return errUnregistered
	case a.level >= Admin:
		r.affiliate(bare.String(), affiliate{level: a.level, reason: a.reason})
		r.result(s)
		return nil
	}
	r.setAffiliation(action{jid: bare, level: None}, "").now()
	r.result(s)
	r.afterLeaving(bare)
	return nil
}

// errUnregistered is for who is not a member, and would have to be.
var errUnregistered = fail(stanza.Auth, stanza.RegistrationRequired, "")

// askAdmins asks the admins and owners to approve a registration (XEP-0045 §9.9), but those whom
// somebody named who may not have the room write to them, until they come.
func (r *room) askAdmins(bare jid.JID, nick string) {
	f := component.Form{Type: "form", FormType: NSRegisterMU, Title: "Registration request",
		Instructions: "Somebody wants to become a member of " + r.title() + ".",
		Fields: []component.Field{
			{Var: "muc#register_allow", Type: "boolean", Label: "Allow this person to register with the room?", Values: []string{"0"}},
			{Var: "muc#register_jid", Type: "jid-single", Label: "Address", Values: []string{bare.String()}},
			{Var: fieldNick, Type: "text-single", Label: "Nickname", Values: []string{nick}},
		}}
	for _, key := range append(r.withLevel(Owner), r.withLevel(Admin)...) {
		if r.affiliates.get(key).far {
			continue
		}
		r.send((&component.Stanza{Kind: component.Message, From: r.addr, To: jid.MustParse(key)}).Add(f.Element()))
	}
}

// approveRegistration takes the answer to askAdmins. Who gives it may name anybody in it.
func (r *room) approveRegistration(s *component.Stanza, f *component.Form) error {
	if r.affiliation(s.From.Bare()) < Admin {
		return errForbidden
	}
	if allow, _ := component.Bool(f.Value("muc#register_allow")); !allow {
		return nil
	}
	j, err := component.ParseJID(f.Value("muc#register_jid"))
	if err != nil {
		return errMalformed
	}
	nick, err := r.registrable(f.Value(fieldNick), j.Bare())
	if err != nil {
		return err
	}
	if r.listed(j.Bare()) != None {
		return errConflict // another one has decided
	}
	if !r.roomFor(1, Admin) {
		return errTooManyMembers
	}
	r.setAffiliation(action{jid: j.Bare(), level: Member, nick: nick, setsNick: true, by: s.From, inviter: r.addr}, "").now()
	r.afterLeaving(j)
	return nil
}
