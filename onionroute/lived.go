package onionroute

import (
	"sync/atomic"
	"time"
)

// A lived is when something last gave a sign of life, if ever. It is safe for concurrent
// use.
type lived struct{ at atomic.Int64 } // Unix nanoseconds; 0: never

func (l *lived) now() { l.set(time.Now()) }

func (l *lived) set(t time.Time) { l.at.Store(t.UnixNano()) }

func (p *peer) idleLonger(o *peer) bool { return idleLonger(&p.lived, &o.lived, p.since, o.since) }

func (st *stream) idleLonger(o *stream) bool {
	return idleLonger(&st.lived, &o.lived, st.since, o.since)
}

// idleLonger tells if a was silent for longer than b. What has never given a sign of life
// comes first, and of that the oldest.
func idleLonger(a, b *lived, asince, bsince time.Time) bool {
	x, y := a.at.Load(), b.at.Load()
	return x < y || x == y && asince.Before(bsince)
}
