package onionroute

import (
	"maps"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// An outPair is a pair of domains on a stream.
type outPair struct {
	valid   bool
	asked   time.Time // zero: it has not been asked for, or is to be asked for again
	again   time.Time // not before this
	waiting []*item
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
		if len(st.pairs) >= maxPairs { // what the peer takes can be asked for again
			maps.DeleteFunc(st.pairs, func(_ pair, op *outPair) bool { return op.valid })
		}
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
		st.g.outages.over(st.pairKey(pr))
		st.ready = append(st.ready, op.waiting...)
		op.waiting = nil
		poke(st.kick)
		return st.manageIfOffered()
	}
	st.mu.Unlock()
	answer := "it does not believe us"
	if d.typ == "error" {
		answer = string(known(d.condition))
	}
	st.log.Log(st.ctx, st.g.outages.news(st.pairKey(pr), answer), "peer does not take our stanzas", "answer", answer)
	st.refused(pr, d)
	return nil
}

// pairKey is what the log tells of such a refusal by.
func (st *stream) pairKey(pr pair) string { return st.base + " " + pr.from + " " + pr.to }

// manageIfOffered starts stream management where the peer has it and did not prove
// itself by a chain: then the session ends with the stream. st.mu is held.
func (st *stream) manageIfOffered() error {
	if n := st.openItems(); !st.offersSM || st.managed || n > 0 {
		return nil
	}
	st.sess, st.managed, st.enabling = newSession(st.base, ""), true, true
	st.sess.goOn(st)
	st.sess.start(st.g)
	return st.c.reply(smElement("enable"))
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
		err = errRefused()
	default:
		passes = true
	}
	st.mu.Lock()
	op, p := st.pairs[pr], st.p
	if op == nil || op.valid { // the answer came when it was about to be late
		st.mu.Unlock()
		return
	}
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
