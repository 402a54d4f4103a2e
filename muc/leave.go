package muc

import (
	"strings"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// leave ends a session whose client, or its server, says so (XEP-0045 §7.14).
func (r *room) leave(ses *session, s *component.Stanza) {
	n := notice{typ: string(stanza.UnavailablePresence), id: s.ID}
	if payload, err := r.presencePayload(s); err == nil {
		n.payload = payload
	}
	r.depart(ses, n)
}

// lost ends a session that cannot be reached any more (XEP-0045 §11.1).
func (r *room) lost(ses *session, reason string) {
	r.depart(ses, notice{typ: string(stanza.UnavailablePresence), codes: []int{307, 333}, reason: reason})
}

// depart ends a session, and tells it and the others.
func (r *room) depart(ses *session, n notice) {
	if len(ses.occ.sessions) > 1 {
		own := *ses.occ
		own.sessions = []*session{ses}
		r.copy(r.draftOf(&own, n, true), &ses.to, true)
		r.drop(ses, n)
	} else {
		if r.locked && len(r.list) == 1 {
			n.extra = append(n.extra, "<destroy/>"...) // §10.1.3
		}
		r.remove(ses.occ, n)()
	}
	r.afterLeaving(ses.occ.bare())
}

// drop takes one session from its occupant. If that was the last, the others are told by
// n; else they are told what is there now.
func (r *room) drop(ses *session, n notice) {
	o := ses.occ
	r.sessions.drop(ses.to.String())
	r.departed(ses)
	r.leftRelays(ses)
	if len(o.sessions) == 1 {
		r.toThoseWhoSee(o, r.draftOf(o, n, false))
		o.sessions = nil
		r.forget(o)
		return
	}
	left := make([]*session, 0, len(o.sessions)-1)
	for _, other := range o.sessions {
		if other != ses {
			left = append(left, other)
		}
	}
	o.sessions = left
	if o.shown == ses {
		o.shown = left[len(left)-1]
	}
	r.retell(o, nil)
}

// afterLeaving ends a temporary room that nobody is in, and one that its creator left
// before it was configured (XEP-0045 §10.1.3).
func (r *room) afterLeaving(bare jid.JID) {
	if r.gone || len(r.list) > 0 {
		return
	}
	if !r.cfg.Persistent || r.locked {
		r.end()
	}
}

// end is the end of the room.
func (r *room) end() {
	r.gone = true
	r.change(dropRoom{Name: r.addr.Localpart()})
}

// destroy ends the room and tells everybody (XEP-0045 §10.9).
func (r *room) destroy(how *component.Element) {
	if how == nil {
		how = component.NewElement(NSUser, "destroy")
	}
	extra := component.AppendNodes(nil, []component.Node{how.Node()})
	for _, o := range r.list {
		gone := *o
		gone.affiliation = None
		d := r.draftOf(&gone, notice{typ: string(stanza.UnavailablePresence), extra: extra}, true)
		for _, ses := range o.sessions {
			r.copy(d, &ses.to, true)
		}
	}
	r.list, r.nicks, r.sessions = nil, nil, nil
	r.end()
}

// shutDown tells everybody that the service stops (XEP-0045 §11.2).
func (r *room) shutDown() {
	for _, o := range r.list {
		d := r.draftOf(o, notice{typ: string(stanza.UnavailablePresence), own: []int{332}}, true)
		for _, ses := range o.sessions {
			r.copy(d, &ses.to, true)
		}
	}
	r.list, r.nicks, r.sessions, r.shut = nil, nil, nil, true
}

// meansGone tells if an error from a client's address says that nobody is there any more
// (XEP-0045 §11.1, §18.1.2), and not that it could not take one stanza.
func meansGone(s *component.Stanza) bool {
	cond := s.StanzaError().Condition
	if s.Kind == component.Presence {
		// A client that takes no presence from the room is not in it.
		return cond != stanza.ResourceConstraint && cond != stanza.PolicyViolation
	}
	switch cond {
	case stanza.Gone, stanza.ItemNotFound, stanza.RecipientUnavailable, stanza.RemoteServerNotFound,
		stanza.RemoteServerTimeout, stanza.Redirect, stanza.JIDMalformed:
		return true
	case stanza.ServiceUnavailable:
		return strings.HasPrefix(s.ID, ghostID) // see answered
	}
	return false
}
