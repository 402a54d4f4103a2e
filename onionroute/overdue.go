package onionroute

import (
	"time"

	"mellium.im/xmpp/stanza"
)

// What is said in a room waits for the time of grace only, and who wants to enter a room at a
// peer that is known to be away for less: long enough to get in if it is back, and a client
// does not say that it is entering for as long as the peer is away. They are told when their
// time is over: also while a connection is being tried, or it is not time yet to try again.

// isForRoom tells if the item is said in a room.
func (it *item) isForRoom() bool { return it.head.Type == string(stanza.GroupChatMessage) }

// due is when the item has waited for as long as it may; zero: that is found out when the
// peer has been tried.
func (it *item) due(t *times) time.Time {
	switch {
	case it.isForRoom():
		return it.since.Add(t.grace)
	case it.hasty:
		return it.since.Add(t.entering)
	}
	return time.Time{}
}

// watch sees to it that overdue is called when an item is due. p.mu is held.
func (p *peer) watch(items ...*item) {
	for _, it := range items {
		due := it.due(&p.g.times)
		if due.IsZero() || p.gone || p.watching != nil && !due.Before(p.due) {
			continue
		}
		if p.watching != nil {
			p.watching.Stop()
		}
		p.due = due
		p.watching = time.AfterFunc(time.Until(due)+time.Millisecond, p.overdue)
	}
}

// overdue answers what has been due and is still in the queue. What a stream has is that
// stream's business.
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
		switch due := it.due(&p.g.times); {
		case due.IsZero() || time.Now().Before(due):
			return nil
		case it.kept:
			return errExpired(it.since, p.down)
		}
		return errUnreachable()
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch(p.queue...)
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
