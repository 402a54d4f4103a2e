package muc

import "sync"

// A lane is a kind of reading from the store, by how long it may take.
type lane int

const (
	rowLane    lane = iota // what is one row, such as a vCard
	pageLane               // a page of an archive, by the time
	searchLane             // a page for which much may have to be looked through
	lanes
)

// What of each kind is read at a time, and waits for that: in all, and of one user. A client
// that starts asks for a page of each of its rooms.
var laneLimits = [lanes]struct{ slots, waiting, ofOne int }{
	rowLane:    {2, 5000, 200},
	pageLane:   {2, 2000, 200},
	searchLane: {2, 100, 5},
}

// readers share out what may be read at a time, so that nobody has to wait for another one's
// many or slow reads: each kind has slots of its own, and in each the users take turns, and
// have one read under way. It is safe for concurrent use.
type readers struct {
	mu    sync.Mutex
	lanes [lanes]struct {
		running, waiting int
		turns            []string // users with something that can be read now, the next first
		users            map[string]*reader
	}
}

// A reader is a user who reads something.
type reader struct {
	waiting []func()
	busy    bool // one is under way
}

// add has something read for a user when it is its turn. It is false if too much waits. do
// runs in a goroutine of its own.
func (rs *readers) add(kind lane, user string, do func()) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	l, limit := &rs.lanes[kind], laneLimits[kind]
	u := l.users[user]
	if l.waiting >= limit.waiting || u != nil && len(u.waiting) >= limit.ofOne {
		return false
	}
	if l.users == nil {
		l.users = map[string]*reader{}
	}
	if u == nil {
		u = &reader{}
		l.users[user] = u
	}
	u.waiting = append(u.waiting, do)
	l.waiting++
	if !u.busy && len(u.waiting) == 1 {
		l.turns = append(l.turns, user)
	}
	rs.start(kind)
	return true
}

// start begins what there are slots for. It is called with mu held.
func (rs *readers) start(kind lane) {
	l := &rs.lanes[kind]
	for l.running < laneLimits[kind].slots && len(l.turns) > 0 {
		user := l.turns[0]
		l.turns = l.turns[1:]
		u := l.users[user]
		do := u.waiting[0]
		u.waiting[0] = nil
		u.waiting, u.busy = u.waiting[1:], true
		l.waiting--
		l.running++
		go func() {
			do()
			rs.done(kind, user)
		}()
	}
}

// done gives the slot to the next.
func (rs *readers) done(kind lane, user string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	l := &rs.lanes[kind]
	l.running--
	if u := l.users[user]; len(u.waiting) > 0 {
		u.busy = false
		l.turns = append(l.turns, user)
	} else {
		delete(l.users, user)
	}
	rs.start(kind)
}
