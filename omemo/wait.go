package omemo

import (
	"context"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Limits of what is asked at a time. The keys of a room of fifty, with three devices each,
// are two hundred questions.
const (
	maxAsked      = 16_384 // on one side
	maxAskedByOne = 1024   // by one person
	maxAskedByUs  = 2048
)

// ask sends a question on to the owner's server. Its answer is told from others by the id,
// which nobody else knows.
func (d *Directory) ask(ctx context.Context, q *question, s *component.Stanza) error {
	key := newID()
	if !d.expect(key, q) {
		return component.NewError(stanza.Wait, stanza.ResourceConstraint, "Too many keys are being asked for already.")
	}
	id, from := s.ID, s.From
	s.ID, s.From = key, q.from
	err := d.ways[q.at](ctx, s)
	if err == nil {
		d.wait(key, q) // and not before: who may not ask gets nothing of what is kept either
		return nil
	}
	s.ID, s.From = id, from
	if !d.forget(key) { // it was answered meanwhile
		end(s)
		return nil
	}
	if q.head == nil {
		return err
	}
	if !isAway(err) {
		if d.claim(q) {
			return err
		}
		end(s)
		return nil
	}
	d.serve(q, d.o.MaxAge, q.head.Error(err), func() {})
	end(s)
	return nil
}

// expect makes the directory know the answer to q. It is false if it waits for too many
// already.
func (d *Directory) expect(key string, q *question) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	who, most := q.asker(), maxAskedByOne
	if q.head == nil {
		most = maxAskedByUs
	}
	if q.head == nil && d.counts[who] >= most {
		d.forgetOwn()
	}
	if d.closed || d.sides[q.at] >= maxAsked || d.counts[who] >= most {
		return false
	}
	d.asked[key] = q
	d.counts[who]++
	d.sides[q.at]++
	return true
}

// wait lets the time run for an answer.
func (d *Directory) wait(key string, q *question) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked[key] == q && !d.closed {
		q.timer = time.AfterFunc(d.patience(q), func() { d.impatient(key, q) })
	}
}

// silence is for how long nobody waits for an owner of whom nothing was heard: who asks for
// all the keys of somebody whose server has vanished waits once.
const silence = time.Minute

// patience is how long to wait for the answer to q. d.mu is held.
func (d *Directory) patience(q *question) time.Duration {
	if since, ok := d.silent.Get(q.owner.String()); ok && time.Since(since) < silence {
		return 0
	}
	return d.o.Patience
}

// asker is who it counts against.
func (q *question) asker() string {
	if q.head == nil {
		return ""
	}
	return q.head.From.Bare().String()
}

// forget ends the wait for an answer. It is false if it had ended.
func (d *Directory) forget(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.asked[key]
	if q == nil {
		return false
	}
	d.remove(key, q)
	return true
}

// remove is forget with d.mu held.
func (d *Directory) remove(key string, q *question) {
	if q.timer != nil {
		q.timer.Stop()
	}
	delete(d.asked, key)
	d.sides[q.at]--
	if d.counts[q.asker()]--; d.counts[q.asker()] == 0 {
		delete(d.counts, q.asker())
	}
}

// forgetOwn forgets one of the bundles that the directory asks peers for, any one, so that
// those who make up users and answer nothing do not keep it from asking others. d.mu is held.
func (d *Directory) forgetOwn() {
	for key, q := range d.asked {
		if q.head == nil && !q.listens {
			d.remove(key, q)
			return
		}
	}
}

// claim is true once for each question that somebody waits for: for who answers it.
func (d *Directory) claim(q *question) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := !q.done && q.head != nil
	q.done = true
	return first
}

// impatient answers a question with what is kept. If there is nothing, and if the answer
// comes after all, that is still good.
func (d *Directory) impatient(key string, q *question) {
	d.mu.Lock()
	waits := d.asked[key] == q && !d.closed
	if waits {
		q.timer = time.AfterFunc(d.expire, func() { d.giveUp(key, q) })
		if since, known := d.silent.Get(q.owner.String()); !known || time.Since(since) >= silence {
			d.silent.Add(q.owner.String(), time.Now())
		}
	}
	d.mu.Unlock()
	if waits && q.head != nil {
		d.serve(q, d.o.MaxAge, nil, func() {})
	}
}

func (d *Directory) giveUp(key string, q *question) {
	if d.forget(key) && d.claim(q) {
		d.later(q.at.other(), q.head.Error(component.NewError(stanza.Wait, stanza.RemoteServerTimeout, "The contact's server does not answer.")))
	}
}

// serve answers a question with what is kept of at most that age, or, if there is nothing,
// otherwise, if that is not nil. found is called if there is something.
func (d *Directory) serve(q *question, age time.Duration, otherwise *component.Stanza, found func()) {
	answer := func(r *component.Stanza) {
		if r != nil && d.claim(q) {
			d.later(q.at.other(), r)
		}
	}
	queued := d.store.serve(q, time.Now().Add(-age), func(kept []find) {
		if len(kept) > 0 {
			otherwise = q.result(kept)
			found()
		}
		answer(otherwise)
	})
	if !queued {
		answer(otherwise)
	}
}
