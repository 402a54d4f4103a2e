package component

import (
	"context"
	"io"
	"sync"
	"time"
)

// An outbox collects stanzas as XML, so that one write takes all that came while the
// last one was under way. It is bounded in bytes.
type outbox struct {
	limit   int
	writing sync.Mutex // held while a batch is written, so that batches keep their order

	mu    sync.Mutex
	buf   []byte
	ends  []int         // where the stanzas in buf end
	spare []byte        // the buffer that was written last, for reuse
	wake  chan struct{} // has a token when buf is not empty
	room  chan struct{} // closed when there is room again
}

func newOutbox(limit int) *outbox {
	return &outbox{limit: limit, wake: make(chan struct{}, 1), room: make(chan struct{})}
}

// put appends one stanza, waiting for room until ctx is done. The error is ctx's.
func (o *outbox) put(ctx context.Context, xml []byte) error {
	for {
		o.mu.Lock()
		if len(o.buf) == 0 || len(o.buf)+len(xml) <= o.limit {
			o.buf = append(o.buf, xml...)
			o.ends = append(o.ends, len(o.buf))
			o.mu.Unlock()
			o.poke()
			return nil
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// flush writes all that is there. Stanzas that were not written whole stay: a
// stanza that is cut off has not been seen by the other side.
func (o *outbox) flush(w io.Writer) error {
	o.writing.Lock()
	defer o.writing.Unlock()
	o.mu.Lock()
	if len(o.buf) == 0 {
		o.mu.Unlock()
		return nil
	}
	buf, ends := o.buf, o.ends
	o.buf, o.ends, o.spare = o.spare[:0], nil, nil
	o.makeRoom()
	o.mu.Unlock()

	n, err := w.Write(buf)

	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		written, start := 0, 0
		for written < len(ends) && ends[written] <= n {
			start = ends[written]
			written++
		}
		rest := append([]byte(nil), buf[start:]...)
		restEnds := make([]int, 0, len(ends)-written+len(o.ends))
		for _, e := range ends[written:] {
			restEnds = append(restEnds, e-start)
		}
		for _, e := range o.ends {
			restEnds = append(restEnds, e+len(rest))
		}
		o.buf, o.ends = append(rest, o.buf...), restEnds
		if len(o.buf) > 0 {
			o.poke()
		}
		return err
	}
	if cap(buf) <= 1<<20 {
		o.spare = buf
	}
	return nil
}

func (o *outbox) makeRoom() {
	close(o.room)
	o.room = make(chan struct{})
}

// pump writes until stop is closed or a write fails. idle is called when nothing
// was written for a while, and may write by itself.
func (o *outbox) pump(stop <-chan struct{}, w io.Writer, every time.Duration, idle func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-o.wake:
			if err := o.flush(w); err != nil {
				return err
			}
		case <-tick.C:
			if err := idle(); err != nil {
				return err
			}
		}
	}
}
