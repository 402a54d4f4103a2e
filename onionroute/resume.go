package onionroute

import (
	"mellium.im/xmpp/stanza"
	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// changed does what follows from what the reader has read.
func (st *stream) changed(p *peer) error {
	st.mu.Lock()
	wants, resumed, refused := st.wants, st.resumed, st.refusedResume
	st.wants, st.resumed, st.refusedResume = nil, nil, false
	sess := st.sess
	st.mu.Unlock()
	switch {
	case wants != nil:
		return st.resume(p, wants)
	case resumed != nil:
		p.hasAnswered()
		return st.goesOn(p, *resumed)
	case refused:
		// The peer has lost what it knew of the session.
		p.hasAnswered()
		p.log.Info("the peer does not know our last session any more; what it did not acknowledge goes out once more")
		st.unready(p)
		p.forgetSession()
		sess, err := p.sessionFor(st)
		if err != nil {
			return err
		}
		st.goOn(sess)
		return st.c.send(smElement("enable").With("resume", "true"))
	case !st.initiator && sess != nil && p.session != sess:
		st.unready(p)
		p.forgetSession()
		p.own(sess)
	case sess == nil && st.initiator:
		p.forgetSession()
		st.mu.Lock()
		st.sess = newSession(p.onion, "") // without stream management
		st.mu.Unlock()
	}
	return nil
}

// unready returns to the queue what is not written yet, so that what comes before it
// can go there too.
func (st *stream) unready(p *peer) {
	st.mu.Lock()
	items := st.ready
	st.ready = nil
	st.mu.Unlock()
	p.putBack(items)
	poke(p.wake)
}

// resume goes on with a session as the peer asks (XEP-0198 §5).
func (st *stream) resume(p *peer, wants *resumption) error {
	sess := p.session
	if sess == nil || !sess.is(wants.id) {
		p.log.Debug("the peer wants to resume a session that is not here", "another", sess != nil)
		st.mu.Lock()
		st.wanted = false // it may ask for a new one
		st.mu.Unlock()
		return st.c.send(smFailed(stanza.ItemNotFound))
	}
	if err := p.settle(sess, st); err != nil {
		st.c.abort() // a closing tag would end the session
		return err
	}
	st.goOn(sess)
	if err := st.c.send(smElement("resumed").With("previd", wants.id).With("h", number(sess.toldPeer()))); err != nil {
		return err
	}
	return st.goesOn(p, wants.h)
}

// goesOn writes again what the peer has not handled in the session that is resumed.
func (st *stream) goesOn(p *peer, h uint32) error {
	handled, again, ok := st.session().resume(h)
	if !ok {
		p.forgetSession() // as the peer has, or part of it
		return component.NewStreamError(condition.UndefinedCondition, "it acknowledged more than it was sent")
	}
	p.release(handled...)
	p.log.Debug("the session goes on", "arrived", len(handled), "again", len(again))
	st.mu.Lock()
	defer st.mu.Unlock()
	st.resuming, st.useful = false, true
	st.ready = append(again, st.ready...)
	return nil
}

// other looks if the peer has opened a stream that is to be used instead of this one.
// When both have opened one at the same time, it is the one of whom has the smaller
// name. What was written by the other has to arrive first.
func (st *stream) other(p *peer) error {
	o := p.otherThan(st)
	if o == nil {
		return nil
	}
	wants, first := o.wantsSessionOf(st), st.goesFirst()
	stays := st.initiator && st.trusted && st.g.m.Identity < p.onion
	if !wants && !stays && st.isResuming() {
		// The peer has not said if it knows the session, and may never: it waits for our
		// answer by its own stream. Nothing was written by this one, so nothing has to
		// arrive first.
		return errSwitched
	}
	if sess := o.session(); !wants && sess != nil && p.session != nil && sess != p.session {
		// Either the peer has lost what it knew of our session, and does not answer here
		// any more; or it has given that stream up already.
		return st.askNow()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case wants && first:
		go o.c.end(component.NewStreamError(condition.Conflict, "we are about to resume that session"))
		return nil
	case wants:
		return component.NewStreamError(condition.Conflict, "the peer resumes the session by another stream")
	case stays:
		return nil
	}
	if o.session() == p.session && p.session != nil {
		p.session.goOn(o)
	}
	st.draining = true
	return st.drained()
}

// share makes a session be read by this stream as well.
func (st *stream) share(sess *session) {
	st.mu.Lock()
	st.sess, st.managed = sess, true
	st.mu.Unlock()
	sess.readAlso(st)
}

func (st *stream) isResuming() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.resuming
}

// goesFirst tells if the stream resumes a session, and goes before one of the peer's that
// does the same at the same time.
func (st *stream) goesFirst() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.resuming && st.g.m.Identity < st.base
}

// wantsSessionOf tells if the peer asks to go on by this stream with the session that
// the other one has.
func (st *stream) wantsSessionOf(other *stream) bool {
	sess := other.session()
	st.mu.Lock()
	defer st.mu.Unlock()
	return sess != nil && st.wants != nil && sess.is(st.wants.id)
}

// switches is errSwitched when it is time to use another stream.
func (st *stream) switches() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.drained()
}

// drained is errSwitched when a stream that is given up for another has nothing on it
// any more. st.mu is held.
func (st *stream) drained() error {
	if n := st.openItems(); !st.draining || n > 0 {
		return nil
	}
	return errSwitched
}
