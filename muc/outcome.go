package muc

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

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

// waits tells if what is in out is not to be sent at once: it follows from something that is
// not stored yet, or cannot be.
func (a *actor) waits(out *output) bool {
	return len(out.changes) > 0 || a.pending.Load() > 0 || a.undone.Load() && !a.room.gone
}

// store has the changes stored, and only then what follows from them sent. What was said before
// does not follow from them.
func (a *actor) store(out *output, s *component.Stanza) {
	if n := a.doing.before; n > 0 {
		a.sv.out.SendCopies(context.Background(), out.copies[:n], a.sv.refused)
		out.copies = slices.Delete(out.copies, 0, n)
		a.doing.before = 0
	}
	if len(out.copies)+len(out.changes) == 0 {
		return
	}
	a.sv.note(out.changes)
	a.learn(out.changes)
	copies := append([]component.Copy(nil), out.copies...)
	clear(out.copies)
	out.copies = out.copies[:0]
	changes := out.changes
	out.changes = nil
	a.pending.Add(1)
	a.sv.store.work <- &job{undone: &a.undone, changes: changes, done: func(err error) {
		defer a.pending.Add(-1)
		if err != nil && (!onlyTold(changes) || errors.Is(err, errUndone)) {
			if s != nil {
				a.sv.answer(s, fail(stanza.Wait, stanza.ResourceConstraint, "The room cannot store anything at the moment."))
			}
			a.undo(changes)
			return
		}
		a.sv.out.SendCopies(context.Background(), copies, a.sv.refused)
	}}
}

// hand has what the room has said so far stored and sent, while it goes on. It waits for
// that, so that there is no more in memory than one portion. What cannot be stored has not
// happened, nor what follows from it.
func (a *actor) hand() {
	out := a.room.out
	switch {
	case a.doing.void:
		clear(out.copies)
		out.copies, out.changes = out.copies[:0], nil
	case a.waits(out):
		a.store(out, a.doing.s)
		a.settle()
	default:
		a.flush(out)
	}
	a.doing = doing{handed: true, void: a.undone.Load()}
}

// settle waits until all that the room wanted is stored, or could not be, and what follows
// from it is sent.
func (a *actor) settle() {
	if a.pending.Load() > 0 {
		a.sv.store.wait()
	}
}

// undo has the room be as it is stored, when changes could not be. Messages alone are only
// in the history, which can be read again; else all occupants have to come again, since
// what the room has in memory did not come to be. Who was about to be thrown out is not
// told, and finds out as after a crash (XEP-0410).
func (a *actor) undo(changes []change) {
	for _, c := range changes {
		if c, ok := c.(saveTold); ok {
			a.sv.motd.untold(c)
		}
	}
	if onlyMessages(changes) && !a.undone.Load() {
		a.unsaid.Store(true)
	} else if a.post(event{do: a.reload}) != nil {
		a.sv.relist(a.addr.Localpart()) // the room had ended, and has not after all
	}
}

func onlyMessages(changes []change) bool {
	return !slices.ContainsFunc(changes, func(c change) bool {
		switch c.(type) {
		case saveMessage, retractMessage, changeMessage, saveTold:
			return false
		}
		return true
	})
}

// onlyTold tells if nothing but who got the message of the day is to be stored. If that cannot
// be, they get it once more after a restart, and nothing else follows from it.
func onlyTold(changes []change) bool {
	return !slices.ContainsFunc(changes, func(c change) bool { _, ok := c.(saveTold); return !ok })
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
	a.room.out = out
	a.reload(a.room)
	a.room.out = nil
}
