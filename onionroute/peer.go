package onionroute

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A peer is a remote onion service, with all domains at it. One goroutine, run, sees to
// it that what is for the peer goes by a stream; others put work into its queue.
type peer struct {
	g     *Gateway
	onion string // X.onion
	log   *slog.Logger
	wake  chan struct{} // has a token when there is work
	retry chan struct{} // has a token when there is reason to try again at once

	// run's own:
	patience time.Duration // with Tor, for one attempt
	failures int           // of Tor to connect
	doubted  time.Time     // when the peer did not believe our chain
	missing  bool          // it could not be reached since it was last heard of
	missed   time.Time     // since then; zero: its users have been taken for off-line
	look     time.Time     // when to look if it is there, for those who are on-line

	mu       sync.Mutex
	session  *session // that can be resumed; nil if there is none; only run changes it
	queue    []*item
	late     bool             // the queue is about to be stored
	presence map[string]*item // the newest for a peer that is away, by from and to
	bytes    int              // cost of the items that are here or in the stream
	answers  int              // cost of those that answer the peer
	verifies []*verification
	down     error // why the last attempt to connect failed; nil if none did
	gone     bool  // run has ended; the peer must be looked up anew

	cur     *stream                 // that items go by
	offered *stream                 // that the peer has opened, to be used next
	orphan  *session                // that the peer has opened by a stream that was never used
	cancel  context.CancelCauseFunc // of the attempt to connect; nil if there is none
}

// A verification is a question to the authoritative server (XEP-0220 §2.1.2).
type verification struct {
	ask    dialback
	done   <-chan struct{} // closed when nobody waits for the answer any more
	answer chan dialback   // has room for one
	sent   time.Time       // the stream's own
}

// errGone tells that a peer must be looked up anew.
var errGone = errors.New("onionroute: peer is gone")

func errTooLarge() error {
	return component.NewError(stanza.Modify, stanza.PolicyViolation, "The stanza is too large for onion servers.")
}

// Errors for local users. Their texts do not cross to peers.
func errUnreachable() error {
	return component.NewError(stanza.Wait, stanza.RemoteServerTimeout, "The server cannot be reached through Tor at the moment.")
}

func errExpired(since time.Time) error {
	return component.NewError(stanza.Wait, stanza.RemoteServerTimeout,
		"The server could not be reached through Tor since "+since.UTC().Format("2006-01-02 15:04")+" UTC. The message was not delivered, and is not kept any longer.")
}

func errNoSuchServer() error {
	return component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, "This is not the address of an onion service.")
}

func errTooMuch() error {
	return component.NewError(stanza.Wait, stanza.ResourceConstraint, "Too much is waiting for this server already.")
}

func errNotKept() error {
	return component.NewError(stanza.Wait, stanza.ResourceConstraint, "The server cannot be reached at the moment, and the message cannot be kept: there is no room on disk.")
}

// send queues an item. The error, if it is not errGone, is for its sender.
func (p *peer) send(it *item) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return errGone
	case p.down != nil && !it.kept:
		// What is of this moment does not wait for a peer that is known to be away.
		if it.head.Kind == component.Presence {
			p.keepPresence(it)
			return nil
		}
		return userError(p.down)
	case it.answer:
		// A peer that asks and does not read the answers harms itself alone.
		if p.answers += it.cost(); p.answers > maxAnswers {
			p.answers -= it.cost()
			return nil
		}
	case p.bytes+it.cost() > p.g.c.QueueBytes, !p.g.reserve(it):
		return errTooMuch()
	default:
		p.bytes += it.cost()
	}
	it.order = p.g.order.Add(1)
	p.queue = append(p.queue, it)
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
	p.g.spool.store(todo, id, func(err error) { done <- err })
	if err := <-done; err != nil {
		p.log.Error("the spool cannot be written; what is under way is in memory only: is the disk full?", "error", err)
		for _, it := range todo {
			it.stored = it.row != 0
		}
	}
}

// keepPresence keeps the newest presence for when the peer is back. p.mu is held.
func (p *peer) keepPresence(it *item) {
	key := it.head.From.String() + " " + it.head.To.Bare().String()
	if it.head.Type == string(stanza.ProbePresence) {
		key += " probe"
	}
	if _, known := p.presence[key]; known || len(p.presence) < maxPresence {
		p.presence[key] = it
	}
}

// release gives back the memory of items that are done, and their place in the spool.
func (p *peer) release(items ...*item) {
	n, answers := 0, 0
	var rows []*item
	for _, it := range items {
		if it.answer {
			answers += it.cost()
		} else {
			n += it.cost()
			p.g.unreserve(it)
		}
		if it.stored {
			rows = append(rows, it)
		}
	}
	p.mu.Lock()
	p.bytes -= n
	p.answers -= answers
	p.mu.Unlock()
	p.g.spool.remove(rows, func(err error) {
		if err != nil {
			p.log.Error("the spool cannot be written; what has been delivered may go out again after a restart", "error", err)
		}
	})
}

// putBack returns what was not written to the front of the queue, and questions that
// were not answered.
func (p *peer) putBack(items []*item, verifies ...*verification) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range verifies {
		select {
		case <-v.done:
		default:
			p.verifies = append(p.verifies, v)
		}
	}
	p.queue = append(append([]*item(nil), items...), p.queue...)
	p.storeQueue()
}

// take takes all that is queued.
func (p *peer) take() ([]*item, []*verification) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, v := p.queue, p.verifies
	p.queue, p.verifies = nil, nil
	return q, v
}

// verify asks the authoritative server at the peer. The answer is of type error when
// there is none.
func (p *peer) verify(ctx context.Context, ask dialback) (dialback, error) {
	v := &verification{ask: ask, done: ctx.Done(), answer: make(chan dialback, 1)}
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return dialback{}, errGone
	}
	p.verifies = append(p.verifies, v)
	p.mu.Unlock()
	poke(p.wake)
	// It has just been heard of, so it is worth to try at once.
	poke(p.retry)
	select {
	case a := <-v.answer:
		return a, nil
	case <-ctx.Done():
		a := ask.answer("error")
		a.condition = stanza.RemoteServerTimeout
		return a, nil
	}
}

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
	for key, it := range p.presence {
		delete(p.presence, key)
		p.queue = append(p.queue, it)
	}
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
	if p.offered == st {
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

// run connects while there is work, and ends when there has been none for a while.
func (p *peer) run(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.RandomizationFactor = p.g.times.retryMin, p.g.times.retryMax, 0.3
	for p.hasWork(ctx) {
		err := p.stream(ctx)
		if errors.Is(err, errUnused) || errors.Is(err, errSwitched) || errors.Is(err, errOffered) {
			continue
		} else if err == nil { // it was of use
			pause.Reset()
		} else if ctx.Err() == nil {
			p.setDown(err)
			p.log.Info("peer cannot be reached", "reason", err)
			p.fail(err)
			p.pause(ctx, pause.NextBackOff())
		}
		if ctx.Err() != nil {
			break
		}
		if !errors.Is(err, ErrTorDown) {
			p.refresh(ctx)
		}
	}
	p.end()
}

// refresh looks anew for where the peer is, unless the peer comes to us.
func (p *peer) refresh(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if p.dials(cancel) {
		found := p.g.dialer.Refresh(ctx, p.onion)
		p.log.Debug("asked Tor for the peer's descriptor", "found", found)
	}
	p.dials(nil)
}

// pause waits until it is time to try again. Those at a peer that is away for longer than
// the time of grace go off-line here.
func (p *peer) pause(ctx context.Context, d time.Duration) {
	if !p.missing {
		p.missing, p.missed = true, time.Now()
	}
	again := time.After(d)
	var vanish <-chan time.Time
	if !p.missed.IsZero() {
		vanish = time.After(p.g.times.grace - time.Since(p.missed))
	}
	for {
		select {
		case <-ctx.Done():
		case <-again:
		case <-p.retry:
		case <-vanish:
			p.missed, vanish = time.Time{}, nil
			p.g.offline(p.onion)
			continue
		}
		return
	}
}

// returned does what has to be done when the peer is there again.
func (p *peer) returned() {
	if p.missing {
		p.missing, p.missed = false, time.Time{}
		p.g.probe(p.onion)
	}
}

// looks tells if it is to be found out if the peer is there, and otherwise when.
func (p *peer) looks() (now bool, when <-chan time.Time) {
	if !p.g.contacts.any(p.onion) && !p.g.contacts.missed(p.onion) {
		return false, nil
	}
	wait := time.Until(p.look)
	return wait <= 0, time.After(wait)
}

// end answers what nobody will see to any more. What is in the spool stays there.
func (p *peer) end() {
	p.mu.Lock()
	p.gone = true
	verifies := p.verifies
	p.mu.Unlock()
	for _, v := range verifies {
		v.answer <- v.ask.refuse(stanza.RemoteServerTimeout)
	}
	p.takeOrphan()
	if p.session != nil && p.g.ending() {
		p.g.keepSession(p.session)
	} else {
		p.forgetSession()
	}
	p.bounce(func(it *item) error {
		if it.kept && p.g.ending() {
			return nil
		}
		return errUnreachable()
	})
	p.g.forget(p)
}

// stream finds a stream, and works until it ends. The error is nil if it was of any
// use: a peer that takes connections and no stanzas is not better than one that cannot
// be reached.
func (p *peer) stream(ctx context.Context) error {
	p.takeOrphan()
	st := p.otherThan(nil)
	if st != nil {
		p.joinOf(st, p.session)
	}
	if st != nil && st.session() != nil && st.session() == p.session {
		// What was written by another stream, and broke off, is not settled by going on
		// here; it is by resuming the session.
		if !p.session.settled() {
			st.c.abort()
			p.otherThan(st)
			st = nil
		}
	}
	if st == nil {
		slot, err := p.slot(ctx)
		if err != nil {
			return err
		}
		p.log.Debug("connecting to the peer")
		st, err = p.connect(ctx)
		<-slot
		if err != nil {
			return err
		}
	}
	p.setDown(nil)
	p.returned()
	err := st.pump(ctx, p)
	p.look = time.Now()
	if st.c.d.Closed() || errors.Is(err, errUnused) {
		p.look = p.look.Add(p.g.times.quiet) // it was there a moment ago
	}
	p.log.Debug("stream to the peer ended", "reason", err)
	if errors.Is(err, errDoubted) {
		p.doubted = time.Now()
	}
	if st.wasUseful() && !errors.Is(err, errUnused) {
		return nil
	}
	return err
}

// slot waits for a place among those that connect. Peers that users have written to do
// not wait for those that only strangers have named.
func (p *peer) slot(ctx context.Context) (chan struct{}, error) {
	for {
		if p.otherThan(nil) != nil {
			return nil, errOffered
		}
		p.mu.Lock()
		slots := p.g.strangers
		if len(p.queue) > 0 {
			slots = p.g.dialing
		}
		p.mu.Unlock()
		select {
		case slots <- struct{}{}:
			return slots, nil
		case <-p.wake: // by a user, perhaps
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// hasWork waits for work. It is false when there was none for peerIdle, or at the end.
func (p *peer) hasWork(ctx context.Context) bool {
	idle := time.NewTimer(p.g.times.peerIdle)
	defer idle.Stop()
	for {
		p.takeOrphan()
		open := 0
		if p.session != nil {
			open, _ = p.session.open()
		}
		p.mu.Lock()
		now, later := p.looks()
		work := len(p.queue)+len(p.verifies)+open > 0 || p.offered != nil && p.offered.alive() || now
		if !work {
			p.down = nil // it is tried again before anything is said of it
		}
		p.mu.Unlock()
		if work {
			return ctx.Err() == nil
		}
		select {
		case <-p.wake:
		case <-later:
		case <-ctx.Done():
			return false
		case <-idle.C:
			if later != nil {
				idle.Reset(p.g.times.peerIdle)
				continue
			}
			if p.session != nil && p.session.lostFor() < p.g.times.sessionAge {
				idle.Reset(p.g.times.peerIdle)
				continue
			}
			p.mu.Lock()
			p.gone = len(p.queue)+len(p.verifies) == 0 && p.offered == nil && p.orphan == nil
			gone := p.gone
			p.mu.Unlock()
			if gone {
				return false
			}
		}
	}
}

func (p *peer) setDown(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = err
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
		p.putBack(p.session.takeExpired(&p.g.times))
	}
	p.bounce(func(it *item) error {
		switch {
		case errors.Is(userError(err), errNoSuchServer()), errors.Is(userError(err), errPrivate()):
			return userError(err)
		case !it.expired(&p.g.times):
			return nil
		case it.kept:
			return errExpired(it.since)
		}
		return userError(err)
	})
}

// bounce answers queued items that why gives an error for, and drops them. Presence
// has no answer, and is kept until the peer is back.
func (p *peer) bounce(why func(*item) error) {
	var out []*item
	var errs []error
	p.mu.Lock()
	kept := p.queue[:0:0]
	for _, it := range p.queue {
		if err := why(it); err != nil {
			out, errs = append(out, it), append(errs, err)
			if it.head.Kind == component.Presence && !it.kept && !p.gone {
				p.keepPresence(it)
			}
		} else {
			kept = append(kept, it)
		}
	}
	p.queue = kept
	p.mu.Unlock()
	p.release(out...)
	for i, it := range out {
		if it.head.Kind != component.Presence || it.kept {
			p.g.bounce(&it.head, errs[i])
		}
	}
}

// giveUp answers items that are not in the queue with an error.
func (p *peer) giveUp(items []*item, err error) {
	p.release(items...)
	for _, it := range items {
		p.g.bounce(&it.head, err)
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

// userError is the error that a local user gets for a failure to connect.
func userError(err error) error {
	var socks *SOCKSError
	if errors.As(err, &socks) {
		switch socks.Code {
		case socksBadAddress:
			return errNoSuchServer()
		case socksNoKey, socksBadKey:
			return errPrivate()
		}
	}
	return errUnreachable()
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
