package muc

import (
	"context"
	"sync"
	"time"

	"mellium.im/xmpp/jid"
)

// Recheck asks all occupants if they are still there: after the host was away, its users
// may be gone without a word.
func (sv *Service) Recheck() {
	for _, a := range sv.all() {
		a.post(event{do: func(r *room) { r.pingSilent(0) }})
	}
}

// Run does what is to be done from time to time, until ctx is done. Then it tells all
// occupants that the service stops (XEP-0045 §11.2), and waits for what is under way.
func (sv *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			sv.stop()
			return nil
		case <-tick.C:
			sv.tick(time.Now())
		}
	}
}

func (sv *Service) tick(now time.Time) {
	for _, a := range sv.all() {
		if a.sleep(now) {
			sv.remove(a)
		} else if a.occupants.Load() > 0 {
			a.post(event{do: func(r *room) { r.pingSilent(pingAfter); r.cool() }})
		}
	}
	sv.sweep(now)
	sv.store.expire(now, sv.limits, sv.kept())
}

// sweep ends temporary rooms that were left over by a crash, or a failure, and that nobody
// came back to.
func (sv *Service) sweep(now time.Time) {
	sv.mu.Lock()
	if sv.sweepAt.IsZero() || now.Before(sv.sweepAt) {
		sv.mu.Unlock()
		return
	}
	sv.sweepAt = time.Time{}
	var names []string
	for name, r := range sv.index {
		if !r.Config.Persistent || r.Locked {
			names = append(names, name)
		}
	}
	sv.mu.Unlock()
	for _, name := range names {
		addr, err := jid.New(name, sv.o.Domain, "")
		if err != nil {
			continue
		}
		sv.mu.Lock()
		a := sv.actors[name]
		if a == nil {
			a = &actor{sv: sv, addr: addr}
			sv.actors[name] = a
		}
		sv.mu.Unlock()
		a.post(event{do: func(r *room) { r.afterLeaving(jid.JID{}) }})
	}
}

func (sv *Service) stop() {
	sv.mu.Lock()
	sv.closed = true
	sv.mu.Unlock()
	var wg sync.WaitGroup
	for _, a := range sv.all() {
		wg.Add(1)
		if a.post(event{do: (*room).shutDown, done: wg.Done}) != nil {
			wg.Done()
		}
	}
	wg.Wait()
	for _, a := range sv.all() {
		for !a.idle() {
			time.Sleep(time.Millisecond)
		}
	}
	sv.store.wait() // also for what rooms wanted that are no more
}

// stopping tells if the service is about to stop.
func (sv *Service) stopping() bool {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	return sv.closed
}

// idle tells if nothing is under way.
func (a *actor) idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.running && a.pending.Load() == 0 && a.reading.Load() == 0
}
