package onionroute

import (
	"slices"
	"time"

	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// Who has to go when there are too many.

// makeRoom makes room for one more peer, with which those have business, and tells if there
// is. g.mu is held.
func (g *Gateway) makeRoom(parties []string) bool {
	if len(parties) == 0 {
		return len(g.peers)-g.ours < g.c.bounds.strangers || g.evictPeer(0, func(p *peer) int {
			if len(p.parties) > 0 || g.verifying[p.onion] > 0 { // of these there are few
				return -1
			}
			return 0
		})
	}
	if g.ours < g.c.bounds.peers {
		return true
	}
	own := g.fewest(parties)
	return g.evictPeer(2*g.counts[own]+1, func(p *peer) int {
		if len(p.parties) == 0 {
			return -1
		}
		who := g.fewest(p.parties)
		if who == own {
			return 2*g.counts[who] + 1
		}
		return 2 * (g.counts[who] - 1) // nobody has to have fewer than who pushes them out
	})
}

// fewest is that of the parties which has the fewest peers. g.mu is held.
func (g *Gateway) fewest(parties []string) string {
	return slices.MinFunc(parties, func(a, b string) int { return g.counts[a] - g.counts[b] })
}

// evictPeer gives up the peer that weighs most, if it is as much as least, and of several
// the one that took or sent something longest ago, or never. g.mu is held.
func (g *Gateway) evictPeer(least int, weight func(*peer) int) bool {
	var out *peer
	for _, p := range g.peers {
		if n := weight(p); n > least || n == least && (out == nil || p.idleLonger(out)) {
			out, least = p, n
		}
	}
	if out == nil {
		return false
	}
	out.evicted = true
	g.remove(out)
	out.stop()
	return true
}

// wasEvicted tells if the peer ends since there were too many.
func (p *peer) wasEvicted() bool {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	return p.evicted
}

// turnAway ends what a peer that was evicted still has here.
func (p *peer) turnAway() {
	p.mu.Lock()
	o := p.offered
	p.mu.Unlock()
	if o != nil {
		if sess := o.session(); sess != nil && sess != p.session {
			p.forgetSession()
			p.own(sess)
		}
		go o.c.end(component.NewStreamError(condition.ResourceConstraint, "there are too many peers"))
	}
	p.g.offline(p.onion)
}

// leastWorth is the stream that has to go when there are too many: the oldest that has not
// even said who it is, so that half-open streams cannot keep out the others; if there is
// none, that of the stranger who sent or took something longest ago; if there are no
// strangers, the oldest of the peer that has most. g.mu is held.
func (g *Gateway) leastWorth() (out *stream) {
	if out = g.oldest(func(o *stream) bool { return !o.known }); out != nil {
		return out
	}
	of, most := map[string]int{}, ""
	for o := range g.inbound {
		if of[o.claimed]++; of[o.claimed] > of[most] {
			most = o.claimed
		}
		if p := g.peers[o.claimed]; (p == nil || len(p.parties) == 0) && (out == nil || o.idleLonger(out)) {
			out = o
		}
	}
	if out != nil {
		return out
	}
	return g.oldest(func(o *stream) bool { return o.claimed == most })
}

// dismiss ends a stream that a peer has too many for. A server can have one for each pair of domains,
// and what it writes until it knows, and ends the stream in its turn, is read where the stream cannot
// be resumed. g.mu is held.
func (g *Gateway) dismiss(in *stream) {
	in.known, in.claimed = false, ""
	g.wg.Go(func() {
		in.c.hurry(time.Now().Add(closeTimeout))
		if !in.isTrusted() && in.c.finish(component.NewStreamError(condition.ResourceConstraint, "too many streams")) == nil {
			select {
			case <-in.ended:
			case <-time.After(closeTimeout):
			}
		}
		in.c.abort()
	})
}
