package onionroute

import (
	"crypto/rand"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/allium-xmpp/allium/component"
)

const maxRequests = 10_000 // that are not answered yet

// hiddenIDs are those of requests that go on by another id, all in one direction: who knows
// the other one could have the first by asking with it themselves, if those of both were
// together. It is safe for concurrent use.
type hiddenIDs struct {
	open *lru.Cache[string, request]
}

// A request is a question that is on its way to a peer, or from one, by another id.
type request struct{ id, peer string }

func newHiddenIDs() hiddenIDs {
	open, _ := lru.New[string, request](maxRequests) // fails for no size alone
	return hiddenIDs{open}
}

// hide gives a request another id.
func (h hiddenIDs) hide(s *component.Stanza, peer string) {
	id := rand.Text()
	h.open.Add(id, request{s.ID, peer})
	s.ID = id
}

// show gives an answer the id of the request again, and tells if there was one.
func (h hiddenIDs) show(s *component.Stanza, peer string) bool {
	asked, ok := h.open.Get(s.ID)
	if !ok || asked.peer != peer {
		return false
	}
	h.open.Remove(s.ID)
	s.ID = asked.id
	return true
}
