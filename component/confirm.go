package component

import (
	"slices"
	"time"
)

// settle makes the first n entries done, and returns whom to tell. It is called with mu
// held.
func (o *outbox) settle(n int) []func() {
	told := make([]func(), 0, n-o.done)
	for ; o.done < n; o.done++ {
		e := &o.entries[o.done]
		if e.taken != nil {
			told = append(told, e.taken)
			e.taken = nil
		}
		o.doneBytes += e.size
	}
	o.makeRoom()
	return told
}

func (o *outbox) makeRoom() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

func call(told []func()) {
	for _, f := range told {
		f()
	}
}

// confirm takes the answer to a ping, and so to all before it. It is false if the id is of none that
// is under way, such as one of an earlier connection, or one that somebody else made up.
func (o *outbox) confirm(id string) bool {
	o.mu.Lock()
	i := slices.IndexFunc(o.asked, func(m mark) bool { return m.id == id })
	if i < 0 {
		o.mu.Unlock()
		return false
	}
	told := o.settle(o.asked[i].entries)
	o.asked, o.heardAt = slices.Delete(o.asked, 0, i+1), time.Now()
	poke := o.done == len(o.entries) || o.entries[o.done].suspect
	o.mu.Unlock()
	call(told)
	if poke {
		o.poke()
	}
	return true
}

// requeue prepares for the next connection, when the last one ended and nobody calls
// flush any more: what was in flight waits again, before all else, or is done if it is
// not to be written again.
//
// With blame the host ended the connection because of a stanza. If it can only be one,
// that is done, and requeue returns true. If it can be several, they are written one at
// a time from now on, to find out: nothing may keep the link down for ever.
func (o *outbox) requeue(blame bool) bool {
	o.mu.Lock()
	var told []func()
	found := blame && o.begun-o.done == 1
	buf, entries, at := o.buf[:0], o.entries[:0], o.doneBytes
	for i := o.done; i < len(o.entries); i++ {
		e := o.entries[i]
		xml := o.buf[at : at+e.size]
		at += e.size
		switch {
		case i < o.sent && !e.again, i < o.begun && found:
			if e.taken != nil {
				told = append(told, e.taken)
			}
		default:
			e.suspect = e.suspect || blame && i < o.begun
			buf, entries = append(buf, xml...), append(entries, e)
		}
	}
	clear(o.entries[len(entries):])
	o.buf, o.entries, o.asked, o.askedFor = buf, entries, nil, 0
	o.done, o.doneBytes, o.sent, o.sentBytes, o.begun = 0, 0, 0, 0, 0
	o.makeRoom()
	o.mu.Unlock()
	call(told)
	o.poke()
	return found
}

// unanswered is how long no ping was answered while one was under way.
func (o *outbox) unanswered() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.asked) == 0 || o.asked[0].at.IsZero() {
		return 0
	}
	if o.heardAt.After(o.asked[0].at) {
		return time.Since(o.heardAt)
	}
	return time.Since(o.asked[0].at)
}

// empty tells if all that was put in has been confirmed.
func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.done == len(o.entries)
}
