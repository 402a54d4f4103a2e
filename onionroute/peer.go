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

// A peer is a remote onion service, with all domains at it. One goroutine, run, owns
// its outbound stream; others put work into its queue.
type peer struct {
	g     *Gateway
	onion string // X.onion
	log   *slog.Logger
	wake  chan struct{} // has a token when there is work
	retry chan struct{} // has a token when there is reason to try again at once

	patience time.Duration // with Tor, for one attempt; run's own
	failures int           // of Tor to connect; run's own

	mu       sync.Mutex
	queue    []*item
	bytes    int // cost of the items that are here or in the stream
	answers  int // cost of those that answer the peer
	verifies []*verification
	down     error // why the last attempt to connect failed; nil if none did
	gone     bool  // run has ended; the peer must be looked up anew
}

// A pair is a pair of onion-side domains that stanzas go between (XEP-0220 §1.3).
type pair struct{ from, to string }

// An item is a stanza on its way to a peer.
type item struct {
	head   component.Stanza // without nodes, host side: to answer it with an error
	pair   pair
	xml    []byte
	since  time.Time
	answer bool // it answers the peer
	tries  int  // how often it was written, and not acknowledged
}

// cost is what an item takes of the memory for what waits.
func (it *item) cost() int { return len(it.xml) + itemBytes }

// A verification is a question to the authoritative server (XEP-0220 §2.1.2).
type verification struct {
	ask    dialback
	done   <-chan struct{} // closed when nobody waits for the answer any more
	answer chan dialback   // has room for one
	sent   time.Time       // the outbound stream's own
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

func errNoSuchServer() error {
	return component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, "This is not the address of an onion service.")
}

func errTooMuch() error {
	return component.NewError(stanza.Wait, stanza.ResourceConstraint, "Too much is waiting for this server already.")
}

// send queues an item. The error, if it is not errGone, is for its sender.
func (p *peer) send(it *item) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return errGone
	case p.down != nil && !keeps(&it.head):
		// What is of this moment is not kept for a peer that is known to be away.
		if it.head.Kind == component.Presence {
			return nil
		}
		return userError(p.down)
	case it.answer:
		// A peer that asks and does not read the answers harms itself alone.
		if p.answers += it.cost(); p.answers > maxAnswers {
			p.answers -= it.cost()
			return nil
		}
	case p.bytes+it.cost() > p.g.c.QueueBytes, !p.g.reserve(it.cost()):
		return errTooMuch()
	default:
		p.bytes += it.cost()
	}
	p.queue = append(p.queue, it)
	poke(p.wake)
	return nil
}

// keeps tells what is worth to wait for a peer that is away: what a person wrote, and
// requests for subscription.
func keeps(s *component.Stanza) bool {
	switch s.Kind {
	case component.Message:
		return s.Type != "error"
	case component.Presence:
		switch stanza.PresenceType(s.Type) {
		case stanza.SubscribePresence, stanza.SubscribedPresence, stanza.UnsubscribePresence, stanza.UnsubscribedPresence:
			return true
		}
	}
	return false
}

// release gives back the memory of items that are done.
func (p *peer) release(items ...*item) {
	n, answers := 0, 0
	for _, it := range items {
		if it.answer {
			answers += it.cost()
		} else {
			n += it.cost()
		}
	}
	p.mu.Lock()
	p.bytes -= n
	p.answers -= answers
	p.mu.Unlock()
	p.g.reserve(-n)
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

// run connects while there is work, and ends when there has been none for a while.
func (p *peer) run(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.RandomizationFactor = p.g.times.retryMin, p.g.times.retryMax, 0.3
	for p.hasWork(ctx) {
		err := p.stream(ctx)
		if errors.Is(err, errUnused) {
			continue
		} else if err == nil { // it was of use
			pause.Reset()
		} else if ctx.Err() == nil {
			p.setDown(err)
			p.log.Info("peer cannot be reached", "reason", err)
			p.fail(err)
			select {
			case <-ctx.Done():
			case <-time.After(pause.NextBackOff()):
			case <-p.retry:
			}
		}
		if ctx.Err() != nil {
			break
		}
		if !errors.Is(err, ErrTorDown) {
			found := p.g.dialer.Refresh(ctx, p.onion)
			p.log.Debug("asked Tor for the peer's descriptor", "found", found)
		}
	}
	p.mu.Lock()
	p.gone = true
	verifies := p.verifies
	p.mu.Unlock()
	for _, v := range verifies {
		v.answer <- v.ask.refuse(stanza.RemoteServerTimeout)
	}
	p.bounce(errUnreachable(), func(*item) bool { return true })
	p.g.forget(p)
}

// stream connects, and works until the stream ends. The error is nil if it was of any
// use: a peer that takes connections and no stanzas is not better than one that cannot
// be reached.
func (p *peer) stream(ctx context.Context) error {
	slot, err := p.slot(ctx)
	if err != nil {
		return err
	}
	p.log.Debug("connecting to the peer")
	st, err := p.connect(ctx)
	<-slot
	if err != nil {
		return err
	}
	p.setDown(nil)
	err = st.run(ctx)
	p.log.Debug("stream to the peer ended", "reason", err)
	if st.useful && !errors.Is(err, errUnused) {
		return nil
	}
	return err
}

// slot waits for a place among those that connect. Peers that users have written to do
// not wait for those that only strangers have named.
func (p *peer) slot(ctx context.Context) (chan struct{}, error) {
	for {
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
		p.mu.Lock()
		work := len(p.queue)+len(p.verifies) > 0
		if !work {
			p.down = nil // it is tried again before anything is said of it
		}
		p.mu.Unlock()
		if work {
			return ctx.Err() == nil
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
			return false
		case <-idle.C:
			p.mu.Lock()
			p.gone = len(p.queue)+len(p.verifies) == 0
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
	p.bounce(userError(err), func(it *item) bool {
		return !keeps(&it.head) || time.Since(it.since) > p.g.times.hold ||
			errors.Is(userError(err), errNoSuchServer()) || errors.Is(userError(err), errPrivate())
	})
}

// bounce answers queued items that done chooses with an error, and drops them.
func (p *peer) bounce(err error, done func(*item) bool) {
	var out []*item
	p.mu.Lock()
	kept := p.queue[:0:0]
	for _, it := range p.queue {
		if done(it) {
			out = append(out, it)
		} else {
			kept = append(kept, it)
		}
	}
	p.queue = kept
	p.mu.Unlock()
	p.release(out...)
	for _, it := range out {
		p.g.bounce(&it.head, err)
	}
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
