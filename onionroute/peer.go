package onionroute

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/time/rate"
	"mellium.im/xmpp/stanza"
)

// A peer is a remote onion service, with all domains at it. One goroutine, run, sees to
// it that what is for the peer goes by a stream; others put work into its queue.
type peer struct {
	g     *Gateway
	onion string // X.onion
	log   *slog.Logger
	wake  chan struct{} // has a token when there is work
	retry chan struct{} // has a token when there is reason to try again at once

	lived  lived       // when it last sent or took a stanza
	friend atomic.Bool // somebody here has business with it
	since  time.Time

	// Guarded by Gateway.mu:
	parties []string // here, that have business with it
	evicted bool
	rate    *rate.Limiter      // of the stanzas that it sends; does not change once it is one of the peers
	stop    context.CancelFunc // ends run

	// run's own:
	patience time.Duration // with Tor, for one attempt
	failures int           // of Tor to connect
	stale    bool          // it may have started anew, and be elsewhere, since Tor looked where it is
	doubted  time.Time     // when the peer did not believe our chain
	missing  bool          // it could not be reached since it was last heard of
	missed   time.Time     // since then; zero: its users have been taken for off-line
	look     time.Time     // when to look if it is there, for those who are on-line

	answering sync.WaitGroup // calls of overdue, which are not begun when it is gone

	mu       sync.Mutex
	session  *session // that can be resumed; nil if there is none; only run changes it
	queue    []*item
	late     bool        // the queue is about to be stored
	watching *time.Timer // calls overdue at the time due; nil: nothing in the queue is due
	due      time.Time
	presence map[string]*item // the newest for a peer that is away, by from and to
	bytes    int              // cost of the items that are here or in the stream
	answers  int              // cost of those that answer the peer
	verifies []*verification
	down     error     // why the last attempt to connect failed; nil if none did
	refused  time.Time // since when the peer answers attempts by refusals alone; zero: it does not
	gone     bool      // run has ended; the peer must be looked up anew
	returns  bool      // see comeBack

	cur     *stream                 // that items go by
	offered *stream                 // that the peer has opened, to be used next
	newest  time.Time               // those that the peer opened before have been given up by it
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

// givenUp tells if nobody waits for the answer any more.
func (v *verification) givenUp() bool {
	select {
	case <-v.done:
		return true
	default:
		return false
	}
}

// errGone tells that a peer must be looked up anew.
var errGone = errors.New("onionroute: peer is gone")

// verify asks the authoritative server at the peer. The answer is of type error when
// there is none.
func (p *peer) verify(ctx context.Context, ask dialback) (dialback, error) {
	v := &verification{ask: ask, done: ctx.Done(), answer: make(chan dialback, 1)}
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return dialback{}, errGone
	}
	// Who asks can go away again at once, and as often as they like.
	p.verifies = append(slices.DeleteFunc(p.verifies, (*verification).givenUp), v)
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

// run connects while there is work, and ends when there has been none for a while.
func (p *peer) run(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.RandomizationFactor = p.g.times.retryMin, p.g.times.retryMax, 0.3
	p.mu.Lock()
	p.watch(p.queue...)
	p.mu.Unlock()
	for p.hasWork(ctx) {
		returns := p.comesBack(false)
		err := p.stream(ctx)
		if returns && errors.Is(err, ErrTorDown) {
			p.comesBack(true) // there was nothing to do it by
		}
		if errors.Is(err, errUnused) || errors.Is(err, errSwitched) || errors.Is(err, errOffered) {
			continue
		}
		p.stale = p.stale || !errors.Is(err, ErrTorDown)
		if err == nil { // it was of use
			pause.Reset()
		} else if ctx.Err() == nil {
			p.weigh(err)
			p.setDown(err)
			p.tellDown(err)
			p.fail(err)
			wait := pause.NextBackOff()
			if isRefusal(err) {
				wait = p.g.times.retryMax
			}
			p.pause(ctx, wait)
		}
		if ctx.Err() != nil {
			break
		}
	}
	p.end()
}

// pause waits until it is time to try again, which is sooner when somebody writes to the
// peer: they may know that it is back. Those at a peer that is away for longer than
// the time of grace go off-line here.
func (p *peer) pause(ctx context.Context, d time.Duration) {
	if !p.missing {
		p.missing, p.missed = true, time.Now()
	}
	began := time.Now()
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
		case <-p.wake:
			if sooner := p.g.times.talk; sooner < d {
				d, again = sooner, time.After(time.Until(began.Add(sooner)))
			}
			continue
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
	if p.missing || p.g.contacts.missed(p.onion) {
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
	for key := range p.presence {
		p.dropPresence(key)
	}
	verifies := p.verifies
	p.mu.Unlock()
	p.unwatch()
	for _, v := range verifies {
		v.answer <- v.ask.refuse(stanza.RemoteServerTimeout)
	}
	p.takeOrphan()
	why := errUnreachable()
	if p.wasEvicted() {
		why = errTooMuch()
		p.turnAway()
	}
	if p.session != nil && p.g.ending() {
		p.g.keepSession(p.session)
	} else {
		p.forgetSession()
	}
	p.bounce(func(it *item) error {
		if it.kept && p.g.ending() {
			return nil
		}
		return why
	})
	p.g.forget(p)
}

// stream finds a stream, and works until it ends. The error is nil if it was of any
// use: a peer that takes connections and no stanzas is not better than one that cannot
// be reached.
func (p *peer) stream(ctx context.Context) error {
	st := p.otherThan(nil)
	p.takeOrphan() // the stream may be to resume it
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
		turn, err := p.turn(ctx)
		if err != nil {
			return err
		}
		p.log.Debug("connecting to the peer")
		st, err = p.connect(ctx)
		p.g.dialing.leave(turn)
		if err != nil {
			return err
		}
	}
	p.setDown(nil)
	p.returned()
	if !st.initiator {
		p.reached()
	}
	err := st.pump(ctx, p)
	if r := new(refusal); errors.As(st.err, &r) {
		err = r // and not that nothing could be written any more
	}
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

// turn waits for its turn among those that connect.
func (p *peer) turn(ctx context.Context) (*turn, error) {
	for {
		if p.otherThan(nil) != nil {
			return nil, errOffered
		}
		parties := p.partiesNow()
		t := p.g.dialing.ask(parties)
		for waits := true; waits; {
			select {
			case <-t.granted:
				return t, nil
			case <-p.wake: // by somebody else, perhaps
				waits = slices.Equal(parties, p.partiesNow()) && p.otherThan(nil) == nil
			case <-ctx.Done():
				p.g.dialing.leave(t)
				return nil, ctx.Err()
			}
		}
		p.g.dialing.leave(t)
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
		work := len(p.queue)+len(p.presence)+len(p.verifies)+open > 0 || p.offered != nil && p.offered.alive() || now || p.returns
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
			if p.session != nil && !p.session.tooOld(&p.g.times) {
				idle.Reset(p.g.times.peerIdle)
				continue
			}
			p.mu.Lock()
			p.gone = len(p.queue)+len(p.presence)+len(p.verifies) == 0 && p.offered == nil && p.orphan == nil
			gone := p.gone
			p.mu.Unlock()
			if gone {
				return false
			}
		}
	}
}

// comeBack makes us connect to the peer if it knows us: it could not do so, and may have
// something for us.
func (p *peer) comeBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.returns = p.session != nil && !p.session.tooOld(&p.g.times) && p.g.peerAllowed(p.onion) == nil
}

// comesBack tells if that is to be done, and notes if it is from now on.
func (p *peer) comesBack(next bool) (now bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, p.returns = p.returns, next
	return now
}

func (p *peer) setDown(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = err
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
