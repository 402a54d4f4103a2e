package muc

import (
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// entitled tells if somebody may know that a hidden room exists.
func (r *room) entitled(from jid.JID) bool {
	bare := from.Bare()
	return r.cfg.Public && !r.locked || r.affiliation(bare) > None || r.sessions.get(from.String()) != nil ||
		len(r.invitedBy(bare.String())) > 0 || len(r.occupantsOf(bare)) > 0
}

// joins tells if a stanza asks to enter a room (XEP-0045 §7.2.1).
func joins(s *component.Stanza) bool {
	return s.Kind == component.Presence && s.Type == string(stanza.AvailablePresence) &&
		s.To.Resourcepart() != "" && s.Child(NSMUC, "x") != nil
}

// noRoom is what a room that is not there answers to all but who wants to enter; nil is no
// answer. A hidden room answers so too to those who are not to know of it.
func noRoom(s *component.Stanza) *component.Stanza {
	switch {
	case s.Kind == component.IQ:
		if err := s.Check(); err != nil {
			return refusal(s, err)
		}
		if s.IsRequest() && s.To.Resourcepart() != "" && s.Payload().Is(component.NSPing, "ping") {
			// To a client that asks if it is still in the room, item-not-found would not be a
			// no (XEP-0410 §3.2).
			return refusal(s, errNotInRoom)
		}
	case s.Kind == component.Presence:
		switch stanza.PresenceType(s.Type) {
		case stanza.ProbePresence:
			return refusal(s, errNotInRoom)
		case stanza.SubscribePresence:
			return unsubscribed(s)
		case stanza.AvailablePresence:
			if s.To.Resourcepart() == "" {
				return refusal(s, errMalformed)
			}
			return notInRoom(s)
		}
		return nil
	}
	return refusal(s, errNotFound)
}

// conceal is err, or what a room that is not there answers: who may not know of a room
// learns nothing from the answer.
func (r *room) conceal(from jid.JID, err error) error {
	if r.entitled(from) || r.settings.mayMakeRooms(from.Bare()) {
		return err
	}
	return errNoEntry
}

// mayMakeRooms tells if somebody may make rooms: not a server itself, or a component, since
// all its users would own the room.
func (s *settings) mayMakeRooms(bare jid.JID) bool {
	return bare.Localpart() != "" && s.creator(bare)
}

// unsubscribed refuses a subscription: rooms have no presence of their own to give.
func unsubscribed(s *component.Stanza) *component.Stanza {
	return &component.Stanza{Kind: component.Presence, Type: string(stanza.UnsubscribedPresence), ID: s.ID, To: s.From.Bare(), From: s.To}
}
