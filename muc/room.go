package muc

import (
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// settings are what all rooms of a service have in common.
type settings struct {
	limits    Limits
	key       []byte // of occupant ids and archive ids
	ids       idCipher
	admin     func(bare jid.JID) bool // is an admin of the service
	creator   func(bare jid.JID) bool // see mayMakeRooms
	onionOf   func(jid.JID) (jid.JID, bool)
	mayReach  func(by, whom jid.JID) bool
	dialogs   *component.Dialogs
	motd      *motd
	outside   buckets // by who made a room, of what it tells those who are not there
	registers buckets // by user, of registrations
}

// A room is the state of one room. It does no I/O: handle takes a stanza, and leaves in
// out what is to be sent, stored and read. Only one goroutine at a time may use it.
type room struct {
	*settings
	addr    jid.JID
	self    string  // addr
	cfg     *Config // is not changed, but another one set
	creator string  // bare JID
	salt    int64   // of the occupants' ids; 0: none
	tag     [8]byte // of its archive ids
	locked  bool    // until its creator has configured it (XEP-0045 §10.1.1)
	gone    bool    // it was destroyed
	shut    bool    // the service stops

	affiliates roll[affiliate]
	reserved   map[string]string // whose a registered nickname is, by nickname
	nicks      roll[*occupant]
	sessions   roll[*session]
	list       []*occupant     // in the order of their coming
	shown      Roles           // those whose presence all know of
	guests     []guest         // the oldest first
	held       []func()        // tell of invitations when the room is unlocked
	given      map[string]Role // what a moderator gave, for the next visit in a moderated room (§5.1)

	hats        map[string]hat      // by URI
	wearers     map[string][]string // sorted URIs by bare JID
	invitations []*invitation
	relays      relays
	comings     map[string]rateLimit // of who left of late, by bare JID
	swept       int64                // when comings were last looked through, Unix nanoseconds

	subject *subject // is not changed, but another one set
	history history
	warm    bool   // the history is in memory, though there is an archive
	entered int64  // when somebody last did, Unix seconds
	avatar  string // hashes of the pictures in the vCard (XEP-0486), "" if there is none
	lastID  int64
	serial  uint32

	now  time.Time // of what is being handled
	asks rateLimit // for voice

	out   *output
	later tellings // of what a command did
	hand  func()   // takes what is in out; nil: nobody takes it before the room has done
}

// An affiliate is somebody with an affiliation, or a registered nickname.
type affiliate struct {
	jid    string // bare, or a domain
	level  Affiliation
	nick   string
	reason string
	far    bool // was made it by somebody who may not have the room write to them, and has not come yet
}

func (a affiliate) key() string { return a.jid }

// output is what handling something leads to.
type output struct {
	copies  []component.Copy
	changes []change
	reads   []read
}

// A change is what is to be stored. See store.go.
type change interface{ apply(tx *transaction) error }

// A read is what is to be looked up outside.
type read struct {
	kind lane
	user string                               // who wants it, a bare JID
	s    *component.Stanza                    // that is answered if it cannot be
	do   func(st *Store) (then func(r *room)) // then is called when nothing else is handled
}

func newRoom(sv *settings, addr jid.JID, cfg *Config) *room {
	return &room{settings: sv, addr: addr, self: addr.String(), cfg: cfg, subject: noSubject, tag: idTag(addr), shown: cfg.Broadcast, out: new(output)}
}

// handle handles one stanza for the room.
func (r *room) handle(s *component.Stanza, now time.Time) {
	r.now = now
	if r.shut { // nobody would tell who enters that it has stopped
		r.refuse(s, errUnsupported)
		return
	}
	ses := r.sessions.get(s.From.String())
	if ses != nil && s.Type != "error" { // which may be of its server
		ses.seen = now.Unix()
	}
	if answer := s.Type == "error" || s.Kind == component.IQ && s.Type == "result"; ses == nil && !answer && !joins(s) && !r.entitled(s.From) {
		if e := noRoom(s); e != nil {
			r.send(e)
		}
		return
	}
	var err error
	switch s.Kind {
	case component.Presence:
		err = r.handlePresence(ses, s)
	case component.Message:
		if s.To.Resourcepart() == "" {
			err = r.handleMessage(ses, s)
		} else {
			err = r.handlePrivate(ses, s)
		}
	case component.IQ:
		if s.To.Resourcepart() == "" {
			err = r.handleIQ(ses, s)
		} else {
			err = r.relayIQ(ses, s)
		}
	}
	if err != nil {
		r.refuse(s, err)
	}
}

// refuse answers s with an error.
func (r *room) refuse(s *component.Stanza, err error) {
	if e := refusal(s, err); e != nil {
		r.send(e)
	}
}

// refusal is the answer to s that tells of err; nil if there must be none. That of who
// wants to enter repeats what for, which some clients wait for (XEP-0045 §7.2.5). It says
// that it is by the room, and not by a client behind the address (RFC 6120 §8.3.1).
func refusal(s *component.Stanza, err error) *component.Stanza {
	e := s.Error(err)
	if e == nil {
		return nil
	}
	e.Child(component.NSClient, "error").SetAttr("by", s.To.Bare().String())
	if joins(s) {
		e.Nodes = append([]component.Node{component.NewElement(NSMUC, "x").Node()}, e.Nodes...)
	}
	return e
}

// send sends a stanza to its To.
func (r *room) send(s *component.Stanza) {
	r.sendDraft(component.NewDraft(s, nil, nil, nil), s.To)
}

// sendDraft sends d to one address.
func (r *room) sendDraft(d *component.Draft, j jid.JID) {
	to := component.NewRecipient(j)
	r.copy(d, &to, true)
}

// result answers a request.
func (r *room) result(s *component.Stanza, payload ...*component.Element) {
	r.send(s.Result(payload...))
}

func (r *room) copy(d *component.Draft, to *component.Recipient, full bool) {
	r.out.copies = append(r.out.copies, component.Copy{Draft: d, To: to, Full: full})
}

// toAll sends d to everybody, in full to those who may see JIDs.
func (r *room) toAll(d *component.Draft) {
	for _, o := range r.list {
		r.toOccupant(o, d)
	}
}

func (r *room) toOccupant(o *occupant, d *component.Draft) {
	full := r.seesJIDs(o)
	for _, ses := range o.sessions {
		r.copy(d, &ses.to, full)
	}
}

// portion is called where everybody is told of everybody, behind each: what there is by then
// is stored and sent, if it is much. The changes and the answer come before.
func (r *room) portion() {
	if r.hand != nil && len(r.out.copies) >= flushAt {
		r.hand()
	}
}

// tellings tell of changes, one of one.
type tellings []func()

func (t tellings) now() {
	for _, tell := range t {
		tell()
	}
}

// tellAll tells of all that a request changed, by portions.
func (r *room) tellAll(t tellings) {
	for _, tell := range t {
		tell()
		r.portion()
	}
}

// seesJIDs tells if o may see real JIDs (XEP-0045 §7.2.3, §7.2.4).
func (r *room) seesJIDs(o *occupant) bool { return r.cfg.NonAnon || o.told == Moderator }

func (r *room) change(c change) { r.out.changes = append(r.out.changes, c) }

// nickJID is the JID of an occupant.
func (r *room) nickJID(nick string) jid.JID {
	j, err := r.addr.WithResource(nick)
	if err != nil {
		return r.addr // not reached: nicknames were JID resources
	}
	return j
}

// affiliation is that of a bare JID: its own, or its domain's (XEP-0045 §9.2). Admins of
// the service are owners of all rooms.
func (r *room) affiliation(bare jid.JID) Affiliation {
	if r.admin(bare) {
		return Owner
	}
	return r.listed(bare)
}

func (r *room) listed(bare jid.JID) Affiliation {
	if i, found := r.affiliates.find(bare.String()); found {
		return r.affiliates[i].level
	}
	return r.affiliates.get(bare.Domainpart()).level
}

// roleOf is the role that an affiliation begins with (XEP-0045 §5.1.2).
func (r *room) roleOf(a Affiliation) Role {
	switch {
	case a >= Admin:
		return Moderator
	case a == Member, a == None && !r.cfg.Moderated:
		return Participant
	case a == None:
		return Visitor
	}
	return NoRole
}

// save stores the room itself.
func (r *room) save() {
	r.change(saveRoom{Name: r.addr.Localpart(), Config: r.cfg, Creator: r.creator, Locked: r.locked, Salt: r.salt, Subject: r.subject})
}

func fail(t stanza.ErrorType, c stanza.Condition, text string) error {
	return component.NewError(t, c, text)
}

// The errors that several parts give.
var (
	errForbidden     = fail(stanza.Auth, stanza.Forbidden, "")
	errNotAllowed    = fail(stanza.Cancel, stanza.NotAllowed, "")
	errNotFound      = fail(stanza.Cancel, stanza.ItemNotFound, "")
	errNotAcceptable = fail(stanza.Modify, stanza.NotAcceptable, "")
	errBadRequest    = fail(stanza.Modify, stanza.BadRequest, "")
	errConflict      = fail(stanza.Cancel, stanza.Conflict, "")
	errMalformed     = fail(stanza.Modify, stanza.JIDMalformed, "")
	errUnsupported   = fail(stanza.Cancel, stanza.ServiceUnavailable, "")
	// That a room is not there, and that somebody may not know that it is, reads alike.
	errNoEntry   = fail(stanza.Cancel, stanza.NotAllowed, "There is no such room, or you may not enter it; ask for an invitation.")
	errNotInRoom = fail(stanza.Modify, stanza.NotAcceptable, "You are not in the room.")
)
