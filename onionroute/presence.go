package onionroute

import (
	"cmp"
	"slices"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Presence is not of interest for long enough to be on disk. But of what was sent to a
// peer that is away, the newest waits in memory until the peer is back: for as long as a
// message does, so that a server that is gone for good is not looked for ever after. It
// counts as what is queued does.

// isJoin tells if a stanza asks to enter a room (XEP-0045 §7.2). That has an answer, for
// which a client waits, and so does not wait for as long as other presence.
func isJoin(s *component.Stanza) bool {
	return s.Kind == component.Presence && s.Type == "" && s.To.Resourcepart() != "" && s.Child(nsMUC, "x") != nil
}

// presenceKey tells what presence is replaced by what: all that is the same in it is the
// newest word of one client to one address. It is "" for what is not replaced.
func (it *item) presenceKey() string {
	if it.head.Kind != component.Presence || it.kept || it.answer {
		return ""
	}
	key := it.head.From.String() + " " + it.head.To.Bare().String()
	if it.head.Type == string(stanza.ProbePresence) {
		key += " probe"
	}
	return key
}

// keepPresence keeps presence that was queued until the peer is back, and tells if it does:
// if it is presence, and the newest. p.mu is held.
func (p *peer) keepPresence(it *item) bool {
	key := it.presenceKey()
	if key == "" || p.gone || isJoin(&it.head) {
		return false
	}
	if old := p.presence[key]; old != nil && old.order > it.order {
		return false
	}
	p.dropPresence(key)
	if len(p.presence) >= maxPresence {
		return false
	}
	p.presence[key] = it
	return true
}

// dropPresence drops what waits of presence, if anything does. p.mu is held.
func (p *peer) dropPresence(key string) {
	if it := p.presence[key]; it != nil {
		delete(p.presence, key)
		p.uncount(it)
	}
}

// queuePresence puts what waits of presence where it belongs among what is queued: who
// enters a room and writes there has to be in it first. p.mu is held.
func (p *peer) queuePresence() {
	for key, it := range p.presence {
		delete(p.presence, key)
		p.queue = append(p.queue, it)
	}
	slices.SortStableFunc(p.queue, func(a, b *item) int { return cmp.Compare(a.order, b.order) })
}

// expirePresence drops presence that nobody wants to know any more.
func (p *peer) expirePresence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, it := range p.presence {
		if time.Since(it.since) > p.g.times.maxAge {
			p.dropPresence(key)
		}
	}
}
