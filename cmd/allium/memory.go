package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector keeps what it may need again. After a burst, such as everybody
// coming back to a large room, that is for a long time more than all else.
const (
	quietTick  = time.Second
	quietBytes = 256 << 10 // allocated in a tick; less is quiet
	trimBytes  = 4 << 20   // allocated since memory was given back last; less is not worth it
)

// giveBackMemory gives memory that is not used back to the system when it is quiet, until
// ctx is done.
func giveBackMemory(ctx context.Context) {
	tick := time.NewTicker(quietTick)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var before, trimmed uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		if now-before < quietBytes && now-trimmed > trimBytes {
			debug.FreeOSMemory()
			trimmed = now
		}
		before = now
	}
}
