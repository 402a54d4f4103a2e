package onionroute

import (
	"context"
	"time"

	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// patience is how long the other side may be silent from now on. The end of the
// program is not put off by it.
func (st *stream) patience(ctx context.Context, d time.Duration) {
	st.c.raw.SetReadDeadline(time.Now().Add(d))
	if ctx.Err() != nil {
		st.c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// rest is how long the other side may be silent when it has proved who it is. Where it cannot
// resume the stream, what it wrote a moment before it is told is read then until it ends it too.
func (st *stream) rest(ctx context.Context) {
	if st.isTrusted() {
		st.patience(ctx, st.g.times.silence)
		return
	}
	st.patience(ctx, st.g.times.silence+closeTimeout)
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case !st.alive():
	case st.resting != nil:
		st.resting.Reset(st.g.times.silence)
	default:
		st.resting = time.AfterFunc(st.g.times.silence, func() {
			st.c.finish(component.NewStreamError(condition.ConnectionTimeout, "silent for too long"))
		})
	}
}

// rested ends that with the stream.
func (st *stream) rested() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.resting != nil {
		st.resting.Stop()
	}
}
