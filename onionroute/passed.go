package onionroute

import (
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/allium-xmpp/allium/component"
)

const maxPassed = 10_000

// passed are the requests of peers to strangers that Config.Stranger has let pass, so that
// each can be answered once. It is safe for concurrent use.
type passed struct {
	open *lru.Cache[exchange, bool]
}

// An exchange is a request to somebody. Addresses are host side.
type exchange struct{ id, asker, asked string }

func newPassed() *passed {
	open, _ := lru.New[exchange, bool](maxPassed) // fails for no size alone
	return &passed{open}
}

// passes tells if a request of a peer goes on to a stranger.
func (g *Gateway) passes(s *component.Stanza) bool {
	if g.c.Stranger == nil || !s.IsRequest() || !g.c.Stranger(s) {
		return false
	}
	g.passed.open.Add(exchange{s.ID, s.From.String(), s.To.String()}, true)
	return true
}

// answered tells if s is the answer of a stranger that a peer still waits for.
func (p *passed) answered(s *component.Stanza) bool {
	return s.Kind == component.IQ && !s.IsRequest() && p.open.Remove(exchange{s.ID, s.To.String(), s.From.String()})
}
