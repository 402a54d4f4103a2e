package muc

import (
	"encoding/xml"
	"strconv"
	"strings"

	"mellium.im/xmpp/jid"
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
	if !r.entitled(s.From) {
		return errNotFound
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
	to := r.nicks[s.To.Resourcepart()]
	if !s.IsRequest() {
		r.relayAnswer(ses, to, s)
		return nil
	}
	payload := s.Payload()
	switch {
	case ses == nil && !r.entitled(s.From):
		return errNotFound
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
	// The id tells the answer which of the asker's clients it is for.
	s.ID = strconv.FormatUint(uint64(ses.serial), 36) + "." + s.ID
	s.From, s.To = ses.occ.addr, to.shown.to.JID
	if payload.Is(NSVCard, "vCard") {
		s.To = to.bare // its server answers for the user
	}
	r.send(s)
	return nil
}

// relayAnswer takes an answer to what relayIQ sent on.
func (r *room) relayAnswer(ses *session, to *occupant, s *component.Stanza) {
	from := occupantBehind(r, ses, s.From)
	serial, id, ok := strings.Cut(s.ID, ".")
	n, err := strconv.ParseUint(serial, 36, 32)
	if !ok || err != nil || to == nil || from == nil {
		return
	}
	for _, asker := range to.sessions {
		if asker.serial == uint32(n) {
			s.ID, s.From, s.To = id, from.addr, asker.to.JID
			r.send(s)
			return
		}
	}
}

func occupantBehind(r *room, ses *session, from jid.JID) *occupant {
	if ses != nil {
		return ses.occ
	}
	if os := r.occupantsOf(from); len(os) > 0 && from.Localpart() != "" && from.Resourcepart() == "" {
		return os[0]
	}
	return nil
}
