package onionroute

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/allium-xmpp/allium/component"
)

// errSilent ends a stream whose peer does not answer any more.
var errSilent = errors.New("onionroute: the peer does not answer any more")

// errUnused ends a stream that nobody needs.
var errUnused = errors.New("onionroute: not used any more")

// errSwitched ends the use of a stream for that of another.
var errSwitched = errors.New("onionroute: another stream is used")

// pump sends what is for the peer by the stream, until that or ctx ends. What was not
// written goes back to the queue.
func (st *stream) pump(ctx context.Context, p *peer) (err error) {
	p.use(st)
	if st.initiator {
		go st.read()
	}
	defer func() { st.leave(p, err) }()
	// At the end, whatever is being written has to hurry.
	defer context.AfterFunc(ctx, func() { st.c.hurry(time.Now().Add(closeTimeout)) })()
	return st.g.careful(st, func() error { return st.exchange(ctx, p) })
}

// exchange does what is to be done, until the stream or ctx ends.
func (st *stream) exchange(ctx context.Context, p *peer) (err error) {
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
			err = st.kicked(p)
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

// kicked does what follows from what the reader has read.
func (st *stream) kicked(p *peer) error {
	if err := st.changed(p); err != nil {
		return err
	}
	if err := st.switches(); err != nil {
		return err
	}
	return st.askAgain()
}

// canWrite tells if there is something to be written, and a session for it that both
// sides are at.
func (st *stream) canWrite(p *peer) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.ready) > 0 && !st.resuming && st.sess != nil && (st.sess == p.session || !st.sess.resumable())
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
		maps.DeleteFunc(st.asked, func(_ dialback, o *verification) bool { return o.givenUp() })
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

// write writes a batch of what is ready, and asks if it has arrived. What has to be
// kept is in the spool before.
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
	sess.wrote() // and not before: what is acknowledged must not go to the spool after that
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
