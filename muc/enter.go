package muc

import (
	"strings"
	"time"
	"unicode/utf8"

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
		r.send(&component.Stanza{Kind: component.Presence, Type: string(stanza.UnsubscribedPresence), To: s.From.Bare(), From: s.To, ID: s.ID})
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
		return r.enter(s, x)
	}
	if !ses.presences.allow(r.limits.PresenceRate, r.now) {
		return errRate
	}
	payload, err := r.presencePayload(s)
	if err != nil {
		return err
	}
	if nick != ses.occ.nick {
		return r.changeNick(ses, s, payload)
	}
	ses.payload, ses.lang = payload, s.Lang
	ses.occ.shown = ses
	r.announce(ses.occ, notice{id: s.ID}, ses.occ.role)
	if x != nil {
		r.welcome(ses, s, x, nil) // the client has lost its state (§7.2.1)
	}
	return nil
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
	if ses == nil {
		return errNotInRoom
	}
	if nick == "" {
		r.others(ses)
		return nil
	}
	o := r.nicks[nick]
	if o == nil || !r.visibleTo(ses.occ, o, o.role) {
		return errNotFound
	}
	r.copy(r.current(o), ses.to, r.seesJIDs(ses.occ))
	return nil
}

// presencePayload is what a client's presence carries, without what only the room says.
func (r *room) presencePayload(s *component.Stanza) ([]byte, error) {
	nodes := s.Nodes[:0]
	for _, n := range s.Nodes {
		if e := n.Element; e == nil || e.Name.Space == NSMUC || e.Name.Space == NSUser || e.Name.Space == NSOccupantID || e.Is(NSHats, "hats") {
			continue
		}
		nodes = append(nodes, n)
	}
	xml := component.AppendNodes(nil, nodes)
	if len(xml) > r.limits.Presence {
		return nil, fail(stanza.Modify, stanza.PolicyViolation, "The presence is too long.")
	}
	return xml, nil
}

// checkNick tells if a nickname can be had at all (XEP-0045 §17.1).
func (r *room) checkNick(nick string) error {
	switch {
	case strings.TrimSpace(nick) == "":
		return errMalformed
	case utf8.RuneCountInString(nick) > r.limits.Nick:
		return fail(stanza.Modify, stanza.NotAcceptable, "The nickname is too long.")
	}
	return nil
}

// nickFree is conflict if somebody else has a nickname, in the room or registered.
func (r *room) nickFree(nick string, bare jid.JID) error {
	if o := r.nicks[nick]; o != nil && !o.bare.Equal(bare) {
		return errConflict
	}
	if owner, ok := r.registered(nick); ok && owner != bare.String() {
		return errConflict
	}
	return nil
}

// registered is whose a registered nickname is.
func (r *room) registered(nick string) (bare string, ok bool) {
	for j, a := range r.affiliates {
		if a.nick == nick {
			return j, true
		}
	}
	return "", false
}

// enter lets somebody in, or tells why not (XEP-0045 §7.2).
func (r *room) enter(s *component.Stanza, x *component.Element) error {
	nick, bare := s.To.Resourcepart(), s.From.Bare()
	if err := r.checkNick(nick); err != nil {
		return err
	}
	payload, err := r.presencePayload(s)
	if err != nil {
		return err
	}
	aff := r.affiliation(bare)
	if ask, ok := r.needsToken(aff, x); ok {
		// The room decides again when the invitation has been looked up.
		r.out.reads = append(r.out.reads, ask(bare, func(r *room, member bool) {
			if member {
				r.becomeMember(bare)
			}
			if err := r.admit(s, x, payload, member); err != nil {
				r.refuse(s, err)
			}
		}))
		return nil
	}
	return r.admit(s, x, payload, false)
}

// admit is enter, when it is known if somebody brought an invitation.
func (r *room) admit(s *component.Stanza, x *component.Element, payload []byte, invited bool) error {
	nick, bare := s.To.Resourcepart(), s.From.Bare()
	aff := r.affiliation(bare)
	if err := r.mayEnter(bare, aff, x, invited); err != nil {
		return r.conceal(s.From, err)
	}
	if err := r.nickFree(nick, bare); err != nil {
		return err
	}
	o := r.nicks[nick]
	if o == nil {
		if limit := r.maxUsers(); limit > 0 && len(r.list) >= limit && aff < Admin {
			return fail(stanza.Wait, stanza.ServiceUnavailable, "The room is full.")
		}
		if len(r.list) >= r.limits.Occupants && aff < Owner {
			return fail(stanza.Wait, stanza.ServiceUnavailable, "The room is full.")
		}
		o = &occupant{nick: nick, addr: s.To, bare: bare, id: r.occupantID(bare), affiliation: aff, role: r.roleOf(aff)}
		o.hats = r.hatsOf(bare)
		if role, ok := r.given[bare.String()]; ok && r.cfg.Moderated && aff < Admin {
			o.role = role // §5.1
		}
		if r.nicks == nil {
			r.nicks = map[string]*occupant{}
		}
		r.nicks[nick] = o
		r.list = append(r.list, o)
	} else if len(o.sessions) >= maxSessions {
		return fail(stanza.Wait, stanza.ResourceConstraint, "There are too many sessions with this nickname.")
	}
	r.serial++
	ses := &session{to: component.NewRecipient(s.From), occ: o, serial: r.serial, payload: payload, lang: s.Lang, seen: r.now.Unix()}
	o.sessions = append(o.sessions, ses)
	o.shown, o.draft = ses, nil
	if r.sessions == nil {
		r.sessions = map[string]*session{}
	}
	r.sessions[s.From.String()] = ses
	delete(r.invited, bare.String())
	r.arrive(ses, s, x)
	return nil
}

// maxSessions are those of one user with one nickname.
const maxSessions = 20

func (r *room) maxUsers() int { return r.cfg.MaxUsers }

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
		return fail(stanza.Auth, stanza.RegistrationRequired, "")
	case r.cfg.Protected && !r.locked && x.Child(NSMUC, "password").Text() != r.cfg.Password && !r.admin(bare):
		return fail(stanza.Auth, stanza.NotAuthorized, "")
	}
	return nil
}

// conceal is err, or what a room that is not there answers: who may not know of a room
// learns nothing from the answer.
func (r *room) conceal(from jid.JID, err error) error {
	if r.entitled(from) || r.settings.creator(from.Bare()) {
		return err
	}
	return errNotAllowed
}

// arrive tells everybody of a new session, and it of everybody.
func (r *room) arrive(ses *session, s *component.Stanza, x *component.Element) {
	o := ses.occ
	d := r.current(o)
	for _, viewer := range r.list {
		if viewer != o && r.visibleTo(viewer, o, o.role) {
			r.toOccupant(viewer, d)
		}
	}
	for _, other := range o.sessions {
		if other != ses {
			r.copy(r.draftOf(o, notice{}, true), other.to, true)
		}
	}
	var codes []int
	if r.locked && len(r.list) == 1 && len(o.sessions) == 1 {
		codes = append(codes, 201)
	}
	r.welcome(ses, s, x, codes)
}

// welcome sends what somebody gets who enters, in the order of XEP-0045 §7.1.
func (r *room) welcome(ses *session, s *component.Stanza, x *component.Element, codes []int) {
	r.others(ses)
	own := notice{id: s.ID}
	if r.cfg.NonAnon {
		own.own = append(own.own, 100)
	}
	if r.archives() {
		own.own = append(own.own, 170)
	}
	own.own = append(own.own, codes...)
	r.copy(r.draftOf(ses.occ, own, true), ses.to, true)
	r.absent(ses)
	r.sendHistory(ses, x.Child(NSMUC, "history"))
	r.sendSubject(ses)
	r.sendMessageOfTheDay(ses)
}

// others sends the presence of all others to ses.
func (r *room) others(ses *session) {
	full := r.seesJIDs(ses.occ)
	for _, o := range r.list {
		if o != ses.occ && r.visibleTo(ses.occ, o, o.role) {
			r.copy(r.current(o), ses.to, full)
		}
	}
}

// changeNick changes the nickname of a user (XEP-0045 §7.6). If the user has more
// sessions with the old one, they keep it.
func (r *room) changeNick(ses *session, s *component.Stanza, payload []byte) error {
	nick, o := s.To.Resourcepart(), ses.occ
	if err := r.checkNick(nick); err != nil {
		return err
	}
	if err := r.nickFree(nick, o.bare); err != nil {
		return err
	}
	if to := r.nicks[nick]; to != nil && len(to.sessions) >= maxSessions {
		return errConflict
	}
	if len(o.sessions) > 1 || r.nicks[nick] != nil {
		return r.splitNick(ses, s, payload)
	}
	gone := notice{typ: string(stanza.UnavailablePresence), id: s.ID, nick: nick, codes: []int{303}}
	others, own := r.draftOf(o, gone, false), r.draftOf(o, gone, true)
	r.toThoseWhoSaw(o, others)
	r.copy(own, ses.to, true)
	delete(r.nicks, o.nick)
	o.nick, o.addr = nick, s.To
	r.nicks[nick] = o
	ses.payload, ses.lang = payload, s.Lang
	r.announce(o, notice{id: s.ID}, o.role)
	return nil
}

// splitNick moves one of several sessions to another nickname, or joins one to those that
// have the nickname.
func (r *room) splitNick(ses *session, s *component.Stanza, payload []byte) error {
	old := ses.occ
	gone := notice{typ: string(stanza.UnavailablePresence), id: s.ID, nick: s.To.Resourcepart(), codes: []int{303}}
	r.copy(r.draftOf(old, gone, true), ses.to, true)
	r.drop(ses, gone, false)
	o := r.nicks[s.To.Resourcepart()]
	if o == nil {
		o = &occupant{nick: s.To.Resourcepart(), addr: s.To, bare: old.bare, id: old.id, role: old.role, affiliation: old.affiliation, hats: old.hats}
		r.nicks[o.nick] = o
		r.list = append(r.list, o)
	}
	ses.occ, ses.payload, ses.lang = o, payload, s.Lang
	o.sessions = append(o.sessions, ses)
	o.shown = ses
	r.sessions[s.From.String()] = ses
	r.announce(o, notice{id: s.ID}, o.role)
	return nil
}

// rateLimit is a token bucket of burstSeconds.
type rateLimit struct {
	tokens float32
	last   int64 // Unix nanoseconds
}

// allow takes a token. A rate of 0 is none.
func (l *rateLimit) allow(perSecond int, now time.Time) bool {
	if perSecond <= 0 {
		return true
	}
	n := now.UnixNano()
	burst := float32(perSecond) * burstSeconds
	if l.last == 0 {
		l.tokens = burst
	} else if n > l.last {
		l.tokens = min(burst, l.tokens+float32(n-l.last)/1e9*float32(perSecond))
	}
	l.last = n
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

const burstSeconds = 10

var errRate = fail(stanza.Wait, stanza.PolicyViolation, "You are too fast. Wait a little.")
