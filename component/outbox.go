package component

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"mellium.im/xmpp/stanza"
)

// An outbox keeps stanzas as XML until the host has confirmed them, so that one write
// takes all that came while the last one was under way, and that what was lost with a
// connection is written again on the next. It is bounded in bytes.
//
// Its entries are, from the front: done, in flight, waiting. A ping is an entry too.
type outbox struct {
	limit int
	ping  func(id string) []byte // nil: what is written is confirmed
	rest  time.Duration          // from the answer to a ping to the next one

	mu      sync.Mutex
	buf     []byte // the XML of all entries
	entries []entry

	// How many entries, and octets of buf, are done (confirmed; tidy removes them) and
	// sent (done or in flight). What a failed write cut off is begun, and not sent.
	done, doneBytes int
	sent, sentBytes int
	begun           int

	pingID  string    // of the ping under way, "" if there is none
	asked   int       // how many entries its answer confirms
	askedAt time.Time // when it had been written
	wroteAt time.Time // when anything had been written last
	rested  time.Time // when the next one may be

	trimmer *time.Timer // will give the buffer back

	wake chan struct{} // has a token when there may be something to write
	room chan struct{} // closed when there is room again, nil if nobody waits for that
}

// An entry is a stanza in an outbox.
type entry struct {
	size    int
	taken   func()
	again   bool // is written again when it was not confirmed
	ping    bool
	suspect bool // the host may have closed a connection because of it
}

// newEntry is a stanza's entry. Messages and requests for a subscription are what a
// person did, and must not get lost; a request (IQ) must not be made twice, and other
// presence is out of date by then.
func newEntry(s *Stanza) entry {
	e := entry{taken: s.Taken, again: s.Kind == Message}
	if s.Kind == Presence {
		switch stanza.PresenceType(s.Type) {
		case stanza.SubscribePresence, stanza.SubscribedPresence, stanza.UnsubscribePresence, stanza.UnsubscribedPresence:
			e.again = true
		}
	}
	return e
}

func newOutbox(limit int, ping func(id string) []byte) *outbox {
	return &outbox{limit: limit, ping: ping, wake: make(chan struct{}, 1)}
}

// put appends one stanza. It waits for room until ctx is done, and not longer than
// timeout unless that is 0, and tells if there was room.
func (o *outbox) put(ctx context.Context, xml []byte, e entry, timeout time.Duration) bool {
	e.size = len(xml)
	wait := patience{timeout: timeout}
	defer wait.stop()
	for {
		o.mu.Lock()
		if o.fits(e.size) {
			o.buf = append(o.buf, xml...)
			o.entries = append(o.entries, e)
			o.mu.Unlock()
			o.poke()
			return true
		}
		if !wait.forRoom(ctx, o) {
			return false
		}
	}
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

// flush writes all that waits, and behind it a ping, when none is under way and there is
// something to confirm, or probe asks for one. Only one goroutine may call it. A stanza
// that was cut off by an error still waits: the other side has not seen it.
func (o *outbox) flush(w io.Writer, probe bool) error {
	o.mu.Lock()
	if o.sent > o.done && o.entries[o.done].suspect {
		o.mu.Unlock()
		return nil // it stays alone until it is confirmed
	}
	o.tidy()
	first, start := o.sent, o.sentBytes
	o.sent, o.sentBytes = len(o.entries), len(o.buf)
	if first < o.sent && o.entries[first].suspect {
		o.sent, o.sentBytes = first+1, start+o.entries[first].size
	}
	id := ""
	rests := time.Until(o.rested) > 0 && !(first < o.sent && o.entries[first].suspect)
	if o.ping != nil && o.pingID == "" && (probe || o.sent > o.done && !rests) {
		id = pingID + rand.Text()
		ping := o.ping(id)
		o.buf = slices.Insert(o.buf, o.sentBytes, ping...)
		o.entries = slices.Insert(o.entries, o.sent, entry{size: len(ping), ping: true})
		o.sent, o.sentBytes = o.sent+1, o.sentBytes+len(ping)
		o.pingID, o.asked, o.askedAt = id, o.sent, time.Time{}
	}
	o.begun = o.sent
	batch := o.buf[start:o.sentBytes]
	o.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}

	n, err := w.Write(batch)

	o.mu.Lock()
	o.wroteAt = time.Now()
	var told []func()
	switch {
	case err != nil:
		o.sent, o.sentBytes = first, start
		for o.sent < o.begun && o.sentBytes+o.entries[o.sent].size <= start+n {
			o.sentBytes += o.entries[o.sent].size
			o.sent++
		}
		o.begun = o.sent
		if o.sentBytes < start+n {
			o.begun++
		}
		err = fmt.Errorf("component: write to the host: %w", err)
	case id != "" && id == o.pingID:
		o.askedAt = o.wroteAt
	}
	if o.ping == nil {
		told = o.settle(o.sent)
	}
	o.mu.Unlock()
	call(told)
	return err
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
	o.sent, o.sentBytes, o.asked = o.sent-o.done, o.sentBytes-o.doneBytes, o.asked-o.done
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
