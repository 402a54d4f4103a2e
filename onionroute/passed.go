package onionroute

import "github.com/allium-xmpp/allium/component"

// passed are the requests of peers to strangers that Config.Stranger has let pass, so that
// each can be answered once. It is safe for concurrent use.
type passed struct {
	open *pending[exchange, struct{}]
}

// An exchange is a request to somebody. Addresses are host side.
type exchange struct{ id, asker, asked string }

func newPassed() *passed { return &passed{newPending[exchange, struct{}](maxRequests, ownRequests)} }

// passes tells if a request of a peer goes on to a stranger.
func (g *Gateway) passes(s *component.Stanza, onion string) bool {
	if g.c.Stranger == nil || !s.IsRequest() || !g.c.Stranger(s) {
		return false
	}
	g.passed.open.add(onion, exchange{s.ID, s.From.String(), s.To.String()}, struct{}{})
	return true
}

// answered tells if s is the answer of a stranger that a peer still waits for.
func (p *passed) answered(s *component.Stanza) bool {
	if s.Kind != component.IQ || s.IsRequest() {
		return false
	}
	_, ok := p.open.take(exchange{s.ID, s.To.String(), s.From.String()}, func(struct{}) bool { return true })
	return ok
}
