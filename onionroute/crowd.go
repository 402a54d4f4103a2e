package onionroute

import (
	"context"
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Peers are counted against those here who have business with them: accounts, and each
// service with all that is at it. A peer that has several of them counts against the one
// with the fewest, in effect: so nobody makes it theirs by writing to it. When there are
// too many, who has most loses one. Peers that nobody here has business with are
// strangers; these have bounds of their own, and push out each other alone.

// bounds are of what others can make us remember.
type bounds struct {
	peers     int // that somebody here has business with
	strangers int // other peers
	answers   int // octets of answers that wait for all of those to read them

	// Octets, of addresses and what it costs to have them:
	notes, ofPeer       int // who is on-line: in all, and at one peer
	contacts, ofAccount int // who has business with whom: in all, and of one account here
}

var defaultBounds = bounds{peers: 2000, strangers: 1000, answers: 16 << 20, notes: 32 << 20, ofPeer: 2 << 20, contacts: 16 << 20, ofAccount: 256 << 10}

const maxParties = 4 // that a peer is counted against

// party is who here makes a peer theirs by an item, and "" if the peer has caused it:
// answers, and what a host says in a user's name when it is asked for presence (RFC 6121
// §4.3.2) or told that a user has gone.
func (g *Gateway) party(it *item) string {
	typ := stanza.PresenceType(it.head.Type)
	if it.answer || it.head.Kind == component.Presence && (typ == stanza.UnsubscribedPresence || typ == stanza.UnavailablePresence) {
		return ""
	}
	return g.partyOf(it.head.From)
}

func (g *Gateway) partyOf(j jid.JID) string {
	if _, service := g.c.Services[j.Domainpart()]; service {
		return j.Domainpart()
	}
	return j.Bare().String()
}

// befriended are some who have business with a peer, whether or not it is there: who has
// contacts at it, and, in its own name, a peer that the admin has named.
func (g *Gateway) befriended(onion string) []string {
	parties := g.contacts.some(onion, maxParties-1)
	if g.named[onion] {
		parties = append(parties, onion)
	}
	return parties
}

// stranger tells if nobody here has business with a peer.
func (g *Gateway) stranger(onion string) bool {
	if len(g.befriended(onion)) > 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.peers[onion]
	return p == nil || len(p.parties) == 0
}

// peerFor is the peer, with which those have business. It is made if there is none; the
// error is for who wants it.
func (g *Gateway) peerFor(onion string, parties []string) (*peer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.peers[onion]
	if p == nil && g.ctx.Err() != nil {
		return nil, errEnding
	}
	if (p == nil || len(parties) > 0 && len(p.parties) == 0) && !g.makeRoom(parties) {
		return nil, errTooMuch()
	}
	if p == nil {
		p = g.newPeer(onion)
		p.stale = g.stale[onion]
		delete(g.stale, onion)
		g.start(p)
	}
	for _, who := range parties {
		g.attribute(p, who)
	}
	return p, nil
}

// start makes a peer one of the peers. g.mu is held.
func (g *Gateway) start(p *peer) {
	g.peers[p.onion] = p
	for o := range g.inbound {
		if o.claimed == p.onion {
			p.rate = o.rate.Load()
		}
	}
	ctx, stop := context.WithCancel(g.ctx)
	p.stop = stop
	g.wg.Go(func() {
		defer stop()
		p.run(ctx)
	})
}

// attribute counts a peer against who too. g.mu is held.
func (g *Gateway) attribute(p *peer, who string) {
	if slices.Contains(p.parties, who) {
		return
	}
	if len(p.parties) == maxParties {
		most := slices.MaxFunc(p.parties, func(a, b string) int { return g.counts[a] - g.counts[b] })
		if g.counts[who] >= g.counts[most] {
			return
		}
		p.parties = slices.DeleteFunc(p.parties, func(o string) bool { return o == most })
		g.discount(most)
	}
	p.parties = append(p.parties, who)
	p.friend.Store(true)
	g.counts[who]++
	if len(p.parties) == 1 {
		g.ours++
	}
}

func (g *Gateway) discount(who string) {
	if g.counts[who]--; g.counts[who] == 0 {
		delete(g.counts, who)
	}
}

// remove takes a peer out of the peers. g.mu is held.
func (g *Gateway) remove(p *peer) {
	if g.peers[p.onion] != p {
		return
	}
	delete(g.peers, p.onion)
	for _, who := range p.parties {
		g.discount(who)
	}
	if len(p.parties) > 0 {
		g.ours--
	}
}

func (g *Gateway) forget(p *peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(p)
	if p.stale {
		if len(g.stale) == maxStale {
			clear(g.stale)
		}
		g.stale[p.onion] = true
	}
}

// partiesNow are those here that have business with the peer.
func (p *peer) partiesNow() []string {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	return slices.Clone(p.parties)
}
