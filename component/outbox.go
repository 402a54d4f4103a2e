package component

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"mellium.im/xmpp/stanza"
)

// An outbox keeps stanzas as XML until the host has confirmed them, so that one write
// takes all that came while the last one was under way, and that what was lost with a
// connection is written again on the next. It is bounded in bytes.
//
// Its entries are, from the front: done, in flight, waiting.
//
// What was written without a ping behind it the host can have handled without our knowing,
// and is written again when the connection is lost. So there is a ping behind every few of
// the stanzas that somebody waits for, and behind every write unless there were too many.
type outbox struct {
	limit int
	ping  func(id string) []byte // nil: what is written is confirmed
	pings *rate.Limiter

	mu      sync.Mutex
	buf     []byte // the XML of all entries
	entries []entry

	// How many entries, and octets of buf, are done (confirmed; tidy removes them) and
	// sent (done or in flight). What a failed write cut off is begun, and not sent.
	done, doneBytes int
	sent, sentBytes int
	begun           int

	asked    []mark    // the pings that are under way, in order
	askedFor int       // how many entries were before the last of them
	heardAt  time.Time // when one was answered last
	wroteAt  time.Time // when anything had been written last
	batch    []byte    // what is written with a ping

	later   *time.Timer // for a ping that there were too many for
	trimmer *time.Timer // will give the buffer back

	wake chan struct{} // has a token when there may be something to write
	room chan struct{} // closed when there is room again, nil if nobody waits for that
}

// An entry is a stanza in an outbox.
type entry struct {
	size    int
	taken   func()
	again   bool // is written again when it was not confirmed
	suspect bool // the host may have closed a connection because of it
}

// A mark is a ping that is under way.
type mark struct {
	id      string
	entries int       // how many its answer confirms
	at      time.Time // when it had been written
}

// newEntry is a stanza's entry. Messages and requests for a subscription are what a
// person did, and must not get lost; nor must presence, or who has gone would stay. A request
// (IQ) must not be made twice, nor a room (XEP-0045 §7.2) be entered twice.
func newEntry(s *Stanza) entry {
	again := s.Kind == Message || s.Kind == Presence && s.Type != string(stanza.ProbePresence) && s.Child(NSMUC, "x") == nil
	return entry{taken: s.Taken, again: again}
}

func newOutbox(limit int, ping func(id string) []byte) *outbox {
	return &outbox{limit: limit, ping: ping, pings: rate.NewLimiter(pingRate, pingBurst), wake: make(chan struct{}, 1)}
}

// put appends one stanza. It waits for room until ctx is done, and not longer than
// timeout unless that is 0, and tells if there was room.
func (o *outbox) put(ctx context.Context, xml []byte, e entry, timeout time.Duration) bool {
	wait := patience{timeout: timeout}
	defer wait.stop()
	for {
		o.mu.Lock()
		if o.fits(len(xml)) {
			o.append(xml, e)
			o.mu.Unlock()
			return true
		}
		if !wait.forRoom(ctx, o) {
			return false
		}
	}
}

// squeeze appends one stanza where there is no room, up to as much again as the limit, and tells
// if it did.
func (o *outbox) squeeze(xml []byte, e entry) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf)-o.doneBytes+len(xml) > 2*o.limit {
		return false
	}
	o.append(xml, e)
	return true
}

// append appends one stanza. It is called with mu held.
func (o *outbox) append(xml []byte, e entry) {
	e.size = len(xml)
	o.grow(e.size)
	o.buf = append(o.buf, xml...)
	o.entries = append(o.entries, e)
	o.poke()
}

// putCopies appends copies as put does stanzas, each by itself, and tells how many there
// was room for. The next one is tooLong if it is longer than a stanza may be.
func (o *outbox) putCopies(ctx context.Context, copies []Copy, maxStanza int, timeout time.Duration) (n int, tooLong bool) {
	wait := patience{timeout: timeout}
	defer wait.stop()
	for {
		o.mu.Lock()
		for ; n < len(copies); n++ {
			c := &copies[n]
			size := c.Draft.size(c.To, c.Full)
			if tooLong = size > maxStanza; tooLong || !o.fits(size) {
				break
			}
			o.grow(size)
			o.buf = c.Draft.appendXML(o.buf, c.To, c.Full)
			o.entries = append(o.entries, entry{size: size, again: c.Draft.again})
		}
		if tooLong || n == len(copies) {
			o.mu.Unlock()
			o.poke()
			return n, tooLong
		}
		o.poke()
		if !wait.forRoom(ctx, o) {
			return n, false
		}
	}
}

// grow makes the buffer twice as large when it is too small: append would take many more
// steps, and copy all of it at each. It is called with mu held.
func (o *outbox) grow(size int) {
	if cap(o.buf)-len(o.buf) < size {
		o.buf = slices.Grow(o.buf, max(size, cap(o.buf)))
	}
}

// fits tells if there is room. It is called with mu held.
func (o *outbox) fits(size int) bool {
	used := len(o.buf) - o.doneBytes
	return used == 0 || used+size <= o.limit
}

// patience is how long one waits for room in all; 0 is for ever.
type patience struct {
	timeout time.Duration
	timer   *time.Timer
}

func (p *patience) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// forRoom waits for room, until ctx is done or patience ends, and tells if there may be
// some. It is called with o.mu held, and gives it back.
func (p *patience) forRoom(ctx context.Context, o *outbox) bool {
	if o.room == nil {
		o.room = make(chan struct{})
	}
	room := o.room
	o.mu.Unlock()
	var late <-chan time.Time
	if p.timer == nil && p.timeout > 0 {
		p.timer = time.NewTimer(p.timeout)
	}
	if p.timer != nil {
		late = p.timer.C
	}
	select {
	case <-room:
		return true
	case <-late:
	case <-ctx.Done():
	}
	return false
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// early tells how long the next write has to wait for more to write, if rest is to be
// between two writes, and enough octets do not wait.
func (o *outbox) early(rest time.Duration, enough int) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf)-o.sentBytes >= enough {
		return 0
	}
	return time.Until(o.wroteAt.Add(rest))
}

// flush writes all that waits, and pings behind it, also one that confirms nothing if probe
// asks for it. Only one goroutine may call it. A stanza that was cut off by an error still
// waits: the other side has not seen it.
func (o *outbox) flush(w io.Writer, probe bool) error {
	for {
		more, err := o.flushSome(w, probe)
		if !more || err != nil {
			return err
		}
		probe = false
	}
}

// flushSome writes what one ping is for, and tells if there is more.
func (o *outbox) flushSome(w io.Writer, probe bool) (more bool, err error) {
	o.mu.Lock()
	if o.sent > o.done && o.entries[o.done].suspect {
		o.mu.Unlock()
		return false, nil // it stays alone until it is confirmed
	}
	o.tidy()
	first, start := o.sent, o.sentBytes
	full := o.take()
	o.begun, more = o.sent, o.sent < len(o.entries)
	batch, id := o.buf[start:o.sentBytes], ""
	if o.ping != nil && (probe || o.askedFor < o.sent) && o.mayAsk(probe || full) {
		id = pingID + rand.Text()
		o.batch = append(append(o.batch[:0], batch...), o.ping(id)...)
		batch = o.batch
		o.asked, o.askedFor = append(o.asked, mark{id: id, entries: o.sent}), o.sent
	}
	o.mu.Unlock()
	if len(batch) == 0 {
		return false, nil
	}

	n, err := w.Write(batch)

	o.mu.Lock()
	o.wroteAt = time.Now()
	var told []func()
	switch last := len(o.asked) - 1; {
	case err != nil:
		o.sent, o.sentBytes = first, start
		for o.sent < o.begun && o.sentBytes+o.entries[o.sent].size <= start+n {
			o.sentBytes += o.entries[o.sent].size
			o.sent++
		}
		if o.sent == o.begun {
			break
		}
		o.begun = o.sent
		if o.sentBytes < start+n {
			o.begun++
		}
	case id != "" && last >= 0 && o.asked[last].id == id:
		o.asked[last].at = o.wroteAt
	}
	if err != nil {
		err = fmt.Errorf("component: write to the host: %w", err)
	}
	if o.ping == nil {
		told = o.settle(o.sent)
	}
	if cap(o.batch) > smallBuffer {
		o.batch = nil
	}
	o.mu.Unlock()
	call(told)
	return more, err
}

// take counts as sent what is written next: all that waits, but no more stanzas that
// somebody waits for than are to be in doubt at once, and tells if it is as many. It is
// called with mu held.
func (o *outbox) take() (full bool) {
	waited := 0
	for o.sent < len(o.entries) && waited < pingEvery {
		e := &o.entries[o.sent]
		o.sent, o.sentBytes = o.sent+1, o.sentBytes+e.size
		if e.suspect {
			return true // it is written alone
		}
		if e.taken != nil {
			waited++
		}
	}
	return waited == pingEvery
}

// mayAsk tells if there may be a ping now; if not, flush is woken when there may. One that
// must be counts too, so that there are fewer of the others. It is called with mu held.
func (o *outbox) mayAsk(must bool) bool {
	if must {
		if o.pings.Tokens() > -pingBurst {
			o.pings.Reserve()
		}
		return true
	}
	if o.pings.Allow() {
		return true
	}
	if o.later == nil {
		o.later = time.AfterFunc(time.Second/pingRate, func() {
			o.mu.Lock()
			o.later = nil
			o.mu.Unlock()
			o.poke()
		})
	}
	return false
}

// tidy removes what is done, when that is most of buf. It is called with mu held, and
// by flush alone, since buf must stay where it is while it is written.
func (o *outbox) tidy() {
	if o.done == 0 || 2*o.doneBytes < len(o.buf) {
		return
	}
	n := copy(o.entries, o.entries[o.done:])
	clear(o.entries[n:])
	o.entries = o.entries[:n]
	o.buf = append(o.buf[:0], o.buf[o.doneBytes:]...)
	o.sent, o.sentBytes, o.askedFor = o.sent-o.done, o.sentBytes-o.doneBytes, max(0, o.askedFor-o.done)
	for i := range o.asked {
		o.asked[i].entries -= o.done
	}
	o.done, o.doneBytes = 0, 0
	if n == 0 && cap(o.buf) > smallBuffer && o.trimmer == nil {
		o.trimmer = time.AfterFunc(trimAfter, o.trim)
	}
}

const (
	smallBuffer = 1 << 20 // octets; a larger one is given back
	trimAfter   = time.Second / 2
)

// trim gives a large buffer back after a burst, when nothing is in it. It is not done at
// once: during the burst it would have to grow again and again.
func (o *outbox) trim() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trimmer = nil
	if len(o.entries) == 0 {
		o.buf, o.entries = nil, nil
	}
}
