package onionroute

import (
	"runtime/debug"
	"sync"
	"time"

	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// lockPatience is how long a lock can be held by somebody who gives it back.
var lockPatience = 3 * time.Second

// careful calls f. A mistake of ours that a peer makes f run into costs that peer its stream,
// or a stanza the error that is its answer, and not everybody the service. But a lock that was
// left behind would hold up everybody, and nobody would see why: then the process ends, which
// whoever looks after it starts again. st is the stream that f is about, if it is about one.
func (g *Gateway) careful(st *stream, f func() error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		g.log.Error("a stream with a peer failed, please report this", "panic", p, "stack", string(debug.Stack()))
		if !g.unlocked(st) {
			panic(p)
		}
		err = component.NewStreamError(condition.InternalServerError, "")
	}()
	return f()
}

// unlocked tells if none of the locks is held for good that somebody who works for a peer
// may have.
func (g *Gateway) unlocked(st *stream) bool {
	free := comesFree(&g.mu) && comesFree(&g.quota.mu) && comesFree(&g.contacts.mu) && comesFree(&g.dialing.mu) && comesFree(&g.guard.masks.mu)
	if st == nil || !free {
		return free
	}
	if !comesFree(&st.mu) || !comesFree(&st.c.waiting) {
		return false
	}
	st.mu.Lock()
	p, sess := st.p, st.sess
	st.mu.Unlock()
	return (p == nil || comesFree(&p.mu)) && (sess == nil || comesFree(&sess.mu) && comesFree(&sess.counter().mu))
}

// comesFree tells if a lock is free within lockPatience.
func comesFree(l *sync.Mutex) bool {
	for end := time.Now().Add(lockPatience); !l.TryLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	l.Unlock()
	return true
}
