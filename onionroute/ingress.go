package onionroute

import (
	"context"
	"slices"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// receive takes a stanza that a peer sent, and that its stream has proved to be from
// that peer. What cannot be delivered is answered. The error is that the stream ended
// meanwhile: the stanza has not been taken.
func (g *Gateway) receive(ctx context.Context, s *component.Stanza) error {
	head := *s
	head.Nodes = nil
	err := g.careful(nil, func() error { return g.deliver(ctx, s) })
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	g.answer(&head, err)
	if head.Taken != nil {
		head.Taken()
	}
	return nil
}

// answer answers a peer's stanza with an error. Our own words are for our own users.
func (g *Gateway) answer(s *component.Stanza, err error) {
	r := s.Error(err)
	if r == nil {
		return
	}
	r.Nodes = plainError(r)
	it := newItem(r, g.m.At(r.To.Domainpart()), pair{r.From.Domainpart(), r.To.Domainpart()}, r.AppendXML(nil, component.NSServer))
	it.answer = true
	g.toPeer(it.onion, "", func(p *peer) error { return p.send(it) })
}

func (g *Gateway) deliver(ctx context.Context, s *component.Stanza) error {
	if err := s.Check(); err != nil {
		return err
	}
	onion := g.m.At(s.From.Domainpart())
	var err error
	alias := g.aliasAt(s.From.Domainpart())
	if s.From, err = g.m.ToHost(s.From); err != nil {
		return component.NewError(stanza.Modify, stanza.JIDMalformed, "")
	}
	if s.To, err = g.m.ToHost(s.To); err != nil {
		return component.NewError(stanza.Cancel, stanza.ItemNotFound, "")
	}
	if alias != nil && s.IsRequest() { // Prosody's rooms write into it whom it is for
		g.guard.aliasIDs.hide(s, onion, onion)
	}
	_, isService := g.c.Services[s.To.Domainpart()]
	switch {
	case s.To.Domainpart() == g.c.Domain, isService:
	case !slices.Contains(g.c.Hosts, s.To.Domainpart()) && !alias.relays(s) && !g.passes(s, onion):
		// A stranger's address: it is not relayed into the open network.
		return component.NewError(stanza.Cancel, stanza.ItemNotFound, "")
	case s.To.Localpart() == "" && !g.m.own(s.To.Domainpart()):
		// The host itself is nobody that peers have business with, but a native one, and
		// who guesses its name learns nothing.
		return component.NewError(stanza.Cancel, stanza.ItemNotFound, "")
	}
	if pass, err := g.guard.ingress(ctx, s); !pass {
		if err == nil && s.Taken != nil {
			s.Taken() // nobody else will take it
		}
		return err
	}
	g.guard.toHost(onion, s.To).payload(s.Nodes)
	g.explain(s)
	if alias != nil {
		alias.veil(s, g.c.Domain)
	}
	for _, a := range g.contacts.note(onion, s) { // not all clients know what it says of these
		g.presence(a.from, a.to, stanza.UnavailablePresence, g.out)
	}
	return g.out.Send(ctx, s)
}
