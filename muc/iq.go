package muc

import (
	"encoding/xml"
	"strconv"
	"strings"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A request to a room is answered by one of these; it answers itself, or returns the
// error. ses is nil if it is not from an occupant.
type answer func(r *room, ses *session, s *component.Stanza) error

type question struct {
	typ  stanza.IQType
	name xml.Name
}

var answers = map[question]answer{
	ask(stanza.GetIQ, component.NSDiscoInfo, "query"): (*room).discoInfo,
	ask(stanza.GetIQ, component.NSDiscoItem, "query"): (*room).discoItems,
	ask(stanza.GetIQ, component.NSPing, "ping"):       (*room).ping,
	ask(stanza.GetIQ, NSAdmin, "query"):               (*room).adminGet,
	ask(stanza.SetIQ, NSAdmin, "query"):               (*room).adminSet,
	ask(stanza.GetIQ, NSOwner, "query"):               (*room).ownerGet,
	ask(stanza.SetIQ, NSOwner, "query"):               (*room).ownerSet,
	ask(stanza.GetIQ, NSRegister, "query"):            (*room).registerGet,
	ask(stanza.SetIQ, NSRegister, "query"):            (*room).registerSet,
	ask(stanza.GetIQ, NSMAM, "query"):                 (*room).mamForm,
	ask(stanza.SetIQ, NSMAM, "query"):                 (*room).mamQuery,
	ask(stanza.GetIQ, NSMAM, "metadata"):              (*room).mamMetadata,
	ask(stanza.GetIQ, NSMAM, "prefs"):                 (*room).mamPrefs,
	ask(stanza.SetIQ, NSMAM, "prefs"):                 (*room).mamPrefs,
	ask(stanza.SetIQ, NSModerate, "moderate"):         (*room).moderate,
	ask(stanza.SetIQ, NSFastening, "apply-to"):        (*room).moderate,
	ask(stanza.GetIQ, NSVCard, "vCard"):               (*room).vcardGet,
	ask(stanza.SetIQ, NSVCard, "vCard"):               (*room).vcardSet,
	ask(stanza.SetIQ, NSCommands, "command"):          (*room).command,
}

func ask(t stanza.IQType, space, local string) question {
	return question{t, xml.Name{Space: space, Local: local}}
}

// handleIQ handles a request to the room itself.
func (r *room) handleIQ(ses *session, s *component.Stanza) error {
	if !s.IsRequest() {
		r.answered(ses, s)
		return nil
	}
	if err := s.Check(); err != nil {
		return err
	}
	h := answers[question{stanza.IQType(s.Type), s.Payload().Name}]
	if h == nil {
		return errUnsupported
	}
	return h(r, ses, s)
}

func (r *room) ping(_ *session, s *component.Stanza) error {
	r.result(s)
	return nil
}

// relayIQ handles an IQ to an occupant: a request goes on to one of its clients, under
// occupant JIDs, and the answer comes back the same way.
func (r *room) relayIQ(ses *session, s *component.Stanza) error {
	if err := s.Check(); err != nil {
		return err
	}
	to := r.nicks.get(s.To.Resourcepart())
	if !s.IsRequest() {
		r.relayAnswer(ses, to, s)
		return nil
	}
	payload := s.Payload()
	switch {
	case ses == nil && (payload.Name.Space == component.NSDiscoInfo || payload.Name.Space == component.NSDiscoItem):
		return errBadRequest // §6.6
	case ses == nil:
		return errNotInRoom
	case to == ses.occ && payload.Is(component.NSPing, "ping"):
		r.result(s) // XEP-0410 §3.3
		return nil
	case to == nil:
		return errNotFound
	case !ses.messages.allow(r.limits.MessageRate, r.now):
		return errRate
	}
	id := relayID(ses, to.shown) + s.ID
	if len(id) > component.MaxID { // an answer could not come back
		return fail(stanza.Modify, stanza.PolicyViolation, "The id is too long.")
	}
	r.relays.add(relay{id: s.ID, at: s.To, asker: ses.serial, asked: to.shown.serial})
	s.ID = id
	s.From, s.To = r.nickJID(ses.occ.nick), to.shown.to.JID
	if s.Type == "get" && payload.Is(NSVCard, "vCard") {
		s.To = to.bare() // its server answers for the user
	}
	r.send(s)
	return nil
}

// relayID begins the id of a request that goes on: it tells the answer which clients it is
// from and for, whatever their nicknames are then.
func relayID(asker, asked *session) string {
	return strconv.FormatUint(uint64(asker.serial)<<32|uint64(asked.serial), 36) + "."
}

// relayAnswer takes an answer to what relayIQ sent on. to is who asked, if its nickname is
// still the same.
func (r *room) relayAnswer(ses *session, to *occupant, s *component.Stanza) {
	serials, id, ok := strings.Cut(s.ID, ".")
	n, err := strconv.ParseUint(serials, 36, 64)
	if !ok || err != nil {
		return
	}
	var from *occupant
	if ses != nil && ses.serial == uint32(n) { // and has not left and come back, see relays
		from = ses.occ
	} else if s.From.Resourcepart() == "" { // a server, for its user
		from = withSerial(r.occupantsOf(s.From), uint32(n))
	}
	if to == nil || withSerial([]*occupant{to}, uint32(n>>32)) == nil {
		to = withSerial(r.list, uint32(n>>32))
	}
	if from == nil || to == nil {
		return
	}
	r.relays.done(uint32(n>>32), uint32(n), id)
	r.veil(s)
	for _, asker := range to.sessions {
		if asker.serial == uint32(n>>32) {
			s.ID, s.From, s.To = id, r.nickJID(from.nick), asker.to.JID
			r.send(s)
		}
	}
}

// withSerial is the occupant that has a session with that serial.
func withSerial(os []*occupant, serial uint32) *occupant {
	for _, o := range os {
		for _, ses := range o.sessions {
			if ses.serial == serial {
				return o
			}
		}
	}
	return nil
}
