package onionroute

import (
	"crypto/rand"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

func (st *stream) wasUseful() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.useful
}

func (st *stream) openItems() int {
	if st.sess == nil {
		return 0
	}
	n, _ := st.sess.open()
	return n
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

// askAgain asks about what was written while the last question was under way.
func (st *stream) askAgain() error {
	st.mu.Lock()
	again := !st.managed && st.probe == "" && st.openItems() > 0
	st.mu.Unlock()
	if !again {
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
	if len(items) > 0 { // else there may be no p, as where nothing is written by the stream
		p.lived.now()
		p.reached()
		p.release(items...)
	}
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
	if st.sess != nil { // an answer to little tells nothing of how long much takes
		late = late.Add(-time.Duration(st.sess.octets()) * time.Second / slowLink)
	}
	// What was heard or written meanwhile is a sign of life too. And when the host lets us wait, we
	// do not hear the peer: who can resume the session loses nothing by another stream, others do.
	if !st.heard.Before(late) || !st.wrote.Before(late) || st.handling && !st.trusted {
		return false
	}
	for _, v := range st.asked {
		if v.sent.Before(late) {
			return true
		}
	}
	return st.probe != "" && st.probed.Before(late) || (st.resuming || st.enabling) && st.since.Before(late)
}
