package muc

import (
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// handlePresence handles presence for the room (XEP-0045 §7).
func (r *room) handlePresence(ses *session, s *component.Stanza) error {
	nick := s.To.Resourcepart()
	switch stanza.PresenceType(s.Type) {
	case stanza.AvailablePresence:
	case stanza.UnavailablePresence:
		if ses != nil {
			r.leave(ses, s)
		}
		return nil
	case stanza.ErrorPresence:
		if ses != nil && meansGone(s) {
			r.lost(ses, "")
		}
		return nil
	case stanza.ProbePresence:
		return r.probe(ses, s)
	case stanza.SubscribePresence:
		r.send(unsubscribed(s))
		return nil
	default:
		return nil
	}
	x := s.Child(NSMUC, "x")
	switch {
	case nick == "" && ses != nil && x == nil:
		nick = ses.occ.nick // to the room is to all in it
	case nick == "":
		return errMalformed
	case ses == nil && x == nil:
		r.send(notInRoom(s))
		return nil
	case ses == nil:
		err := r.enter(s, x)
		if err != nil && r.locked && r.creator == s.From.Bare().String() {
			r.afterLeaving(s.From.Bare()) // it was made for this, in vain
		}
		return err
	}
	if !ses.presences.allow(r.limits.PresenceRate, r.now) {
		return errRate
	}
	payload, err := r.presencePayload(s)
	if err != nil {
		return err
	}
	if nick != ses.occ.nick {
		return r.changeNick(ses, s, x, payload)
	}
	if x != nil {
		r.synchronise(ses, s, x, payload)
		return nil
	}
	ses.present(s, payload)
	ses.occ.shown = ses
	r.announce(ses.occ, notice{id: s.ID})
	return nil
}

// synchronise sends a client that has lost its state all that it would get if it entered,
// and tells the others if its presence is another now (XEP-0045 §7.2.1, §17.3).
func (r *room) synchronise(ses *session, s *component.Stanza, x *component.Element, payload string) {
	o := ses.occ
	if o.shown != ses || ses.lang != s.Lang || ses.payload != payload {
		ses.present(s, payload)
		o.shown = ses
		r.retell(o, ses)
	}
	r.charging(&ses.presences, func() { r.welcome(ses, s, x, nil) })
}

// charging does what sends much to who asked for it, and charges that one for it: few
// octets are not to be answered by many without end.
func (r *room) charging(bucket *rateLimit, do func()) {
	before := len(r.out.copies)
	do()
	bucket.charge(cost(r.out.copies[before:]), r.limits.PresenceRate)
}

// retell sends o's presence as it is now to everybody but one of its sessions.
func (r *room) retell(o *occupant, except *session) {
	o.draft = nil
	r.toThoseWhoSee(o, r.current(o))
	var own *component.Draft
	for _, ses := range o.sessions {
		if ses == except {
			continue
		}
		if own == nil {
			own = r.draftOf(o, notice{}, true)
		}
		r.copy(own, &ses.to, true)
	}
}

// notInRoom tells a client that it is not where it believes to be (XEP-0045 §7.2.18).
func notInRoom(s *component.Stanza) *component.Stanza {
	x := component.NewElement(NSUser, "x", component.NewElement(NSUser, "item",
		component.NewElement(NSUser, "reason", component.Text("You are not in the room.")).Node()).
		With("affiliation", "none").With("role", "none").Node())
	for _, code := range []string{"110", "307", "333"} {
		x.Add(component.NewElement(NSUser, "status").With("code", code))
	}
	r := &component.Stanza{Kind: component.Presence, Type: string(stanza.UnavailablePresence), To: s.From, From: s.To, ID: s.ID}
	return r.Add(x)
}

// probe answers a presence probe (XEP-0045 §17.3).
func (r *room) probe(ses *session, s *component.Stanza) error {
	nick := s.To.Resourcepart()
	switch {
	case ses == nil:
		return errNotInRoom
	case !ses.presences.allow(r.limits.PresenceRate, r.now):
		return errRate
	case nick == "":
		r.charging(&ses.presences, func() { r.others(ses) })
		return nil
	}
	o := r.nicks.get(nick)
	if o == nil && r.cfg.ShowMembers {
		if bare, ok := r.registered(nick); ok && r.affiliates.get(bare).level >= Member {
			r.copy(r.absentee(nick, bare), &ses.to, r.seesJIDs(ses.occ))
			return nil
		}
	}
	if o == nil || !r.visibleTo(ses.occ, o) {
		return errNotFound
	}
	r.copy(r.current(o), &ses.to, r.seesJIDs(ses.occ) || o == ses.occ)
	return nil
}

// presencePayload is what a client's presence carries, without what only the room says.
func (r *room) presencePayload(s *component.Stanza) (string, error) {
	nodes := make([]component.Node, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		if e := n.Element; e == nil || e.Name.Space == NSMUC || e.Name.Space == NSUser || e.Name.Space == NSOccupantID || e.Is(NSHats, "hats") {
			continue
		}
		nodes = append(nodes, n)
	}
	xml := component.AppendNodes(nil, nodes)
	if len(xml)+len(s.Lang) > r.limits.Presence {
		return "", fail(stanza.Modify, stanza.PolicyViolation, "The presence is too long.")
	}
	return string(xml), nil
}

// enter lets somebody in, or tells why not (XEP-0045 §7.2).
func (r *room) enter(s *component.Stanza, x *component.Element) error {
	nick, bare := s.To.Resourcepart(), s.From.Bare()
	payload, err := r.presencePayload(s)
	if err != nil {
		return r.conceal(s.From, err)
	}
	invited := r.redeem(bare, x)
	aff := r.affiliation(bare)
	if err := r.mayEnter(bare, aff, x, invited); err != nil {
		return r.conceal(s.From, err)
	}
	if err := r.checkNick(nick); err != nil {
		return r.conceal(s.From, err)
	}
	if err := r.nickFree(nick, bare); err != nil {
		return err
	}
	presences, ok := r.mayCome(bare.String())
	if !ok {
		return errRate
	}
	o := r.nicks.get(nick)
	var ses *session
	if o == nil {
		if r.full(aff) {
			return errFull
		}
		v := &visit{occupant: occupant{voice: r.newVoice(nick, r.occupantID(bare)), affiliation: aff, role: r.roleOf(aff)}}
		o, ses = &v.occupant, &v.session
		o.sessions = v.list[:0]
		if role, ok := r.given[bare.String()]; ok && r.cfg.Moderated && aff < Admin {
			o.role = role // §5.1
		}
		o.told = o.role
		r.nicks.put(o)
		r.list = append(grown(r.list, 1), o)
	} else if len(o.sessions) >= maxSessions {
		return errSessions
	} else {
		ses = new(session)
	}
	r.serial++
	*ses = session{to: component.NewRecipient(s.From), occ: o, serial: r.serial, seen: r.now.Unix(), presences: presences}
	ses.present(s, payload)
	o.sessions = append(o.sessions, ses)
	o.shown, o.draft = ses, nil
	r.sessions.put(ses)
	r.forgetGuest(bare.String(), "")
	r.comes(bare.String())
	r.entered = r.now.Unix()
	r.arrive(ses, s, x)
	return nil
}

// mayCome tells if a user does not enter too often, and gives what the session may do. What
// it has left is kept when it leaves: a new one does not begin anew.
func (r *room) mayCome(bare string) (left rateLimit, ok bool) {
	r.forgetComings()
	left, known := r.comings[bare]
	if !known {
		return left, true
	}
	ok = left.allow(r.limits.PresenceRate, r.now)
	r.comings[bare] = left
	return left, ok
}

// departed keeps what a session had left.
func (r *room) departed(ses *session) {
	bare := ses.occ.bare().String()
	if _, known := r.comings[bare]; known {
		return
	}
	if r.comings == nil {
		r.comings = map[string]rateLimit{}
	}
	r.comings[bare] = ses.presences
}

// forgetComings forgets from time to time those who may enter as often as others again.
func (r *room) forgetComings() {
	r.swept = forgetFull(r.comings, r.swept, r.now)
	if len(r.comings) == 0 {
		r.comings = nil
	}
}

// maxSessions are those of one user with one nickname.
const maxSessions = 20

// full tells if the room can take no more occupants with that affiliation (XEP-0045 §7.2.9). As
// a whole domain can be its owner, owners are not without number either.
func (r *room) full(aff Affiliation) bool {
	n, most := len(r.list), r.limits.Occupants
	if aff == Owner {
		most += forOwners
	}
	return r.cfg.MaxUsers > 0 && n >= r.cfg.MaxUsers && aff < Admin || n >= most
}

// forOwners is how many owners get in where it is full for others.
const forOwners = 20

var (
	errFull     = fail(stanza.Wait, stanza.ServiceUnavailable, "The room is full.")
	errSessions = fail(stanza.Wait, stanza.ResourceConstraint, "There are too many sessions with this nickname.")
)

// mayEnter tells if the room's rules let somebody in.
func (r *room) mayEnter(bare jid.JID, aff Affiliation, x *component.Element, invited bool) error {
	switch {
	case aff == Outcast:
		return errForbidden
	case r.locked && aff < Owner:
		return errNotFound
	case invited:
		return nil
	case r.cfg.MembersOnly && aff < Member:
		return fail(stanza.Auth, stanza.RegistrationRequired, "This room is for its members; ask for an invitation.")
	case r.cfg.Protected && !r.locked && x.Child(NSMUC, "password").Text() != r.cfg.Password && !r.admin(bare):
		return fail(stanza.Auth, stanza.NotAuthorized, "The room wants a password, and this is not the right one.")
	}
	return nil
}

// arrive tells everybody of a new session, and it of everybody.
func (r *room) arrive(ses *session, s *component.Stanza, x *component.Element) {
	o := ses.occ
	r.retell(o, ses)
	var codes []int
	if r.locked && len(r.list) == 1 && len(o.sessions) == 1 {
		codes = append(codes, 201)
	}
	bare := s.From.Bare().String()
	left, back := r.comings[bare]
	if !back {
		r.welcome(ses, s, x, codes)
		return
	}
	r.charging(&left, func() { r.welcome(ses, s, x, codes) })
	r.comings[bare], ses.presences = left, left
}

// welcome sends what somebody gets who enters, in the order of XEP-0045 §7.1.
func (r *room) welcome(ses *session, s *component.Stanza, x *component.Element, codes []int) {
	ses.missed = false // it begins anew
	r.others(ses)
	r.absent(ses)
	own := notice{id: s.ID}
	if r.cfg.NonAnon {
		own.own = append(own.own, 100)
	}
	if r.archives() {
		own.own = append(own.own, 170)
	}
	own.own = append(own.own, codes...)
	r.copy(r.draftOf(ses.occ, own, true), &ses.to, true)
	r.sendHistory(ses, x.Child(NSMUC, "history"))
	r.sendSubject(ses)
	r.sendMessageOfTheDay(ses)
}

// others sends the presence of all others to ses.
func (r *room) others(ses *session) {
	full := r.seesJIDs(ses.occ)
	for _, o := range r.list {
		if o != ses.occ && r.visibleTo(ses.occ, o) {
			r.copy(r.current(o), &ses.to, full)
		}
	}
}
