package muc

import (
	"strings"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const ghostID = "still-there-"

// pingSilent asks clients that have said nothing for a while if they are there (XEP-0045
// §18.1.2).
func (r *room) pingSilent(after time.Duration) {
	before := r.now.Add(-after).Unix()
	for _, o := range r.list {
		for _, ses := range o.sessions {
			if ses.seen > before || ses.pinged && after > 0 {
				continue
			}
			ses.pinged = true
			q := &component.Stanza{Kind: component.IQ, Type: string(stanza.GetIQ), ID: ghostID + "ping", From: r.addr, To: ses.to.JID}
			r.send(q.Add(component.NewElement(component.NSPing, "ping")))
		}
	}
}

// answered takes the answer to a ping. A client that cannot be pinged and a server whose
// client is gone answer alike, with service-unavailable. A groupchat message tells them
// apart: only a server bounces it (RFC 6121 §8.5.3.2.1).
func (r *room) answered(ses *session, s *component.Stanza) {
	if ses == nil || s.Type != "error" || !strings.HasPrefix(s.ID, ghostID) {
		return
	}
	switch cond := s.StanzaError().Condition; {
	case cond == stanza.ServiceUnavailable:
		m := &component.Stanza{Kind: component.Message, Type: string(stanza.GroupChatMessage), ID: ghostID + "message", From: r.addr, To: ses.to.JID}
		r.send(m.Add(component.NewElement(NSHints, "no-store")))
	case meansGone(s):
		r.lost(ses, "")
	}
}
