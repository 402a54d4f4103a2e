package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector keeps what it may need again. After a burst, such as everybody
// coming back to a large room, that is for a long time more than all else.
const (
	quietTick  = time.Second
	quietBytes = 256 << 10 // allocated in a tick; less is quiet
	trimBytes  = 1 << 20   // allocated since memory was given back last; less is not worth it

	// What is needed for long lies between what is not, and memory is given back by pages:
	// the less garbage there is at a time, the fewer pages are held by a little. But to look
	// for little of it again and again takes time: with 50 percent 2000 rooms took more of
	// that, and hardly less memory.
	garbagePercent = 100     // of what is in use, at a time
	garbageBytes   = 8 << 20 // or about that, if it is more

	// When nothing is needed for long any more, there can be more garbage.
	steadyTicks   = 3
	steadyPercent = 10 // more or less in use since then
	steadyBytes   = 48 << 20
)

// giveBackMemory gives memory that is not used back to the system when it is quiet, until
// ctx is done. The variable GOGC of the environment is heeded.
func giveBackMemory(ctx context.Context) {
	tick := time.NewTicker(quietTick)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	var before, trimmed uint64
	var u usage
	percent := 100 // as Go begins
	for {
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		if p := u.garbage(sample[1].Value.Uint64()); p != percent && os.Getenv("GOGC") == "" {
			percent = p
			debug.SetGCPercent(percent)
		}
		if now-before < quietBytes && now-trimmed > trimBytes {
			runtime.GC() // what is in pools goes with the second one
			debug.FreeOSMemory()
			trimmed = now
		}
		before = now
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// A usage is how much memory is in use, and for how many ticks it is about as much.
type usage struct {
	bytes  uint64
	steady int
}

// garbage is how much garbage there may be at a time, in percent of what is in use after
// another tick: a rough number, since each change of it takes time too.
func (u *usage) garbage(inUse uint64) int {
	u.steady++
	if inUse > u.bytes*(100+steadyPercent)/100 || inUse < u.bytes*(100-steadyPercent)/100 {
		u.bytes, u.steady = inUse, 0
	}
	enough := uint64(garbageBytes)
	if u.steady >= steadyTicks {
		enough = steadyBytes
	}
	percent := garbagePercent
	for percent < 400 && inUse*uint64(percent)/100 < enough {
		percent *= 2
	}
	return percent
}
