package onionroute

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"mellium.im/xmpp/stanza"
	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// errSilent ends a stream whose peer does not answer any more.
var errSilent = errors.New("onionroute: the peer does not answer any more")

// errUnused ends a stream that nobody needs.
var errUnused = errors.New("onionroute: not used any more")

// errSwitched ends the use of a stream for that of another.
var errSwitched = errors.New("onionroute: another stream is used")

// An outPair is a pair of domains on a stream.
type outPair struct {
	valid   bool
	asked   time.Time // zero: it has not been asked for, or is to be asked for again
	again   time.Time // not before this
	waiting []*item
}

// pump sends what is for the peer by the stream, until that or ctx ends. What was not
// written goes back to the queue.
func (st *stream) pump(ctx context.Context, p *peer) (err error) {
	p.use(st)
	if o := p.otherThan(st); o != nil && st.beganSession() {
		p.joinOf(o, p.session)
	}
	if st.initiator {
		go st.read()
	}
	defer func() { st.leave(p, err) }()
	// At the end, whatever is being written has to hurry.
	defer context.AfterFunc(ctx, func() { st.c.hurry(time.Now().Add(closeTimeout)) })()
	tick := time.NewTicker(st.g.times.tick)
	defer tick.Stop()
	now := make(chan struct{})
	close(now)
	if err := st.changed(p); err != nil {
		return err
	}
	poke(p.wake)
	for {
		var writable chan struct{}
		if st.canWrite(p) {
			writable = now
		}
		select {
		case <-ctx.Done():
			return st.finish(p)
		case <-st.ended:
			return st.err
		case <-st.kick:
			err = st.changed(p)
		case <-p.wake:
			if err = st.other(p); err == nil {
				err = st.work(p)
			}
		case <-writable:
			err = st.write(p)
		case <-tick.C:
			select {
			case <-st.ended:
				return st.err
			default:
				err = st.check(p)
			}
		}
		if err != nil {
			return err
		}
	}
}

// canWrite tells if there is something to be written, and a session for it that both
// sides are at.
func (st *stream) canWrite(p *peer) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.ready) > 0 && !st.resuming && st.sess != nil && (st.sess == p.session || !st.sess.resumable())
}

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
		return st.goesOn(p, *resumed)
	case refused:
		// The peer has lost what it knew of the session.
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
		return st.c.send(smFailed(stanza.ItemNotFound))
	}
	if err := p.settle(sess, st); err != nil {
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
	case st.initiator && st.trusted && st.g.m.Identity < p.onion:
		return nil
	}
	if o.session() == p.session && p.session != nil {
		p.session.goOn(o)
	}
	st.draining = true
	return st.drained()
}

// share makes a session go on by this stream as well.
func (st *stream) share(sess *session) {
	st.mu.Lock()
	st.sess = sess
	st.mu.Unlock()
	at := sess.on()
	sess.goOn(st) // it is read by this one too
	sess.goOn(at)
}

// beganSession tells if the session that it has was opened by it.
func (st *stream) beganSession() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.began
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

func (st *stream) wasUseful() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.useful
}

// drained is errSwitched when a stream that is given up for another has nothing on it
// any more. st.mu is held.
func (st *stream) drained() error {
	if n := st.openItems(); !st.draining || n > 0 {
		return nil
	}
	return errSwitched
}

func (st *stream) openItems() int {
	if st.sess == nil {
		return 0
	}
	n, _ := st.sess.open()
	return n
}

// work sends what is queued.
func (st *stream) work(p *peer) error {
	st.mu.Lock()
	draining := st.draining
	st.mu.Unlock()
	if draining {
		return nil
	}
	items, verifies := p.take()
	if !st.writesAtOnce(items) {
		p.keep(items, nil)
	}
	for i, v := range verifies {
		st.mu.Lock()
		st.asked[dialback{from: v.ask.from, to: v.ask.to, id: v.ask.id}] = v
		v.sent = time.Now()
		st.used = v.sent
		st.mu.Unlock()
		if err := st.c.send(v.ask.element()); err != nil {
			p.putBack(items, verifies[i+1:]...)
			return err
		}
	}
	for i, it := range items {
		if !st.line(it) {
			continue
		}
		if err := st.authorize(p, it.pair); err != nil {
			p.putBack(items[i+1:])
			return err
		}
	}
	return nil
}

// writesAtOnce tells if items are written, and so kept, as soon as they are ready: by the
// next write, and no other before it.
func (st *stream) writesAtOnce(items []*item) bool {
	size := 0
	for _, it := range items {
		size += len(it.xml)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.trusted && st.sess != nil && !st.resuming && len(st.ready) == 0 && size <= batchBytes
}

// line puts an item where it is written from, or waits until its pair of domains may
// be used, and tells if the peer is to be asked for that.
func (st *stream) line(it *item) (ask bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.trusted {
		st.ready = append(st.ready, it)
		return false
	}
	op := st.pairs[it.pair]
	if op == nil {
		op = &outPair{}
		st.pairs[it.pair] = op
	}
	if op.valid {
		st.ready = append(st.ready, it)
		return false
	}
	op.waiting = append(op.waiting, it)
	return op.asked.IsZero() && op.again.IsZero()
}

// authorize asks the peer to take stanzas for the pair (XEP-0220 §2.1.1).
func (st *stream) authorize(p *peer, pr pair) error {
	st.mu.Lock()
	st.pairs[pr].asked = time.Now()
	st.used = time.Now()
	id := st.id
	st.mu.Unlock()
	return st.c.send(dialback{name: "result", from: pr.from, to: pr.to, key: st.g.secret.key(pr.to, pr.from, id)}.element())
}

// write writes a batch of what is ready, and asks if it has arrived. What has to be
// kept is on disk before.
func (st *stream) write(p *peer) error {
	st.mu.Lock()
	size, n := 0, 0
	for n < len(st.ready) && (n == 0 || size+len(st.ready[n].xml) <= batchBytes) {
		size += len(st.ready[n].xml)
		n++
	}
	batch := st.ready[:n:n]
	st.ready = st.ready[n:]
	sess := st.sess
	sess.number(batch)
	st.mu.Unlock()
	p.keep(batch, sess)
	out := make([]byte, 0, size+300)
	for _, it := range batch {
		out = it.appendXML(out, st.g.m.Identity, &st.g.times)
	}
	st.mu.Lock()
	if st.probe == "" {
		out = st.question().AppendXML(out, component.NSServer)
	}
	st.mu.Unlock()
	if err := st.c.write(out); err != nil {
		return err
	}
	st.mu.Lock()
	st.used = time.Now()
	st.wrote = st.used
	st.mu.Unlock()
	return nil
}

// question makes what asks the peer how far it has come: a request of stream
// management, or, where there is none, one to verify a key that is none. A server has
// to answer that it is invalid (XEP-0220 §2.2.2), on this very stream, and handles what
// comes by a stream in order: so the answer says that all that was written before has
// arrived. No other question can be asked of every server on a stream that is for one
// direction. st.mu is held.
func (st *stream) question() *component.Element {
	st.probed = time.Now()
	if st.sess != nil {
		_, st.covers = st.sess.open()
	}
	if st.managed {
		st.probe = "r"
		return smElement("r")
	}
	st.probe = streamID()
	return dialback{name: "verify", from: st.g.m.Identity, to: st.g.m.Name(st.base), id: st.probe, key: rand.Text()}.element()
}

func (st *stream) ask() error {
	st.mu.Lock()
	q := st.question()
	st.mu.Unlock()
	return st.c.send(q)
}

// askNow asks if the peer is there, unless it has been asked.
func (st *stream) askNow() error {
	st.mu.Lock()
	asked := st.probe != "" || st.sess == nil || st.resuming
	st.mu.Unlock()
	if asked {
		return nil
	}
	return st.ask()
}

// answered takes note that the peer has answered, and of what has arrived.
func (st *stream) answered(items []*item) {
	st.mu.Lock()
	st.useful = st.useful || len(items) > 0
	if st.probe != "" {
		st.probe, st.slowest = "", max(st.slowest, time.Since(st.probed))
	}
	p := st.p
	st.mu.Unlock()
	p.release(items...)
	poke(st.kick)
}

// verified handles the answer of an authoritative server: to a question of a peer's
// stream, or to one that only asks for an answer.
func (st *stream) verified(d dialback) error {
	st.mu.Lock()
	if d.id == st.probe && st.probe != "" {
		sess, covers := st.sess, st.covers
		st.mu.Unlock()
		var items []*item
		if sess != nil {
			items, _ = sess.acknowledged(covers)
		}
		st.answered(items)
		if st.openNow() > 0 {
			return st.ask()
		}
		return nil
	}
	// Only what was asked on this stream, which leads to the authoritative server and
	// nobody else, is an answer (XEP-0220 §2.1.2).
	k := dialback{from: d.to, to: d.from, id: d.id}
	v := st.asked[k]
	if v != nil {
		delete(st.asked, k)
		st.useful = true
	}
	st.mu.Unlock()
	if v != nil {
		v.answer <- d
	}
	return nil
}

func (st *stream) openNow() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.openItems()
}

// authorized handles the answer to a request to take stanzas for a pair of domains.
// One that was not asked for says nothing (XEP-0288 §3).
func (st *stream) authorized(d dialback) error {
	st.mu.Lock()
	pr := pair{d.to, d.from}
	op := st.pairs[pr]
	if op == nil || op.valid || op.asked.IsZero() {
		st.mu.Unlock()
		return nil
	}
	if d.typ == "valid" {
		defer st.mu.Unlock()
		op.valid = true
		st.log.Debug("peer takes our stanzas", "from", d.to)
		st.ready = append(st.ready, op.waiting...)
		op.waiting = nil
		poke(st.kick)
		return st.manageIfOffered()
	}
	st.mu.Unlock()
	st.log.Info("peer does not take our stanzas", "answer", d.typ, "condition", d.condition)
	st.refused(pr, d)
	return nil
}

// manageIfOffered starts stream management where the peer has it and did not prove
// itself by a chain: then the session ends with the stream. st.mu is held.
func (st *stream) manageIfOffered() error {
	if n := st.openItems(); !st.offersSM || st.managed || n > 0 {
		return nil
	}
	st.sess, st.managed, st.enabling = newSession(st.base, ""), true, true
	st.sess.goOn(st)
	st.sess.start(st.g)
	return st.c.send(smElement("enable"))
}

// refused handles an answer other than valid. That the peer could not ask us, because
// it did not find its way back by Tor, can be another time.
func (st *stream) refused(pr pair, d dialback) {
	err, passes := errUnreachable(), false
	switch {
	case d.typ != "error":
		err = component.NewError(stanza.Cancel, stanza.InternalServerError, "The server did not believe that this one is what it says it is.")
	case d.condition == stanza.ItemNotFound:
		err = component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, "There is no such service at this server.")
	case d.condition == stanza.Forbidden, d.condition == stanza.NotAuthorized, d.condition == stanza.PolicyViolation:
	default:
		passes = true
	}
	st.mu.Lock()
	op, p := st.pairs[pr], st.p
	var keep, bounce []*item
	for _, it := range op.waiting {
		if passes && !it.expired(&st.g.times) {
			keep = append(keep, it)
		} else {
			bounce = append(bounce, it)
		}
	}
	op.waiting, op.asked, op.again = keep, time.Time{}, time.Now().Add(st.g.times.retryMin)
	if len(keep) == 0 {
		delete(st.pairs, pr)
	}
	st.mu.Unlock()
	p.giveUp(bounce, err)
}

// check is called from time to time: a stream that does not answer any more must not
// be taken for one that works, as Tor notices a dead circuit late or never.
func (st *stream) check(p *peer) error {
	now, t := time.Now(), &st.g.times
	st.mu.Lock()
	var again, late []pair
	for pr, op := range st.pairs {
		switch {
		case op.valid:
		case !op.asked.IsZero() && now.Sub(op.asked) > t.dialback:
			late = append(late, pr)
		case op.asked.IsZero() && now.After(op.again):
			again = append(again, pr)
		}
	}
	st.mu.Unlock()
	for _, pr := range late {
		st.refused(pr, dialback{typ: "error", condition: stanza.RemoteServerTimeout})
	}
	for _, pr := range again {
		if err := st.authorize(p, pr); err != nil {
			return err
		}
	}
	st.mu.Lock()
	silent := st.silent(now)
	quiet := st.probe == "" && (now.Sub(st.heard) > t.quiet || st.openItems() > 0 && now.Sub(st.probed) > t.tick)
	unused := now.Sub(st.used) > t.streamIdle && len(st.asked) == 0 && st.openItems() == 0 && len(st.ready) == 0
	err := st.drained()
	st.mu.Unlock()
	switch {
	case silent:
		return errSilent
	case err != nil:
		return err
	case quiet && st.sessionKnown():
		return st.ask()
	case unused && st.initiator && !st.g.contacts.any(p.onion):
		return errUnused
	}
	return nil
}

// sessionKnown tells if the peer knows what a question is about.
func (st *stream) sessionKnown() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.sess != nil && !st.resuming
}

// silent tells if the peer has not answered for too long. st.mu is held.
func (st *stream) silent(now time.Time) bool {
	t := &st.g.times
	late := now.Add(-t.answerMax)
	if st.slowest > 0 {
		late = now.Add(-min(max(10*st.slowest, t.answerMin), t.answerMax))
	}
	// What was heard or written meanwhile is a sign of life too.
	if !st.heard.Before(late) || !st.wrote.Before(late) {
		return false
	}
	for _, v := range st.asked {
		if v.sent.Before(late) {
			return true
		}
	}
	return st.probe != "" && st.probed.Before(late) || (st.resuming || st.enabling) && st.since.Before(late)
}

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
// that cannot be had, the session stays, to be resumed.
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
	}
	if err := st.c.finish(nil); err != nil {
		return err
	}
	select {
	case <-st.ended: // the peer has read all of it
		if !st.managed && sess != nil {
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
	resumed := st.managed && st.sess.resumable() && !st.over
	st.mu.Unlock()
	if resumed && !errors.Is(err, io.EOF) && !isFault(err) {
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
	case errors.Is(err, errSwitched):
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
