package muc

import (
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A retraction takes a message back.
type retraction struct {
	id     string // of the message that tells of it
	by     *voice
	reason string // of a moderator
	forced bool   // by a moderator
}

// retract takes a message back for who wrote it, if s asks for that (XEP-0424). All get s
// itself; what it is about is kept no longer, from when s is.
func (r *room) retract(o *occupant, s *component.Stanza) {
	e := s.Child(NSRetract, "retract")
	if e == nil {
		return
	}
	id, ok := r.parseID(e.AttrValue("id"))
	if !ok {
		return
	}
	for p := range r.history.newest() {
		if p.id == id && p.by.id == o.id {
			r.forgetMessage(id)
			break
		}
	}
	if r.archives() {
		t, room, now := retraction{id: s.ID, by: o.voice}, r.addr, r.now
		r.change(retractMessage{Room: room.Localpart(), ID: id, By: o.id, Tombstone: func(xml []byte) []byte { return t.tombstone(room, xml, now) }})
	}
}

// moderate takes a message back for a moderator (XEP-0425, and its version 0).
func (r *room) moderate(ses *session, s *component.Stanza) error {
	e, retract := s.Payload(), NSRetract
	text := e.AttrValue("id")
	if e.Is(NSFastening, "apply-to") {
		e, retract = e.Child(NSModerate0, "moderate"), NSRetract0
	}
	switch {
	case ses == nil || ses.occ.role < Moderator:
		return errForbidden
	case e.Child(retract, "retract") == nil:
		return errNotImplemented // there is nothing else to moderate by
	case !ses.messages.allow(r.limits.MessageRate, r.now):
		return errRate
	}
	reason := e.Child(e.Name.Space, "reason").Text()
	if len(reason) > r.limits.Subject {
		return errReason
	}
	id, ok := r.parseID(text)
	if !ok {
		return errNotFound
	}
	t := retraction{by: ses.occ.voice, reason: reason, forced: true}
	r.findMessage(ses.occ, s, id, func(r *room, m *stored) {
		if m == nil {
			r.refuse(s, errNotFound)
			return
		}
		r.moderated(m, t)
		r.result(s)
	})
	return nil
}

// findMessage looks a message up in the history, or the archive, and gives it to then; nil
// if it is not there. s is the request that is refused if that cannot be done.
func (r *room) findMessage(by *occupant, s *component.Stanza, id int64, then func(r *room, m *stored)) {
	for p, xml := range r.history.newest() {
		if p.id == id {
			then(r, &stored{id: id, occupant: p.by.id, xml: r.text(p, xml)})
			return
		}
	}
	if !r.archives() {
		then(r, nil)
		return
	}
	name := r.addr.Localpart()
	r.lookUp(rowLane, by.bare(), s, func(st *Store) (func(*room), error) {
		m, err := st.message(name, id)
		return func(r *room) { then(r, m) }, err
	})
}

// moderated tells everybody that a moderator took a message back, and keeps it no longer.
func (r *room) moderated(m *stored, t retraction) {
	id := r.nextID()
	t.id = r.idText(id)
	what := r.idText(m.id)
	by := func(space string) *component.Element {
		return component.NewElement(space, "moderated").With("by", t.by.from)
	}
	reason := func(e *component.Element, space string) *component.Element {
		if t.reason != "" {
			e.Add(component.NewElement(space, "reason", component.Text(t.reason)))
		}
		return e
	}
	told := &component.Stanza{Kind: component.Message, From: r.addr, Type: string(stanza.GroupChatMessage), ID: t.id}
	told.Add(reason(component.NewElement(NSRetract, "retract", by(NSModerate).Add(occupantIDElement(t.by.id)).Node()), NSRetract).With("id", what),
		component.NewElement(NSFastening, "apply-to", reason(by(NSModerate0).Add(component.NewElement(NSRetract0, "retract")), NSModerate0).Node()).With("id", what),
		component.NewElement(NSSID, "stanza-id").With("id", t.id).With("by", r.addr.String()))
	d := component.NewDraft(told, nil, nil, nil)
	r.entomb(m, t)
	r.toAll(d)
	r.archive(&occupant{voice: &voice{}}, &component.Stanza{}, d, id, replayedLate)
	r.addPast(d, &voice{}, id, false)
}

// entomb leaves of a message only that it was there.
func (r *room) entomb(m *stored, t retraction) {
	r.forgetMessage(m.id)
	if !r.archives() {
		return
	}
	if xml := t.tombstone(r.addr, m.xml, r.now); xml != nil {
		r.change(changeMessage{Room: r.addr.Localpart(), ID: m.id, XML: xml})
	}
}

// tombstone is what is left of a message (XEP-0424 §4, XEP-0425 §4); nil if it stays as it is.
func (t *retraction) tombstone(room jid.JID, xml []byte, now time.Time) []byte {
	s, err := component.ParseDraft(xml, room).Stanza(jid.JID{}, true)
	if err != nil || s.Child(NSRetract, "retracted") != nil && !t.forced {
		return nil // it is one already, maybe a moderator's
	}
	e := component.NewElement(NSRetract, "retracted").With("stamp", now.UTC().Format(time.RFC3339))
	if t.id != "" {
		e.SetAttr("id", t.id)
	}
	if t.forced {
		e.Add(component.NewElement(NSModerate, "moderated", occupantIDElement(t.by.id).Node()).With("by", t.by.from))
	}
	if t.reason != "" {
		e.Add(component.NewElement(NSRetract, "reason", component.Text(t.reason)))
	}
	left := &component.Stanza{Kind: component.Message, From: s.From, ID: s.ID, Type: s.Type}
	for _, n := range s.Nodes {
		if c := n.Element; c != nil && (c.Is(NSSID, "stanza-id") && c.AttrValue("by") == room.String() || c.Is(NSOccupantID, "occupant-id")) {
			left.Add(c)
		}
	}
	return component.NewDraft(left.Add(e), nil, nil, nil).XML()
}

func occupantIDElement(id string) *component.Element {
	return component.NewElement(NSOccupantID, "occupant-id").With("id", id)
}
