package onionroute

import (
	"time"

	"mellium.im/xmpp/stanza"
)

// What is said in a room waits for the time of grace only, and whoever said it is told as
// soon as that is over: also while a connection is being tried, or it is not time yet to try
// again, which both can take longer.

// isForRoom tells if the item is said in a room.
func (it *item) isForRoom() bool { return it.head.Type == string(stanza.GroupChatMessage) }

// watch sees to it that overdue is called when the first item that is said in a room has
// waited for as long as it may. p.mu is held.
func (p *peer) watch() {
	if p.watching != nil || p.gone {
		return
	}
	var first time.Time
	for _, it := range p.queue {
		if it.isForRoom() && (first.IsZero() || it.since.Before(first)) {
			first = it.since
		}
	}
	if !first.IsZero() {
		p.watching = time.AfterFunc(time.Until(first.Add(p.g.times.grace))+time.Millisecond, p.overdue)
	}
}

// overdue answers what was said in a room and has waited for too long. What a stream has is
// that stream's business.
func (p *peer) overdue() {
	p.mu.Lock()
	p.watching = nil
	away := p.cur == nil && !p.gone
	if away {
		p.answering.Add(1)
	}
	p.mu.Unlock()
	if !away {
		return
	}
	defer p.answering.Done()
	p.bounce(func(it *item) error {
		if it.isForRoom() && it.expired(&p.g.times) {
			return errExpired(it.since)
		}
		return nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch()
}

// unwatch ends that, and waits until nothing is being answered any more. p.gone is true.
func (p *peer) unwatch() {
	p.mu.Lock()
	if p.watching != nil {
		p.watching.Stop()
	}
	p.mu.Unlock()
	p.answering.Wait()
}
