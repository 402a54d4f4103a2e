package muc

import (
	"slices"
	"strings"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A subject is the subject of a room, and who set it when.
type subject struct {
	Text string    `json:"text,omitempty"`
	Nick string    `json:"nick,omitempty"`
	By   string    `json:"by,omitempty"` // occupant id
	Set  time.Time `json:"set,omitzero"`
}

var noSubject = new(subject)

// handleMessage handles a message to the room itself.
func (r *room) handleMessage(ses *session, s *component.Stanza) error {
	switch stanza.MessageType(s.Type) {
	case stanza.ErrorMessage:
		if ses != nil {
			r.bounced(ses, s)
		}
		return nil
	case stanza.GroupChatMessage:
		return r.groupchat(ses, s)
	case "", stanza.NormalMessage, stanza.ChatMessage:
		return r.mediated(ses, s)
	}
	return errBadRequest
}

// groupchat sends a message to all occupants (XEP-0045 §7.4).
func (r *room) groupchat(ses *session, s *component.Stanza) error {
	switch {
	case ses == nil:
		return errNotInRoom
	case !ses.messages.allow(r.limits.MessageRate, r.now):
		return errRate
	case r.locked: // nobody but the creator would ever see it (XEP-0045 §17.2)
		return errNotFound
	}
	if r.isSubject(s) {
		return r.setSubject(ses, s)
	}
	if ses.occ.role < Participant {
		return errForbidden
	}
	d, id := r.messageDraft(ses.occ, s)
	if d.Size() > r.limits.Message {
		return errTooLong
	}
	r.toAll(d)
	r.keep(ses.occ, s, d, id)
	r.retract(ses.occ, s)
	return nil
}

// messageDraft makes what the occupants get of a message from o, and its archive id.
func (r *room) messageDraft(o *occupant, s *component.Stanza) (*component.Draft, int64) {
	id := r.nextID()
	return r.fromOccupant(o, s, r.appendIDs(make([]byte, 0, 256), id, o.id)), id
}

// appendIDs appends the ids that the room gives a message: its own, and the occupant's.
func (r *room) appendIDs(dst []byte, id int64, occupant string) []byte {
	dst = append(dst, "<stanza-id xmlns='"+NSSID+"' id='"...)
	dst = component.AppendAttr(append(r.appendID(dst, id), '\''), "by", r.self)
	return appendOccupantID(append(dst, '/', '>'), occupant)
}

// fromOccupant makes a draft of s as one from o, with more behind what s has and may have.
func (r *room) fromOccupant(o *occupant, s *component.Stanza, after []byte) *component.Draft {
	nodes := slices.DeleteFunc(s.Nodes, func(n component.Node) bool {
		e := n.Element
		switch {
		case e == nil:
			return true // white space
		case e.Name.Space == NSUser, e.Name.Space == NSOccupantID, e.Name.Space == NSMAM, e.Is(NSHats, "hats"), e.Is(NSModerate, "moderated"):
			return true
		case e.Is(NSAddress, "addresses"):
			return slices.ContainsFunc(e.Nodes, func(n component.Node) bool {
				return n.Element != nil && n.Element.AttrValue("type") == "ofrom"
			})
		case e.Is(NSRetract, "retract"), e.Is(NSFastening, "apply-to"):
			return e.Child(NSModerate, "moderated") != nil || e.Child(NSModerate0, "moderated") != nil
		case e.Is(NSSID, "stanza-id"):
			return r.isMe(e.AttrValue("by"))
		case e.Is(NSDelay, "delay"):
			if r.isMe(e.AttrValue("from")) {
				return true
			}
			if !r.cfg.NonAnon && o.affiliation < Owner { // it would tell whose server it was late at
				e.RemoveAttr("from")
			}
		}
		return false
	})
	out := component.Stanza{Kind: s.Kind, ID: s.ID, Type: s.Type, Lang: s.Lang, Nodes: nodes}
	return component.NewDraftFrom(o.from, &out, nil, nil, after)
}

var (
	errTooLong = fail(stanza.Modify, stanza.PolicyViolation, "The message is too long.")
	errReason  = fail(stanza.Modify, stanza.PolicyViolation, "The reason is too long.")
)

// isMe tells if an address, as somebody wrote it, is the room's: as it is here, or as those
// on the onion side know it.
func (r *room) isMe(addr string) bool {
	j, err := jid.Parse(addr)
	switch {
	case err != nil:
		return false
	case j.Equal(r.addr):
		return true
	case r.onionOf == nil:
		return false
	}
	onion, ok := r.onionOf(r.addr)
	return ok && j.Equal(onion)
}

// nextID is the id of the next message in the archive: the time in microseconds, and
// greater than the one before.
func (r *room) nextID() int64 {
	r.lastID = max(r.lastID+1, r.now.UnixMicro())
	return r.lastID
}

// idTime is when the message with that id was sent.
func idTime(id int64) time.Time { return time.UnixMicro(id).UTC() }

// isSubject tells if a message changes the subject (XEP-0045 §8.1).
func (r *room) isSubject(s *component.Stanza) bool {
	return s.Child(component.NSClient, "subject") != nil && s.Child(component.NSClient, "body") == nil &&
		s.Child(component.NSClient, "thread") == nil
}

func (r *room) setSubject(ses *session, s *component.Stanza) error {
	o := ses.occ
	if o.role != Moderator && (!r.cfg.Subject || o.role < Participant) {
		return errForbidden
	}
	text := s.Child(component.NSClient, "subject").Text()
	if len(text) > r.limits.Subject {
		return fail(stanza.Modify, stanza.PolicyViolation, "The subject is too long.")
	}
	d, id := r.messageDraft(o, s)
	if d.Size() > r.limits.Message {
		return errTooLong
	}
	r.subject = &subject{Text: strings.Clone(text), Nick: o.nick, By: strings.Clone(o.id), Set: r.now.UTC()}
	r.save()
	r.toAll(d)
	r.archive(o, s, d, id, notReplayed)
	return nil
}

// sendSubject sends the subject to who enters (XEP-0045 §7.2.15).
func (r *room) sendSubject(ses *session) {
	m := &component.Stanza{Kind: component.Message, From: r.addr, Type: string(stanza.GroupChatMessage)}
	if r.subject.Nick != "" {
		m.From = r.nickJID(r.subject.Nick)
	}
	m.Add(component.NewElement(component.NSClient, "subject", component.Text(r.subject.Text)))
	if !r.subject.Set.IsZero() {
		m.Add(delay(r.addr.String(), r.subject.Set))
	}
	var after []byte
	if r.subject.By != "" {
		after = appendOccupantID(nil, r.subject.By)
	}
	r.copy(component.NewDraft(m, nil, nil, after), &ses.to, true)
}

// delay says that something is late (XEP-0203).
func delay(from string, at time.Time) *component.Element {
	return component.NewElement(NSDelay, "delay").With("from", from).With("stamp", at.UTC().Format(stampFormat))
}

const stampFormat = "2006-01-02T15:04:05.000Z" // XEP-0082

// handlePrivate handles a message to an occupant (XEP-0045 §7.5).
func (r *room) handlePrivate(ses *session, s *component.Stanza) error {
	to := r.nicks.get(s.To.Resourcepart())
	switch {
	case s.Type == string(stanza.ErrorMessage):
		if ses != nil && !r.bounced(ses, s) && to != nil {
			r.returnPrivate(ses, to, s)
		}
		return nil
	case ses == nil:
		return errNotInRoom
	case s.Type == string(stanza.GroupChatMessage):
		return errBadRequest
	case to == nil:
		return errNotFound
	case !ses.messages.allow(r.limits.MessageRate, r.now):
		return errRate
	case r.cfg.NoPrivate, ses.occ.role < r.cfg.Private:
		return errForbidden
	}
	after := append(make([]byte, 0, 128), "<x xmlns='"+NSUser+"'/>"...)
	d := r.fromOccupant(ses.occ, s, appendOccupantID(after, ses.occ.id))
	if d.Size() > r.limits.Message {
		return errTooLong
	}
	r.toOccupant(to, d)
	return nil
}

// returnPrivate tells who wrote a private message that it could not be delivered, and no more: an
// error is no way around what is not allowed.
func (r *room) returnPrivate(ses *session, to *occupant, s *component.Stanza) {
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n component.Node) bool { return n.Element == nil || !n.Element.Is(component.NSClient, "error") })
	r.veil(s)
	d := r.fromOccupant(ses.occ, s, nil)
	if !r.cfg.NoPrivate && d.Size() <= r.limits.Message && ses.messages.allow(r.limits.MessageRate, r.now) {
		r.toOccupant(to, d)
	}
}
