package omemo

import (
	"context"
	"errors"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// request takes a request to an account. Reading keys is what it is for; changing those of
// others is refused here already.
func (d *Directory) request(ctx context.Context, from side, s *component.Stanza) error {
	p := s.Payload()
	if !p.Is(NSPubsub, "pubsub") && !p.Is(NSPubsubOwner, "pubsub") || !anyOMEMO(p) {
		return d.pass(ctx, from, s)
	}
	switch {
	case isSubscription(p):
		return d.pass(ctx, from, s)
	case s.Type == string(stanza.SetIQ) || p.Name.Space == NSPubsubOwner:
		return component.NewError(stanza.Auth, stanza.Forbidden, "Only their owner can change keys.")
	case p.Child(NSPubsub, "items") == nil:
		return d.pass(ctx, from, s)
	case s.To.Resourcepart() != "":
		return component.NewError(stanza.Cancel, stanza.ItemNotFound, "Keys are at the account, and not at a client.")
	}
	if err := s.Check(); err != nil {
		return err
	}
	q, err := parseQuestion(p)
	if err != nil {
		return err
	}
	owner := d.o.Canonical(s.To).Bare()
	q.owner, q.at, q.from = owner, from.other(), d.asker(from, s.From, owner)
	q.head = &component.Stanza{Kind: component.IQ, Type: s.Type, ID: s.ID, To: owner, From: s.From}
	return d.ask(ctx, q, s)
}

// asker is the address that a question goes on from: who asks, or where that is somebody
// whom the host or the gateway would not let through, and may, the directory.
func (d *Directory) asker(from side, asker, owner jid.JID) jid.JID {
	local, us := asker, d.o.AtPeers
	if from == peerSide {
		local, us = owner, d.o.Address
	}
	if !d.o.Local(local) && d.o.Related(asker.Bare(), owner) {
		return us
	}
	return asker
}

// Stranger tells if a request of a peer to a stranger is for keys, of somebody who is
// related to who asks. The directory asks for them in its own name.
func (d *Directory) Stranger(s *component.Stanza) bool {
	if !s.IsRequest() || s.Check() != nil || !s.Payload().Is(NSPubsub, "pubsub") || s.To.Localpart() == "" {
		return false
	}
	_, err := parseQuestion(s.Payload())
	return err == nil && s.Type == string(stanza.GetIQ) && d.o.Related(s.From.Bare(), s.To.Bare())
}

// isSubscription tells of a request about nothing but notifications (XEP-0060 §6.1, §6.2).
func isSubscription(p *component.Element) bool {
	for _, n := range p.Nodes {
		if n.Element != nil && !n.Element.Is(NSPubsub, "subscribe") && !n.Element.Is(NSPubsub, "unsubscribe") {
			return false
		}
	}
	return true
}

func anyOMEMO(e *component.Element) bool {
	for _, name := range nodesOf(e) {
		if isOMEMO(name) {
			return true
		}
	}
	return false
}

// isAway tells of errors that say that the owner's server cannot be asked.
func isAway(err error) bool {
	var e stanza.Error
	if !errors.As(err, &e) {
		return true
	}
	switch e.Condition {
	case stanza.RemoteServerTimeout, stanza.RemoteServerNotFound, stanza.ServiceUnavailable, stanza.RecipientUnavailable,
		stanza.InternalServerError, stanza.ResourceConstraint:
		return true
	}
	return false
}
