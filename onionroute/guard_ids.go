package onionroute

import (
	"crypto/rand"

	"github.com/allium-xmpp/allium/component"
)

// hiddenIDs are those of requests that go on by another id, all in one direction: who knows
// the other one could have the first by asking with it themselves, if those of both were
// together. It is safe for concurrent use.
type hiddenIDs struct {
	open *pending[string, request]
}

// A request is a question that is on its way to a peer, or from one, by another id.
type request struct{ id, peer string }

func newHiddenIDs() hiddenIDs {
	return hiddenIDs{newPending[string, request](maxRequests, ownRequests)}
}

// hide gives a request another id, and counts it as one of those.
func (h hiddenIDs) hide(s *component.Stanza, peer, of string) {
	id := rand.Text()
	h.open.add(of, id, request{s.ID, peer})
	s.ID = id
}

// show gives an answer the id of the request again, and tells if there was one.
func (h hiddenIDs) show(s *component.Stanza, peer string) bool {
	asked, ok := h.open.take(s.ID, func(r request) bool { return r.peer == peer })
	if ok {
		s.ID = asked.id
	}
	return ok
}
