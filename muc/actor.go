package muc

import (
	"context"
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

	doing doing // what is being handled

	busy      atomic.Int64 // when it last had something to do, Unix seconds
	occupants atomic.Int32
	pending   atomic.Int32 // jobs that the store has not done yet
	reading   atomic.Int32 // what is being looked up for it
	undone    atomic.Bool  // it is to be read again
}

// doing is what is known of an event while it is handled.
type doing struct {
	s      *component.Stanza
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
	errBusy  = fail(stanza.Wait, stanza.ResourceConstraint, "The room is overloaded. Try again later.")
)

// post gives something to the room. The error is errEnded, or one for the sender.
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
	case len(a.queue) >= a.sv.limits.Waiting, a.weight+w > a.sv.limits.Backlog:
		return errBusy
	}
	a.weight += w
	a.queue = append(a.queue, e)
	if !a.running {
		a.running = true
		a.sv.crew.run(a)
	}
	return nil
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
			a.handle(&events[i], out)
			if a.over() {
				a.end(events[i+1:])
				break
			}
		}
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
	before := len(out.copies)
	a.doing = doing{s: e.s}
	defer func() {
		if p := recover(); p != nil {
			slog.Error("muc: a room failed, please report this", "panic", p, "stack", string(debug.Stack()))
			if a.doing.handed {
				before = 0
			}
			out.copies = out.copies[:min(before, len(out.copies))]
			a.failed(out)
		}
	}()
	if a.room == nil {
		r, err := a.sv.loadRoom(a.addr)
		if err != nil {
			slog.Error("a room cannot be read", "error", err)
			if e.s != nil {
				a.sv.answer(e.s, errors.New("muc: room cannot be read"))
			}
			return
		}
		a.room = r
	}
	if e.s != nil && a.room.wantsHistory(e.s) {
		if err := a.readHistory(); err != nil {
			slog.Error("the history of a room cannot be read", "error", err)
		}
	}
	if a.room.hand == nil {
		a.room.hand = a.hand
	}
	a.room.out = *out
	if e.do != nil {
		a.room.now = now
		e.do(a.room)
	} else {
		a.room.handle(e.s, now)
	}
	if a.doing.void {
		a.hand()
	}
	*out = a.room.out
	a.room.out = output{}
	a.occupants.Store(int32(len(a.room.list)))
	a.look(out, e.s)
	if len(out.changes) > 0 || a.pending.Load() > 0 {
		a.store(out, a.doing.s)
	} else if len(out.copies) > flushAt {
		a.flush(out)
	}
}

// hand has what the room has said so far stored and sent, while it goes on. It waits for
// that, so that there is no more in memory than one portion. What cannot be stored has not
// happened, nor what follows from it.
func (a *actor) hand() {
	out := &a.room.out
	switch {
	case a.doing.void:
		clear(out.copies)
		out.copies, out.changes = out.copies[:0], nil
	case len(out.changes) > 0 || a.pending.Load() > 0:
		a.store(out, a.doing.s)
		a.settle()
	default:
		a.flush(out)
	}
	a.doing = doing{handed: true, void: a.undone.Load()}
}

// readHistory reads the history of the room from its archive, when all that it has said
// is in there.
func (a *actor) readHistory() error {
	a.settle()
	return a.sv.store.history(a.room)
}

// settle waits until all that the room wanted is stored, or could not be, and what follows
// from it is sent.
func (a *actor) settle() {
	if a.pending.Load() > 0 {
		a.sv.store.wait()
	}
}

// flushAt is how many copies wait to be sent together.
const flushAt = 1024

// flush sends what waits.
func (a *actor) flush(out *output) {
	if len(out.copies) == 0 {
		return
	}
	a.sv.out.SendCopies(context.Background(), out.copies, a.sv.refused)
	clear(out.copies)
	out.copies = out.copies[:0]
}

// store has the changes stored, and only then what follows from them sent.
func (a *actor) store(out *output, s *component.Stanza) {
	a.sv.note(out.changes)
	copies := append([]component.Copy(nil), out.copies...)
	clear(out.copies)
	out.copies = out.copies[:0]
	changes := out.changes
	out.changes = nil
	a.pending.Add(1)
	a.sv.store.submit(changes, func(err error) {
		defer a.pending.Add(-1)
		if err != nil {
			if s != nil {
				a.sv.answer(s, fail(stanza.Wait, stanza.ResourceConstraint, "The room cannot store anything at the moment."))
			}
			a.undo(changes)
			return
		}
		a.sv.out.SendCopies(context.Background(), copies, a.sv.refused)
	})
}

// undo has the room be as it is stored, when changes could not be. Messages alone are only
// in the history, which can be read again; else all occupants have to come again, since
// what the room has in memory did not come to be. Who was about to be thrown out is not
// told, and finds out as after a crash (XEP-0410).
func (a *actor) undo(changes []change) {
	for _, c := range changes {
		if _, ok := c.(saveMessage); ok {
			continue
		}
		a.undone.Store(true)
		if a.post(event{do: a.reload}) != nil {
			a.sv.relist(a.addr.Localpart()) // the room had ended, and has not after all
		}
		return
	}
	a.post(event{do: func(r *room) { r.warm, r.history = false, nil }})
}

// reload forgets what is in memory of the room; it is read again when it is needed, with all
// that is under way to the store.
func (a *actor) reload(r *room) {
	r.gone = true
	a.settle()
	a.sv.relist(a.addr.Localpart())
	r.shutDown()
}

// failed forgets a room that panicked: what it was about to do is done by halves in its
// memory, and has not happened.
func (a *actor) failed(out *output) {
	if s := a.doing.s; s != nil {
		a.sv.answer(s, errors.New("muc: panicked"))
	}
	if a.room == nil {
		return // it could not be read
	}
	defer func() {
		if p := recover(); p != nil { // of who is in the room, some find out by themselves (XEP-0410)
			slog.Error("muc: a room failed once more", "panic", p)
		}
	}()
	out.changes, out.reads = nil, nil
	a.room.out = *out
	a.reload(a.room)
	*out = a.room.out
}

// look starts what the room wants to know.
func (a *actor) look(out *output, s *component.Stanza) {
	for _, read := range out.reads {
		a.reading.Add(1)
		go func() {
			defer a.reading.Add(-1) // when what follows is in the queue
			a.sv.slots <- struct{}{}
			then, err := read(a.sv.store)
			<-a.sv.slots
			if err != nil {
				slog.Error("the archive cannot be read", "error", err)
				if s != nil {
					a.sv.answer(s, errors.New("muc: archive cannot be read"))
				}
				return
			}
			if then != nil && a.post(event{s: s, do: then}) != nil {
				a.sv.gone(s)
			}
		}()
	}
	out.reads = nil
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
func (a *actor) sleep(before time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running || len(a.queue) > 0 || a.occupants.Load() > 0 || a.pending.Load() > 0 || a.reading.Load() > 0 || a.busy.Load() > before.Unix() {
		return false
	}
	a.ended = true
	return true
}

// A crew are goroutines that run actors. One that has nothing to do waits a while for
// more: what a room does needs a larger stack than a goroutine begins with, and growing
// it would cost as much as the rest.
type crew struct {
	mu    sync.Mutex
	ready []*actor // that wait for one
	size  int
	idle  int           // of them, those that nobody has woken
	wake  chan struct{} // has a token for each that was woken
}

const (
	crewSize     = 64
	crewPatience = 500 * time.Millisecond // how long one waits for work
)

func newCrew() *crew { return &crew{wake: make(chan struct{}, crewSize)} }

// run has an actor run by one of the crew. It does not wait.
func (c *crew) run(a *actor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = append(c.ready, a)
	switch {
	case c.idle > 0:
		c.idle--
		c.wake <- struct{}{}
	case c.size < crewSize:
		c.size++
		go c.work()
	}
}

func (c *crew) work() {
	patience := time.NewTimer(crewPatience)
	defer patience.Stop()
	for {
		if a := c.next(); a != nil {
			a.run()
			continue
		}
		patience.Reset(crewPatience)
		select {
		case <-c.wake:
		case <-patience.C:
			if c.leave() {
				return
			}
		}
	}
}

// next is what is to be run, nil if there is nothing: then the caller is idle.
func (c *crew) next() *actor {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ready) == 0 {
		c.ready = nil
		c.idle++
		return nil
	}
	a := c.ready[0]
	c.ready[0] = nil
	c.ready = c.ready[1:]
	return a
}

// leave tells if an idle one may go: not if it has just been woken.
func (c *crew) leave() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.wake:
		return false
	default:
		c.idle--
		c.size--
		return true
	}
}
