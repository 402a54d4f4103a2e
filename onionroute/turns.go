package onionroute

import (
	"slices"
	"sync"
)

// turns are for what only some may do at a time. A place that is free goes to who has
// fewest, and of several to who has waited longest, so that nobody who wants very many
// keeps others waiting. Strangers together have half of them at most. It is safe for
// concurrent use.
type turns struct {
	mu      sync.Mutex
	size    int
	taken   int
	of      map[string]int // party → places that it has
	waiting []*turn
}

// A turn is a place that is asked for, or given.
type turn struct {
	parties []string      // any of which it may be counted against; none: strangers
	party   string        // against which it is
	granted chan struct{} // closed when it may be used
}

func newTurns(size int) *turns { return &turns{size: size, of: map[string]int{}} }

// ask asks for a place, which is to be left in any case.
func (t *turns) ask(parties []string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(parties) == 0 {
		parties = []string{""}
	}
	tn := &turn{parties: parties, granted: make(chan struct{})}
	t.waiting = append(t.waiting, tn)
	t.grant()
	return tn
}

// leave gives a place back, or does not wait for it any more.
func (t *turns) leave(tn *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, tn); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return
	}
	t.taken--
	if t.of[tn.party]--; t.of[tn.party] == 0 {
		delete(t.of, tn.party)
	}
	t.grant()
}

// grant gives away what is free. t.mu is held.
func (t *turns) grant() {
	for t.taken < t.size {
		next, party := -1, ""
		for i, tn := range t.waiting {
			for _, o := range tn.parties {
				if full := o == "" && t.of[o] >= t.size/2; !full && (next < 0 || t.of[o] < t.of[party]) {
					next, party = i, o
				}
			}
		}
		if next < 0 {
			return
		}
		tn := t.waiting[next]
		t.waiting = slices.Delete(t.waiting, next, next+1)
		t.taken++
		t.of[party]++
		tn.party = party
		close(tn.granted)
	}
}
