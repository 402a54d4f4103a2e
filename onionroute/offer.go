package onionroute

import (
	"context"
	"errors"

	"github.com/allium-xmpp/allium/component"
)

// offer makes a stream that the peer opened the one to be used next, or at once if it
// is for the session that another has, which is dead then.
func (p *peer) offer(st *stream) error {
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return errGone
	}
	if o := p.offered; o != nil && o != st {
		if sess := o.session(); sess != nil && sess.broke(o) && sess.resumable() {
			p.adoptLocked(sess)
		}
	}
	p.offered = st
	st.mu.Lock()
	st.p = p
	st.mu.Unlock()
	if p.cancel != nil {
		p.cancel(errOffered)
	}
	if cur := p.cur; cur != nil && cur != st && st.wantsSessionOf(cur) && !cur.goesFirst() {
		cur.c.abort()
	}
	cur, ours := p.cur, p.session
	p.mu.Unlock()
	if cur != nil && cur != st && cur.beganSession() {
		p.joinOf(st, ours) // nothing is read by it until this is done
	}
	poke(p.wake)
	poke(p.retry)
	return nil
}

// adopt takes a session over that the peer has opened by a stream that has ended.
func (p *peer) adopt(sess *session) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return errGone
	}
	p.adoptLocked(sess)
	poke(p.wake)
	return nil
}

func (p *peer) adoptLocked(sess *session) {
	if p.orphan != nil && p.orphan != sess {
		p.g.endSession(p.orphan)
	}
	p.orphan = sess
}

// takeOrphan makes a session that the peer has opened its own, or one with its own. If
// that cannot be, the peer does not know that any more.
func (p *peer) takeOrphan() {
	p.mu.Lock()
	sess := p.orphan
	p.orphan = nil
	p.mu.Unlock()
	switch {
	case sess == nil || sess == p.session:
	case p.session != nil && p.session.join(sess):
		p.joined(p.session)
	default:
		p.forgetSession()
		p.own(sess)
	}
}

// joinOf makes the session that the peer has opened by a stream one with ours, if we have
// opened that at the same time.
func (p *peer) joinOf(st *stream, ours *session) {
	if sess := st.session(); sess != nil && ours != nil && sess != ours && ours.join(sess) {
		st.share(ours)
		p.joined(ours)
	}
}

// joined goes on with a session that was made of two.
func (p *peer) joined(sess *session) {
	if _, err := sess.tell(p.g); err != nil {
		p.log.Error("the spool cannot be written; what is under way may arrive twice after a restart", "error", err)
	}
	sess.start(p.g)
}

// dials notes that an attempt to connect is under way, which can be given up by cancel;
// or, with nil, that it cannot any more. It is false if the peer has opened a stream.
func (p *peer) dials(cancel context.CancelCauseFunc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel = cancel
	return p.offered == nil
}

// use says which stream items go by from now on.
func (p *peer) use(st *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cur = st
	if st == nil {
		p.storeQueue()
		return
	}
	if p.offered == st {
		p.offered = nil
	}
	p.queuePresence()
}

// otherThan is a stream that the peer has opened, other than st; nil if there is none.
func (p *peer) otherThan(st *stream) *stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offered != nil && !p.offered.alive() {
		p.withdraw()
	}
	if p.offered == st {
		p.offered = nil
	}
	return p.offered
}

// drop forgets a stream that has ended. It is false if run is still at it.
func (p *peer) drop(st *stream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offered == st && !p.gone { // or nobody would take the session over from it
		p.withdraw()
	}
	return p.cur != st
}

// withdraw forgets the stream that is offered and has ended, but not the session that
// the peer has opened by it. p.mu is held.
func (p *peer) withdraw() {
	st := p.offered
	p.offered = nil
	if sess := st.session(); sess != nil && sess.resumable() && !st.c.d.Closed() && sess.broke(st) {
		p.adoptLocked(sess)
	}
}

// own makes a session the peer's, so that it does not end with its stream.
func (p *peer) own(sess *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ownLocked(sess)
}

func (p *peer) ownLocked(sess *session) {
	if sess != nil {
		sess.mu.Lock()
		sess.owned = true
		sess.mu.Unlock()
	}
	p.session = sess
}

// ownNew is own for a session that we open, unless the peer has done so.
func (p *peer) ownNew(sess *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offered != nil || p.orphan != nil {
		return false
	}
	p.ownLocked(sess)
	return true
}

// forgetSession ends the session that could have been resumed.
func (p *peer) forgetSession() {
	if sess := p.session; sess != nil {
		p.own(nil)
		p.endSession(sess, nil)
	}
}

// endSession ends a session. What may not have arrived is better to arrive twice than
// not at all; but requests are not made twice: they are answered here. What the peer
// ended its stream for several times is not sent again. why is what the session's last
// stream ended by.
func (p *peer) endSession(sess *session, why error) {
	p.g.endSession(sess)
	var again, lost []*item
	received := new(component.ReceivedError)
	for i, it := range sess.takeBack() {
		if i == 0 && errors.As(why, &received) {
			it.tries++
		}
		if it.tries < maxTries && it.head.Kind != component.IQ {
			again = append(again, it)
		} else {
			lost = append(lost, it)
		}
	}
	p.putBack(again)
	p.giveUp(lost, errUnreachable())
}
