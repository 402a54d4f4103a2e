package muc

import (
	"sync"
	"time"
)

// A crew are goroutines that run actors. One that has nothing to do waits a while for
// more: what a room does needs a larger stack than a goroutine begins with, and growing
// it would cost as much as the rest.
type crew struct {
	mu    sync.Mutex
	ready []*actor // that wait for one
	size  int
	idle  int           // of them, those that nobody has woken
	wake  chan struct{} // has a token for each that was woken
}

const (
	crewSize     = 64
	crewPatience = 500 * time.Millisecond // how long one waits for work
)

func newCrew() *crew { return &crew{wake: make(chan struct{}, crewSize)} }

// run has an actor run by one of the crew. It does not wait.
func (c *crew) run(a *actor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = append(c.ready, a)
	switch {
	case c.idle > 0:
		c.idle--
		c.wake <- struct{}{}
	case c.size < crewSize:
		c.size++
		go c.work()
	}
}

func (c *crew) work() {
	patience := time.NewTimer(crewPatience)
	defer patience.Stop()
	for {
		if a := c.next(); a != nil {
			a.run()
			continue
		}
		patience.Reset(crewPatience)
		select {
		case <-c.wake:
		case <-patience.C:
			if c.leave() {
				return
			}
		}
	}
}

// next is what is to be run, nil if there is nothing: then the caller is idle.
func (c *crew) next() *actor {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ready) == 0 {
		c.ready = nil
		c.idle++
		return nil
	}
	a := c.ready[0]
	c.ready[0] = nil
	c.ready = c.ready[1:]
	return a
}

// leave tells if an idle one may go: not if it has just been woken.
func (c *crew) leave() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.wake:
		return false
	default:
		c.idle--
		c.size--
		return true
	}
}
