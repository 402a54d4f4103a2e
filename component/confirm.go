package component

import "time"

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

// confirm takes the answer to a ping.
func (o *outbox) confirm(id string) {
	o.mu.Lock()
	if id != o.pingID {
		o.mu.Unlock()
		return // of an earlier connection
	}
	o.pingID = ""
	told := o.settle(o.asked)
	o.rested = time.Now().Add(o.rest)
	o.mu.Unlock()
	call(told)
	time.AfterFunc(o.rest, o.poke) // for the next ping, if more is in flight
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
	seen := 0
	for _, e := range o.entries[o.done:o.begun] {
		if !e.ping {
			seen++
		}
	}
	found := blame && seen == 1
	buf, entries, at := o.buf[:0], o.entries[:0], o.doneBytes
	for i := o.done; i < len(o.entries); i++ {
		e := o.entries[i]
		xml := o.buf[at : at+e.size]
		at += e.size
		switch {
		case e.ping:
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
	o.buf, o.entries, o.pingID = buf, entries, ""
	o.done, o.doneBytes, o.sent, o.sentBytes, o.begun = 0, 0, 0, 0, 0
	o.makeRoom()
	o.mu.Unlock()
	call(told)
	o.poke()
	return found
}

// unanswered is how long a ping has been under way.
func (o *outbox) unanswered() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pingID == "" || o.askedAt.IsZero() {
		return 0
	}
	return time.Since(o.askedAt)
}

// empty tells if all that was put in has been confirmed.
func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.done == len(o.entries)
}
