package muc

import (
	"context"
	"slices"
	"strings"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// outsideShare is the part of what may wait for a room that is for everybody. The rest is for
// insiders, so that nobody silences a room from outside (XEP-0045 §14.6).
const outsideShare = 0.8

// insiders are who belongs to a room: those in it, and those with an affiliation. An actor has
// its own lists of them, for who is not the room's goroutine.
type insiders struct {
	standings roll[standing]
	sessions  roll[*session] // of which only the addresses are read
	serial    uint32         // of the last one that came
}

// A standing is an affiliation of a bare JID, or a domain.
type standing struct {
	jid   string
	level Affiliation
}

func (s standing) key() string { return s.jid }

// know takes note of all affiliations.
func (a *actor) know(affiliates roll[affiliate]) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.standings = make(roll[standing], len(affiliates))
	for i, of := range affiliates {
		a.standings[i] = standing{of.jid, of.level}
	}
}

// learn takes note of the affiliations that change.
func (a *actor) learn(changes []change) {
	for _, c := range changes {
		if c, ok := c.(saveAffiliate); ok {
			a.mu.Lock()
			a.standings.put(standing{c.JID, c.Level})
			if c.Level == None && c.Nick == "" {
				a.standings.drop(c.JID)
			}
			a.mu.Unlock()
		}
	}
}

// meet takes note of who is in the room, if that is not who was.
func (a *actor) meet(r *room) {
	if a.serial == r.serial && len(a.sessions) == len(r.sessions) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions, a.serial = slices.Clone(r.sessions), r.serial
}

// inside tells if an address is of an insider: of any client, or of the server for its user. It
// is called with mu held.
func (a *actor) inside(from jid.JID) bool {
	bare := from.Bare().String()
	i, _ := a.sessions.find(bare + "/")
	if i < len(a.sessions) && strings.HasPrefix(a.sessions[i].key(), bare+"/") || a.sv.admin(from.Bare()) {
		return true
	}
	if i, found := a.standings.find(bare); found {
		return a.standings[i].level > None
	}
	return a.standings.get(from.Domainpart()).level > None
}

// overloaded answers who cannot be heard because too much waits for the room. Who may not
// know of the room is answered as if there were none.
func (sv *Service) overloaded(ctx context.Context, a *actor, s *component.Stanza) error {
	switch {
	case sv.mayKnow(a, s):
		return errBusy
	case joins(s):
		sv.answer(s, errNoEntry)
		return nil
	}
	return sv.nothing(ctx, s)
}

// nothing answers as a room that is not there.
func (sv *Service) nothing(ctx context.Context, s *component.Stanza) error {
	if answer := noRoom(s); answer != nil {
		return sv.out.Send(ctx, answer)
	}
	return nil
}

// mayKnow tells if who sent s may know that there is a room, as far as that can be told while it
// is busy (see room.entitled, room.conceal): who was only invited may have to ask again.
func (sv *Service) mayKnow(a *actor, s *component.Stanza) bool {
	sv.mu.Lock()
	r, ok := sv.index[a.addr.Localpart()]
	sv.mu.Unlock()
	a.mu.Lock()
	inside := a.inside(s.From)
	a.mu.Unlock()
	switch {
	case joins(s) && sv.creator(s.From.Bare()):
		return true
	case !ok: // it was destroyed
		return false
	case inside, r.Config.Public && !r.Locked:
		return true
	}
	// Where who knows the name may enter, entering is no way to find out.
	return joins(s) && !r.Locked && !r.Config.MembersOnly && !r.Config.Protected
}
