package muc

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// An actor is a room that is in memory, with what waits for it. A goroutine runs it while
// something does; only that goroutine touches the room.
type actor struct {
	sv   *Service
	addr jid.JID
	room *room // nil until it is loaded

	mu      sync.Mutex
	queue   []event
	weight  int // of the stanzas in it
	running bool
	ended   bool // nothing is taken any more; a new actor may be made
	insiders

	doing doing // what is being handled

	busy      atomic.Int64 // when it last had something to do, Unix seconds
	occupants atomic.Int32
	pending   atomic.Int32 // jobs that the store has not done yet
	reading   atomic.Int32 // what is being looked up for it
	undone    atomic.Bool  // it is to be read again: something that it wanted could not be stored
	unsaid    atomic.Bool  // so is its history: a message could not be stored
}

// doing is what is known of an event while it is handled.
type doing struct {
	s      *component.Stanza
	before int  // copies that waited already when it began
	handed bool // a portion of what follows from it was sent
	void   bool // that could not be stored
}

// An event is a stanza for a room, or something else to be done with it, because of the
// stanza if there is one.
type event struct {
	s    *component.Stanza
	do   func(r *room)
	done func() // is called when it was handled, or could not be; may be nil
}

var (
	errEnded = errors.New("muc: room ended")
	errFlood = errors.New("muc: too much waits for a room")
	errBusy  = fail(stanza.Wait, stanza.ResourceConstraint, "The room is overloaded. Try again later.")
)

// post gives something to the room. The error is errEnded, or errFlood.
func (a *actor) post(e event) error {
	w := 0
	if e.do == nil {
		w = weight(e.s)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.ended:
		return errEnded
	case e.do != nil || len(a.queue) == 0:
	case !a.fits(w, 1), !a.fits(w, outsideShare) && !a.inside(e.s.From):
		return errFlood
	}
	a.weight += w
	a.queue = append(a.queue, e)
	if !a.running {
		a.running = true
		a.sv.crew.run(a)
	}
	return nil
}

// fits tells if a stanza may wait where a part of the limits is for it. It is called with mu
// held.
func (a *actor) fits(w int, part float64) bool {
	l := &a.sv.limits
	return float64(len(a.queue)) < part*float64(l.Waiting) && float64(a.weight+w) <= part*float64(l.Backlog)
}

// run handles events until there are none.
func (a *actor) run() {
	out := outputs.Get().(*output)
	defer func() {
		clear(out.copies[:cap(out.copies)])
		out.copies = out.copies[:0]
		if cap(out.copies) <= 8192 {
			outputs.Put(out)
		}
	}()
	for {
		a.mu.Lock()
		events := a.queue
		a.queue, a.weight = nil, 0
		if len(events) == 0 {
			a.running = false
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		for i := range events {
			rest := events[i+1:]
			if a.undone.Load() { // what comes is for the room as it is stored
				a.handle(&event{do: a.reload}, out)
				rest = events[i:]
			} else {
				a.handle(&events[i], out)
			}
			if a.over() {
				a.flush(out) // before another one of that name says something
				a.end(rest)
				break
			}
		}
		a.doing = doing{} // a room can be quiet for long, and a stanza is as large as a room
		a.flush(out)
	}
}

// outputs are what rooms write to while they are awake.
var outputs = sync.Pool{New: func() any { return new(output) }}

func (a *actor) handle(e *event, out *output) {
	if e.done != nil {
		defer e.done()
	}
	now := time.Now()
	a.busy.Store(now.Unix())
	a.doing = doing{s: e.s, before: len(out.copies)}
	defer func() {
		if p := recover(); p != nil {
			slog.Error("muc: a room failed, please report this", "panic", p, "stack", string(debug.Stack()))
			out.copies = out.copies[:min(a.doing.before, len(out.copies))]
			a.failed(out)
		}
	}()
	if a.room == nil && !a.load(e.s) {
		return
	}
	if e.s != nil && joins(e.s) {
		a.readHistory(e.s)
	}
	if a.room.hand == nil {
		a.room.hand = a.hand
	}
	a.room.out = out
	if e.do != nil {
		a.room.now = now
		e.do(a.room)
	} else {
		a.room.handle(e.s, now)
	}
	if a.doing.void {
		a.hand()
	}
	a.room.out = nil
	a.occupants.Store(int32(len(a.room.list)))
	a.meet(a.room)
	a.look(out)
	if a.waits(out) {
		a.store(out, a.doing.s)
	} else if len(out.copies) > flushAt {
		a.flush(out)
	}
}

// load reads the room, or answers s that it cannot be read. One that is not in the store can be
// made then.
func (a *actor) load(s *component.Stanza) bool {
	r, err := a.sv.loadRoom(a.addr)
	if err == nil {
		a.room = r
		a.know(r.affiliates)
		return true
	}
	slog.Error("a room cannot be read", "error", err)
	if s != nil {
		a.sv.answer(s, errors.New("muc: room cannot be read"))
	}
	if errors.Is(err, sql.ErrNoRows) {
		a.sv.relist(a.addr.Localpart())
		a.room = &room{gone: true}
	}
	return false
}

// readHistory has the history in memory for who enters by s, where that is from the archive:
// when all that the room has said is in there, or could not be stored.
func (a *actor) readHistory(s *component.Stanza) {
	r := a.room
	if r.archives() {
		a.settle()
	}
	if a.unsaid.Swap(false) {
		r.warm, r.history = false, history{}
	}
	if !r.wantsHistory(s) {
		return
	}
	if err := a.sv.store.history(r); err != nil {
		r.warm, r.history = false, history{} // the next one may get it
		slog.Error("the history of a room cannot be read", "error", err)
	}
}

// look starts what the room wants to know.
func (a *actor) look(out *output) {
	for _, read := range out.reads {
		a.reading.Add(1)
		if !a.sv.readers.add(read.kind, read.user, func() { a.read(read) }) {
			a.reading.Add(-1)
			a.sv.answer(read.s, errBusy)
		}
	}
	out.reads = nil
}

// read looks something up, and has the room go on with it.
func (a *actor) read(read read) {
	defer a.reading.Add(-1) // when what follows is in the queue
	defer func() {
		if p := recover(); p != nil {
			slog.Error("muc: an archive failed, please report this", "panic", p, "stack", string(debug.Stack()))
			a.sv.answer(read.s, errors.New("muc: panicked"))
		}
	}()
	if a.sv.stopping() {
		a.sv.answer(read.s, errUnsupported)
		return
	}
	then := read.do(a.sv.store)
	if a.post(event{s: read.s, do: then}) != nil {
		a.sv.gone(read.s)
	}
}

// over tells if the room is no more.
func (a *actor) over() bool { return a.room != nil && a.room.gone }

// end lets go of a room that is no more. What came for it since then is for a new one.
func (a *actor) end(rest []event) {
	a.sv.remove(a)
	a.mu.Lock()
	a.ended = true
	rest = append(rest, a.queue...)
	a.queue, a.weight = nil, 0
	a.mu.Unlock()
	if a.undone.Load() { // which may be known only by what is left: its end was not stored
		a.sv.relist(a.addr.Localpart())
	}
	for _, e := range rest {
		switch {
		case e.do == nil:
			if err := a.sv.HandleStanza(context.Background(), e.s); err != nil {
				a.sv.answer(e.s, err)
			}
		case e.s == nil:
			if e.done != nil {
				e.done() // there is nobody in the room any more
			}
		default:
			a.sv.gone(e.s)
		}
	}
}

// gone answers a stanza that a room would have answered, if it were still there.
func (sv *Service) gone(s *component.Stanza) {
	if s != nil {
		sv.answer(s, errNotFound)
	}
}

// sleep lets go of a room that nobody is in and nothing was done in for a while.
func (a *actor) sleep(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running || len(a.queue) > 0 || a.occupants.Load() > 0 || a.pending.Load() > 0 || a.reading.Load() > 0 || !longAgo(a.busy.Load(), now, sleepAfter) {
		return false
	}
	a.ended = true
	return true
}
