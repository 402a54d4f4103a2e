package onionroute

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/allium-xmpp/allium/component"
)

// finish writes what is queued and closes the stream, at the end of the program. What
// does not get through stays in the spool.
func (st *stream) finish(p *peer) error {
	if err := st.work(p); err != nil {
		return err
	}
	for st.canWrite(p) {
		if err := st.write(p); err != nil {
			return err
		}
	}
	return st.close(p, context.Canceled)
}

// close ends the stream in order: what we have read is handled and acknowledged, what
// we have written is acknowledged, and so there is nothing left of the session. Where
// that cannot be had, the session stays, to be resumed; and so it does at the end of the
// program, as it tells after the next start who may have something for us (see comeBack).
func (st *stream) close(p *peer, why error) error {
	timeout := time.After(closeTimeout)
	sess := st.session()
	if st.isResuming() {
		return why
	}
	if st.managed && sess != nil {
		if st.openNow() > 0 {
			st.ask()
		}
		for !st.isOver(sess) {
			select {
			case <-timeout:
				return why
			case <-st.ended:
				return why
			case <-time.After(5 * time.Millisecond):
			}
		}
		if sess.resumable() && st.g.ending() {
			return why
		}
		st.acknowledge(sess) // XEP-0198 §4: or the last of it could come too late
	}
	if err := st.c.finish(nil); err != nil {
		return err
	}
	select {
	case <-st.ended:
		if !st.managed && sess != nil && st.c.d.Closed() { // the peer has read all of it
			p.release(sess.takeBack()...)
			st.useful = true
		}
	case <-timeout:
		st.c.abort()
	}
	return why
}

// isOver tells if nothing is left of the session. From then on nothing more is taken from
// the peer: it does not get to know of it, and writes it again by the next stream.
func (st *stream) isOver(sess *session) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	h, all := sess.handled()
	st.over = all && h == sess.toldPeer() && st.openItems() == 0
	return st.over
}

// end ends the connection. The closing tag ends the session too (XEP-0198 §8), so if
// that is to be resumed there is none.
func (st *stream) end(err error) {
	st.mu.Lock()
	resumable, over := st.managed && st.sess.resumable(), st.over
	st.mu.Unlock()
	if resumable && (st.g.ending() || !over && !errors.Is(err, io.EOF) && !isFault(err)) {
		st.c.abort()
		return
	}
	st.c.end(err)
}

// isFault tells of an error that the peer is told.
func isFault(err error) bool {
	se := new(component.StreamError)
	return errors.As(err, &se)
}

// leave returns to the queue what was not written by the stream, and what may not have
// arrived. A session that broke off waits for its next stream.
func (st *stream) leave(p *peer, err error) {
	switch {
	case errors.Is(err, errUnused):
		st.close(p, nil)
	case errors.Is(err, errSwitched) && !st.isResuming():
		st.c.finish(nil)
		select {
		case <-st.ended:
		case <-time.After(closeTimeout):
		}
	}
	p.use(nil)
	st.cancel()
	st.end(err)
	<-st.ended // nothing is read any more
	st.mu.Lock()
	sess, closed := st.sess, st.c.d.Closed() && !isFault(err) // or that is its answer
	waiting := st.ready
	for _, op := range st.pairs {
		waiting = append(waiting, op.waiting...)
	}
	st.ready, st.pairs = nil, map[pair]*outPair{}
	asked := slices.Collect(maps.Values(st.asked))
	clear(st.asked)
	st.mu.Unlock()
	p.putBack(waiting, asked...)
	switch {
	case sess == nil || sess.on() != st && st.managed:
	case !sess.resumable() || closed:
		// A stream that is closed in order ends the session (XEP-0198 §8).
		if p.session == sess {
			p.own(nil)
		}
		p.endSession(sess, err)
	default:
		sess.goOn(nil)
		if !st.initiator && sess != p.session { // the peer has just opened it
			p.adopt(sess)
		}
	}
}
