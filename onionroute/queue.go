package onionroute

import (
	"errors"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// send queues an item. The error, if it is not errGone, is for its sender.
func (p *peer) send(it *item) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return errGone
	}
	it.order = p.g.order.Add(1)
	key, join := it.presenceKey(), isJoin(&it.head)
	it.hasty = join && p.down != nil
	// What is of this moment does not wait for a peer that is known to be away, and nothing
	// but presence for one that does not want us.
	away := p.down != nil && !it.kept && !join || isRefusal(p.down)
	if away && (key == "" || join) {
		return userError(p.down)
	}
	if !join { // which can fail, and then the last word is true still
		p.dropPresence(key) // this one is newer
	}
	switch {
	case it.answer:
		// A peer that asks and does not read the answers harms itself alone.
		if p.answers+it.cost() > maxAnswers || !p.friend.Load() && !p.g.quota.takeAnswer(it, p.g.c.bounds.answers) {
			return nil
		}
		p.answers += it.cost()
	case away && len(p.presence) >= maxPresence, p.bytes+it.cost() > p.g.c.QueueBytes, !p.g.reserve(it):
		return errTooMuch()
	default:
		p.bytes += it.cost()
	}
	if away {
		p.presence[key] = it
		return nil
	}
	p.queue = append(p.queue, it)
	p.watch(it)
	if p.cur == nil {
		p.storeQueue()
	} else if !p.late {
		// Mostly it has gone out by then.
		p.late = true
		time.AfterFunc(p.g.times.stall, p.storeLate)
	}
	poke(p.wake)
	return nil
}

// storeQueue writes what is queued to the spool: it may be a while until it goes out.
// p.mu is held.
func (p *peer) storeQueue() {
	var items []*item
	for _, it := range p.queue {
		if it.kept && !it.stored {
			it.stored = true
			items = append(items, it)
		}
	}
	if len(items) == 0 {
		return
	}
	p.g.spool.store(items, "", func(err error) {
		if err != nil {
			p.log.Error("the spool cannot be written; what cannot be delivered at once is returned to its sender: is the disk full?", "error", err)
			go p.notKept(items)
		}
	})
}

func (p *peer) storeLate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = false
	p.storeQueue()
}

// notKept returns those items to their senders that cannot be kept. Some may be on their
// way already.
func (p *peer) notKept(items []*item) {
	mine := map[*item]bool{}
	for _, it := range items {
		mine[it] = true
	}
	p.bounce(func(it *item) error {
		if mine[it] {
			return errNotKept()
		}
		return nil
	})
}

// keep writes items to the spool that are about to be written to the peer, with their
// numbers in the session if it can be resumed.
func (p *peer) keep(items []*item, sess *session) {
	id := ""
	if sess != nil {
		id = sess.id
	}
	var todo []*item
	for _, it := range items {
		if it.kept && (!it.stored || id != "") {
			it.stored = true
			todo = append(todo, it)
		}
	}
	if len(todo) == 0 {
		return
	}
	done := make(chan error, 1)
	p.g.spool.store(todo, id, func(err error) {
		if err != nil {
			for _, it := range todo {
				it.stored = it.inSpool()
			}
		}
		done <- err
	})
	if err := <-done; err != nil {
		p.log.Error("the spool cannot be written; what is under way is in memory only: is the disk full?", "error", err)
	}
}

// release gives back the memory of items that are done, and their place in the spool.
func (p *peer) release(items ...*item) {
	var rows []*item
	p.mu.Lock()
	for _, it := range items {
		p.uncount(it)
		if it.stored {
			rows = append(rows, it)
		}
	}
	p.mu.Unlock()
	p.g.spool.remove(rows, func(err error) {
		if err != nil {
			p.log.Error("the spool cannot be written; what has been delivered may go out again after a restart", "error", err)
		}
	})
}

// uncount gives back the memory of an item. p.mu is held.
func (p *peer) uncount(it *item) {
	if it.answer {
		p.answers -= it.cost()
		p.g.quota.giveAnswer(it)
		return
	}
	p.bytes -= it.cost()
	p.g.unreserve(it)
}

// putBack returns what was not written to the front of the queue, and questions that
// were not answered.
func (p *peer) putBack(items []*item, verifies ...*verification) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range verifies {
		if !v.givenUp() {
			p.verifies = append(p.verifies, v)
		}
	}
	p.queue = append(append([]*item(nil), items...), p.queue...)
	p.storeQueue()
	p.watch(p.queue...)
}

// take takes all that is queued.
func (p *peer) take() ([]*item, []*verification) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, v := p.queue, p.verifies
	p.queue, p.verifies = nil, nil
	return q, v
}

// fail answers what does not wait any longer after a failure to connect.
func (p *peer) fail(err error) {
	p.mu.Lock()
	verifies := p.verifies
	p.verifies = nil
	p.mu.Unlock()
	for _, v := range verifies {
		v.answer <- v.ask.refuse(stanza.RemoteServerTimeout)
	}
	if p.session != nil {
		// It is not known if these have arrived.
		if isRefusal(err) {
			p.putBack(p.session.takeBack())
		} else {
			p.putBack(p.session.takeExpired(&p.g.times))
		}
	}
	p.bounce(func(it *item) error {
		switch {
		case errors.Is(userError(err), errNoSuchServer()), errors.Is(userError(err), errPrivate()), isRefusal(err):
			return userError(err)
		case !it.expired(&p.g.times):
			return nil
		case it.kept:
			return errExpired(it.since, err)
		}
		return userError(err)
	})
	p.expirePresence()
}

// bounce answers queued items that why gives an error for, and drops them. Presence that
// asks for nothing has no answer, and is kept until the peer is back.
func (p *peer) bounce(why func(*item) error) {
	var out []*item
	var errs []error
	p.mu.Lock()
	kept := p.queue[:0:0]
	for _, it := range p.queue {
		if err := why(it); err != nil {
			if !p.keepPresence(it) {
				out, errs = append(out, it), append(errs, err)
			}
		} else {
			kept = append(kept, it)
		}
	}
	p.queue = kept
	p.mu.Unlock()
	for i, it := range out {
		if it.head.Kind != component.Presence || it.kept || isJoin(&it.head) {
			p.giveUp([]*item{it}, errs[i])
		} else {
			p.release(it)
		}
	}
}

// giveUp answers items that are not in the queue with an error.
func (p *peer) giveUp(items []*item, err error) {
	for _, it := range items {
		p.g.bounce(it, err, func() { p.release(it) })
	}
}
