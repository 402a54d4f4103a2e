package main

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"
)

// Each time that one goroutine gives work to another, Go wakes a thread on another processor,
// which mostly finds that the work is being done already. With little to do that is a quarter
// of the time that a message takes. So what one processor can do is left to one.
const (
	processorsTick = time.Second
	busyShare      = 0.6 // of one processor: there is work for others
	calmShare      = 0.3 // of one processor: there is none
	calmTicks      = 3
)

// processors are those that Go uses.
type processors struct{ all, now, calm int }

// next is how many are to be used, after a tick in which so much of one was.
func (p *processors) next(share float64) int {
	switch {
	case share > busyShare:
		p.now, p.calm = p.all, 0
	case share > calmShare:
		p.calm = 0
	default:
		if p.calm++; p.calm >= calmTicks {
			p.now = 1
		}
	}
	return p.now
}

// fitProcessors uses as many processors as there is work for, until ctx is done. The variable
// GOMAXPROCS of the environment is heeded.
func fitProcessors(ctx context.Context) {
	all := runtime.GOMAXPROCS(0)
	if all == 1 || os.Getenv("GOMAXPROCS") != "" {
		return
	}
	defer runtime.GOMAXPROCS(all)
	p := processors{all: all, now: all}
	tick := time.NewTicker(processorsTick)
	defer tick.Stop()
	used, at := cpuTime(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before, then := used, at
		used, at = cpuTime(), time.Now()
		was := p.now
		if n := p.next(float64(used-before) / float64(at.Sub(then))); n != was {
			runtime.GOMAXPROCS(n)
		}
	}
}

// cpuTime is the CPU time that the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
