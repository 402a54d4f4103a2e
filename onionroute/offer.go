package onionroute

import (
	"context"
	"errors"
	"time"

	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// offer makes a stream that the peer opened the one to be used next, or at once if it
// is for the session that another has, which is dead then. sess is the session that the
// peer opens by it, nil if it asks to go on with one. It is made one with ours, if we have
// opened that at the same time: before anything else becomes of either, and before anything
// is read by it. Any error but errGone is that the stream is of no use, nor is the session.
func (p *peer) offer(st *stream, sess *session) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.mayOfferLocked(st, sess); err != nil {
		return err
	}
	p.newest = st.since
	if p.offered != st {
		p.withdraw()
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
	if sess != nil {
		if ours := p.session; ours != nil && st != p.cur && ours.join(sess, st.since) {
			st.share(ours)
			sess = ours
		} else {
			st.goOn(sess)
		}
		sess.start(p.g)
	}
	poke(p.wake)
	poke(p.retry)
	return nil
}

// mayOfferLocked is why a stream is not to be used, if it is not. p.mu is held.
func (p *peer) mayOfferLocked(st *stream, sess *session) error {
	switch {
	case p.gone:
		return errGone
	case st.since.Before(p.newest):
		// The peer has given it up, as it uses one at a time; what it wrote by it comes late.
		return component.NewStreamError(condition.Conflict, "another stream was used since")
	case sess != nil && st != p.cur && p.session != nil && p.session.isAsked():
		// The peer has been told how far ours was read. If it makes the two one, it writes what
		// comes here once more; if it does not know ours, it says so, and opens another.
		return component.NewStreamError(condition.Conflict, "we are about to resume a session")
	}
	return nil
}

// hasAnswered notes that the peer has answered what we asked for by our stream. So it uses
// that, and has given up those that it had opened.
func (p *peer) hasAnswered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newest = time.Now()
	if p.offered != nil {
		p.offered.c.abort()
		p.withdraw()
	}
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

// takeOrphan makes a session that the peer has opened its own. It was not made one with
// ours, so the peer does not know that any more.
func (p *peer) takeOrphan() {
	p.mu.Lock()
	sess := p.orphan
	p.orphan = nil
	p.mu.Unlock()
	if sess != nil && sess != p.session {
		p.forgetSession()
		p.own(sess)
	}
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
	st.rate.Store(p.rate)
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

// withdraw forgets the stream that is offered, if any, but not the session that the peer
// has opened by it, unless it has closed that in order. p.mu is held.
func (p *peer) withdraw() {
	st := p.offered
	p.offered = nil
	if st == nil || !st.alive() && st.c.d.Closed() {
		return
	}
	if sess := st.session(); sess != nil && sess.resumable() && sess.broke(st) {
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

// asks notes that we are about to ask to resume our session, unless the peer has opened a
// stream or a session, which goes first. From then on no other that it opens is taken.
func (p *peer) asks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.offered != nil || p.orphan != nil {
		return false
	}
	p.session.asks()
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
		if it.tries < maxTries && !it.head.IsRequest() {
			again = append(again, it)
		} else {
			lost = append(lost, it)
		}
	}
	p.putBack(again)
	p.giveUp(lost, errUnreachable())
}
