package muc

import (
	"strings"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const ghostID = "still-there-"

// pingSilent asks clients that have said nothing for a while if they are there (XEP-0045
// §18.1.2), and those that missed something: there may be a way to them again.
func (r *room) pingSilent(after time.Duration) {
	for _, o := range r.list {
		for _, ses := range o.sessions {
			if ses.missed || longAgo(max(ses.seen, ses.asked), r.now, after) {
				r.askIfThere(ses)
			}
		}
	}
}

func (r *room) askIfThere(ses *session) {
	ses.asked = r.now.Unix()
	ses.seen = min(ses.seen, ses.asked)
	q := &component.Stanza{Kind: component.IQ, Type: string(stanza.GetIQ), ID: ghostID + "ping", From: r.addr, To: ses.to.JID}
	r.send(q.Add(component.NewElement(component.NSPing, "ping")))
}

// askAgainAfter is how long nothing more is concluded from errors, after a client was
// asked because of one.
const askAgainAfter = 30 * time.Second

// bounced takes an error to a message. Some errors tell that the client is gone; with
// service-unavailable it may as well have refused, or blocked who wrote, so it is asked.
// It tells if the error was of that kind: who wrote is not to be told by each client that
// is gone.
func (r *room) bounced(ses *session, s *component.Stanza) bool {
	switch {
	case meansGone(s):
		r.lost(ses, "")
	case s.StanzaError().Condition != stanza.ServiceUnavailable:
		return false
	case longAgo(ses.asked, r.now, askAgainAfter):
		r.askIfThere(ses)
	}
	return true
}

// missed takes note that somebody did not get a message or presence. When the way there is
// open again they have to come again, since what they know of the room is wrong.
func (r *room) missed(who jid.JID) {
	if ses := r.sessions.get(who.String()); ses != nil {
		ses.missed = true
	}
}

// answered takes the answer to a ping. A client that cannot be pinged and a server whose
// client is gone answer alike, with service-unavailable. A groupchat message tells them
// apart: only a server bounces it (RFC 6121 §8.5.3.2.1).
func (r *room) answered(ses *session, s *component.Stanza) {
	if ses == nil || !strings.HasPrefix(s.ID, ghostID) {
		return
	}
	if ses.missed {
		r.lost(ses, "")
		return
	}
	if s.Type != "error" {
		return
	}
	switch cond := s.StanzaError().Condition; {
	case cond == stanza.ServiceUnavailable:
		m := &component.Stanza{Kind: component.Message, Type: string(stanza.GroupChatMessage), ID: ghostID + "message", From: r.addr, To: ses.to.JID}
		r.send(m.Add(component.NewElement(NSHints, "no-store")))
	case meansGone(s):
		r.lost(ses, "")
	default:
		ses.seen = r.now.Unix() // it is there, and knows no ping
	}
}
