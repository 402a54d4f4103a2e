package onionroute

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// An outbound is a stream that we opened to a peer: as the initiating server of
// XEP-0220 (§2.1.1) for our stanzas, and as the receiving one (§2.1.2) when we have a
// key to verify.
type outbound struct {
	p     *peer
	c     *conn
	id    string // of the peer's response header
	pairs map[pair]*outPair
	asked map[dialback]*verification // by from, to and id
	heard time.Time
	used  time.Time

	useful  bool    // a question was answered, or a stanza taken
	ready   []*item // to be written
	unacked []*item // written, and not known to have been read by the peer
	probe   string  // id of a verification that only asks for an answer; see ask
	probed  time.Time
	wrote   time.Time     // when the last write was done
	covers  int           // so many of unacked were written before it
	slowest time.Duration // answer to a probe
}

// errSilent ends a stream whose peer does not answer any more.
var errSilent = errors.New("onionroute: the peer does not answer any more")

// errUnused ends a stream that nobody needs.
var errUnused = errors.New("onionroute: not used any more")

// An outPair is a pair of domains on a stream.
type outPair struct {
	valid   bool
	asked   time.Time // zero: it has not been asked for, or is to be asked for again
	again   time.Time // not before this
	waiting []*item
}

// connect opens a stream: it may be used for verifications, and for pairs of domains
// that dialback succeeds for.
func (p *peer) connect(ctx context.Context) (*outbound, error) {
	dialing, cancel := context.WithTimeout(ctx, p.patience)
	// To each peer by circuits of its own, so that peers cannot tell from these that
	// they talk to the same machine.
	raw, err := p.g.dialer.Dial(dialing, p.onion, portServer, fmt.Sprintf("%s %s %d", p.g.m.Identity, p.onion, p.failures))
	cancel()
	if err != nil {
		p.failures++ // and not by a circuit that is on its way to where the peer was
		p.patience = min(2*p.patience, p.g.times.dialMax)
		return nil, err
	}
	ctx, cancel = context.WithTimeout(ctx, p.g.times.negotiate)
	defer cancel()
	c := newConn(raw, p.g.c.Unauthenticated)
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	o := &outbound{p: p, c: c, pairs: map[pair]*outPair{}, asked: map[dialback]*verification{}}
	if err := o.negotiate(); err != nil {
		c.end(err)
		if ctx.Err() != nil {
			err = fmt.Errorf("onionroute: no stream within %v: %w", p.g.times.negotiate, err)
		}
		return nil, err
	}
	p.patience = p.g.times.redial
	p.log.Debug("stream to the peer", "tls", c.secure)
	return o, nil
}

// negotiate opens the stream, with TLS if the peer has it.
func (o *outbound) negotiate() error {
	for {
		if err := o.c.writeHeader(header{from: o.p.g.m.Identity, to: o.p.g.m.Name(o.p.onion)}); err != nil {
			return err
		}
		h, err := o.c.readHeader()
		if err != nil {
			return err
		}
		o.id = h.id
		if !h.version {
			return nil // before RFC 3920 there were no features
		}
		features, err := o.next()
		if err != nil {
			return err
		}
		if !features.Is(component.NSStream, "features") {
			return component.NewStreamError(stream.BadFormat, "no features")
		}
		if o.c.secure || features.Child(nsTLS, "starttls") == nil {
			return nil
		}
		if err := o.c.send(component.NewElement(nsTLS, "starttls")); err != nil {
			return err
		}
		proceed, err := o.next()
		if err != nil {
			return err
		}
		if !proceed.Is(nsTLS, "proceed") {
			return errors.New("onionroute: the peer refused TLS")
		}
		if err := o.c.startTLS(clientTLS(o.p.g.tls, o.p.g.m.Name(o.p.onion))); err != nil {
			return err
		}
	}
}

// next reads an element; a stream error is an error.
func (o *outbound) next() (*component.Element, error) {
	e, err := o.c.d.Next()
	if err == nil && e.Is(component.NSStream, "error") {
		return nil, fmt.Errorf("onionroute: from the peer: %w", component.ParseStreamError(e))
	}
	return e, err
}

// run works until the stream or ctx ends. What was not written goes back to the
// queue.
func (o *outbound) run(ctx context.Context) (err error) {
	o.heard, o.used = time.Now(), time.Now()
	in := make(chan *component.Element)
	ended := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			e, err := o.next()
			if err != nil {
				ended <- err
				return
			}
			select {
			case in <- e:
			case <-stop:
				return
			}
		}
	}()
	defer func() {
		close(stop)
		o.c.end(err)
		o.giveBack()
	}()
	// At the end, whatever is being written has to hurry.
	defer context.AfterFunc(ctx, func() { o.c.hurry(time.Now().Add(closeTimeout)) })()
	tick := time.NewTicker(o.p.g.times.tick)
	defer tick.Stop()
	now := make(chan struct{})
	close(now)
	poke(o.p.wake)
	for {
		var writable chan struct{}
		if len(o.ready) > 0 {
			writable = now
		}
		select {
		case <-ctx.Done():
			return o.finish(in, ended)
		case err := <-ended:
			return err
		case e := <-in:
			if err := o.take(e); err != nil {
				return err
			}
		case <-o.p.wake:
			if err := o.work(); err != nil {
				return err
			}
		case <-writable:
			if err := o.write(); err != nil {
				return err
			}
		case <-tick.C:
			select {
			case e := <-in: // what has come counts before what has not
				if err := o.take(e); err != nil {
					return err
				}
			default:
				if err := o.check(); err != nil {
					return err
				}
			}
		}
	}
}

// work sends what is queued.
func (o *outbound) work() error {
	items, verifies := o.p.take()
	for i, v := range verifies {
		o.asked[dialback{from: v.ask.from, to: v.ask.to, id: v.ask.id}] = v
		v.sent = time.Now()
		if err := o.c.send(v.ask.element()); err != nil {
			o.p.putBack(items, verifies[i+1:]...)
			return err
		}
		o.used = time.Now()
	}
	for i, it := range items {
		op := o.pairs[it.pair]
		if op == nil {
			op = &outPair{}
			o.pairs[it.pair] = op
		}
		if op.valid {
			o.ready = append(o.ready, it)
			continue
		}
		op.waiting = append(op.waiting, it)
		if op.asked.IsZero() && op.again.IsZero() {
			if err := o.authorize(it.pair, op); err != nil {
				o.p.putBack(items[i+1:])
				return err
			}
		}
	}
	return nil
}

// authorize asks the peer to take stanzas for the pair.
func (o *outbound) authorize(pr pair, op *outPair) error {
	op.asked = time.Now()
	o.used = op.asked
	return o.c.send(dialback{name: "result", from: pr.from, to: pr.to,
		key: o.p.g.secret.key(pr.to, pr.from, o.id)}.element())
}

// write writes a batch of what is ready, and asks if it has arrived.
func (o *outbound) write() error {
	var batch []byte
	n := 0
	for n < len(o.ready) && (n == 0 || len(batch)+len(o.ready[n].xml) <= batchBytes) {
		batch = append(batch, o.ready[n].xml...)
		n++
	}
	o.unacked = append(o.unacked, o.ready[:n]...)
	o.ready = o.ready[n:]
	if err := o.c.write(batch); err != nil {
		return err
	}
	o.used = time.Now()
	o.wrote = o.used
	if o.probe == "" {
		return o.ask()
	}
	return nil
}

// ask asks the peer to verify a key that is none. A server has to answer that it is
// invalid (XEP-0220 §2.2.2), on this very stream, and handles what comes by a stream
// in order: so the answer says that all that was written before has arrived. No other
// question can be asked of every server on a stream that is for one direction.
func (o *outbound) ask() error {
	o.probe, o.probed, o.covers = streamID(), time.Now(), len(o.unacked)
	return o.c.send(dialback{name: "verify", from: o.p.g.m.Identity, to: o.p.g.m.Name(o.p.onion), id: o.probe, key: rand.Text()}.element())
}

// answered takes note that what the probe covers has arrived.
func (o *outbound) answered() error {
	o.useful = o.useful || o.covers > 0
	o.p.release(o.unacked[:o.covers]...)
	o.unacked = append(o.unacked[:0:0], o.unacked[o.covers:]...)
	o.probe, o.slowest = "", max(o.slowest, time.Since(o.probed))
	if len(o.unacked) > 0 {
		return o.ask()
	}
	return nil
}

// take handles an element from the peer. Without bidi (XEP-0288) these are answers to
// dialback elements only.
func (o *outbound) take(e *component.Element) error {
	o.heard = time.Now()
	d := parseDialback(e)
	switch {
	case isDialback(e, "verify") && d.typ != "":
		if d.id == o.probe && o.probe != "" {
			return o.answered()
		}
		// Only what was asked on this stream, which leads to the authoritative server
		// and nobody else, is an answer (XEP-0220 §2.1.2).
		k := dialback{from: d.to, to: d.from, id: d.id}
		if v := o.asked[k]; v != nil {
			delete(o.asked, k)
			v.answer <- d
			o.useful = true
		}
		return nil
	case isDialback(e, "result") && d.typ != "":
		op := o.pairs[pair{d.to, d.from}]
		if op == nil || op.valid || op.asked.IsZero() {
			return nil
		}
		if d.typ == "valid" {
			op.valid = true
			o.p.log.Debug("peer takes our stanzas", "from", d.to)
			o.ready = append(o.ready, op.waiting...)
			op.waiting = nil
			return nil
		}
		o.p.log.Info("peer does not take our stanzas", "answer", d.typ, "condition", d.condition)
		o.refused(pair{d.to, d.from}, op, d)
		return nil
	case isStanzaName(e.Name):
		return component.NewStreamError(stream.NotAuthorized, "stanza on a stream that is ours alone")
	case e.Is(component.NSStream, "features"):
		return nil // sent again by some after dialback
	}
	return component.NewStreamError(stream.UnsupportedStanzaType, e.Name.Local)
}

// refused handles an answer other than valid. That the peer could not ask us, because
// it did not find its way back by Tor, can be another time.
func (o *outbound) refused(pr pair, op *outPair, d dialback) {
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
	var keep, bounce []*item
	for _, it := range op.waiting {
		if passes && keeps(&it.head) && time.Since(it.since) < o.p.g.times.hold {
			keep = append(keep, it)
		} else {
			bounce = append(bounce, it)
		}
	}
	o.p.release(bounce...)
	for _, it := range bounce {
		o.p.g.bounce(&it.head, err)
	}
	op.waiting, op.asked, op.again = keep, time.Time{}, time.Now().Add(o.p.g.times.retryMin)
	if len(keep) == 0 {
		delete(o.pairs, pr)
	}
}

// check is called from time to time: a stream that does not answer any more must not
// be taken for one that works, as Tor notices a dead circuit late or never.
func (o *outbound) check() error {
	now, t := time.Now(), &o.p.g.times
	for pr, op := range o.pairs {
		switch {
		case op.valid:
		case !op.asked.IsZero() && now.Sub(op.asked) > t.dialback:
			o.refused(pr, op, dialback{typ: "error", condition: stanza.RemoteServerTimeout})
		case op.asked.IsZero() && now.After(op.again):
			if err := o.authorize(pr, op); err != nil {
				return err
			}
		}
	}
	late := now.Add(-t.answerMax)
	if o.slowest > 0 {
		late = now.Add(-min(max(10*o.slowest, t.answerMin), t.answerMax))
	}
	// What was heard or written meanwhile is a sign of life too.
	if o.heard.Before(late) && o.wrote.Before(late) {
		for _, v := range o.asked {
			if v.sent.Before(late) {
				return errSilent
			}
		}
		if o.probe != "" && o.probed.Before(late) {
			return errSilent
		}
	}
	switch {
	case o.probe == "" && now.Sub(o.heard) > t.quiet:
		return o.ask()
	case now.Sub(o.used) > t.streamIdle && len(o.asked) == 0 && len(o.unacked) == 0:
		return errUnused
	}
	return nil
}

// finish writes what is queued and closes the stream, at the end of the program.
func (o *outbound) finish(in <-chan *component.Element, ended <-chan error) error {
	if err := o.work(); err != nil {
		return err
	}
	for len(o.ready) > 0 {
		if err := o.write(); err != nil {
			return err
		}
	}
	if err := o.c.finish(nil); err != nil {
		return err
	}
	for timeout := time.After(closeTimeout); ; {
		select {
		case <-in: // the end of the stream says more
		case <-ended: // the peer has read all of it
			o.p.release(o.unacked...)
			o.unacked, o.useful = nil, true
			return context.Canceled
		case <-timeout:
			return context.Canceled
		}
	}
}

// giveBack returns to the queue what was not written, and what may not have arrived
// and is better to arrive twice than not at all. Requests are not made twice: they are
// answered here. What the peer refused several times is what ends its streams.
func (o *outbound) giveBack() {
	var again, lost []*item
	for _, it := range o.unacked {
		if it.tries++; it.tries < maxTries && it.head.Kind != component.IQ {
			again = append(again, it)
		} else {
			lost = append(lost, it)
		}
	}
	for _, op := range o.pairs {
		o.p.putBack(op.waiting)
	}
	o.p.putBack(append(again, o.ready...), slices.Collect(maps.Values(o.asked))...)
	o.p.release(lost...)
	for _, it := range lost {
		o.p.g.bounce(&it.head, errUnreachable())
	}
}
