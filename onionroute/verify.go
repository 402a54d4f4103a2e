package onionroute

import (
	"context"
	"sync/atomic"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// Dialback for what comes in (XEP-0220 §2.2): as the receiving server we find out if
// the other end is the domain that it says, as the authoritative one we tell others of
// our own.

// Refusals are how often strangers have said to be somebody whom they are not.
type refusals struct {
	outside atomic.Uint64 // in the name of a domain that is no onion service, or in ours
	forged  atomic.Uint64 // in the name of an onion service that does not know of it
}

// RefusedCounts tells how often streams were refused since the start, by the name that
// they came with: "outside" one that is no onion service, or ours; "forged" one of an onion
// service that does not know of it.
func (g *Gateway) RefusedCounts() map[string]uint64 {
	return map[string]uint64{"outside": g.refusals.outside.Load(), "forged": g.refusals.forged.Load()}
}

// prove starts to verify that the stream comes from the domain that it says.
func (st *stream) prove(ctx context.Context, d dialback) error {
	from, ferr := jid.New("", d.from, "")
	to, ours := st.g.ourDomain(d.to)
	if ferr != nil || d.key == "" {
		return component.NewStreamError(condition.ImproperAddressing, "dialback without domain or key")
	}
	if len(d.key) > maxKey { // the one that is asked could end our stream for it
		return component.NewStreamError(condition.PolicyViolation, "too long a key")
	}
	pr := pair{from.Domainpart(), to}
	switch {
	case !ours:
		return st.c.reply(d.refuse(stanza.ItemNotFound).element())
	case !st.g.m.remote(pr.from):
		// It is not looked up and not called back: nobody makes us dial but by Tor.
		// Strangers can do that as often as they like, so it is counted and not told.
		st.g.refusals.outside.Add(1)
		st.log.Debug("refused a stream from outside of Tor, or in our own name")
		return st.c.reply(d.refuse(stanza.NotAuthorized).element())
	case st.g.peerAllowed(st.g.m.At(pr.from)) != nil:
		return st.c.reply(d.refuse(stanza.PolicyViolation).element())
	case st.isProven(pr.from) && (st.initiator || st.isTrusted()):
		return st.c.reply(d.answer("valid").element())
	case st.initiator || st.isTrusted():
		// Such a stream is with one onion service. By one that we opened the id is not ours,
		// or none: who is asked about that can end our stream for it.
		return st.c.reply(d.refuse(stanza.NotAllowed).element())
	}
	st.asksProof = true
	st.mu.Lock()
	busy := st.asking[pr] || len(st.asking) >= maxAsking || len(st.proven) >= maxProven || !st.g.startVerify(st, st.g.m.At(pr.from))
	if !busy {
		st.asking[pr] = true
	}
	st.mu.Unlock()
	if busy {
		return st.c.reply(d.refuse(stanza.ResourceConstraint).element())
	}
	st.g.wg.Go(func() {
		st.g.careful(st, func() error { st.verify(ctx, d, pr); return nil })
		st.mu.Lock()
		delete(st.asking, pr)
		known := len(st.asking)+len(st.proven) > 0
		st.mu.Unlock()
		st.g.endVerify(st, st.g.m.At(pr.from), known)
	})
	return nil
}

// verify asks the authoritative server, and tells the initiating one.
func (st *stream) verify(ctx context.Context, d dialback, pr pair) {
	st.mu.Lock()
	id := st.id
	st.mu.Unlock()
	asking, cancel := context.WithTimeout(ctx, st.g.times.dialback)
	defer cancel()
	a := st.g.verify(asking, dialback{name: "verify", from: pr.to, to: pr.from, id: id, key: d.key})
	st.mu.Lock()
	if a.typ == "valid" {
		st.proven[pr.from] = true
		st.base = st.g.m.At(pr.from)
	}
	proven := len(st.proven)
	st.mu.Unlock()
	st.log.Debug("dialback", "peer", pr.from, "result", a.typ)
	switch a.typ {
	case "valid":
		st.c.d.SetLimits(st.g.c.Authenticated)
		st.rest(ctx)
		st.g.claim(st, st.g.m.At(pr.from))
		st.c.reply(d.answer("valid").element())
	case "invalid":
		st.g.refusals.forged.Add(1)
		st.log.Debug("a stream was not from the peer that it said", "peer", pr.from)
		st.c.reply(d.answer("invalid").element())
		if proven == 0 {
			st.c.end(nil) // XEP-0220 §2.2.1
		}
	default:
		st.c.reply(d.refuse(stanza.RemoteServerNotFound).element())
	}
}

// vouch tells if a key is one of ours (XEP-0220 §2.2.2).
func (st *stream) vouch(d dialback) error {
	to, ours := st.g.ourDomain(d.to)
	if d.from == "" || d.id == "" {
		return component.NewStreamError(condition.ImproperAddressing, "dialback without domain or id")
	}
	if !ours {
		return st.c.reply(d.refuse(stanza.ItemNotFound).element())
	}
	if st.g.peerAllowed(st.g.m.At(d.from)) != nil {
		return st.c.reply(d.refuse(stanza.PolicyViolation).element())
	}
	typ := "invalid"
	if from, err := jid.New("", d.from, ""); err == nil && st.g.secret.valid(from.Domainpart(), to, d.id, d.key) {
		typ = "valid"
	}
	return st.c.reply(d.answer(typ).element())
}
