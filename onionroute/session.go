package onionroute

import (
	"context"
	"slices"
	"sync"
	"time"
)

const nsSM = "urn:xmpp:sm:3" // XEP-0198

// A session is what two servers know of what they sent each other, and what of it has
// arrived (XEP-0198). It outlives a stream that breaks off and, as it is kept in the
// spool, the process: so every stanza is handled once. Two servers have one session. It
// is one between equals: both can resume it, whoever opened the stream, and when both
// open one at the same time, the two are made one (see join).
//
// A stream without stream management has a session too, which ends with it; there the
// questions of Dialback tell what has arrived (see stream.question).
type session struct {
	peer string // X.onion
	stop context.CancelFunc

	telling sync.Mutex
	ended   bool // nothing more of it is kept; guarded by telling

	mu        sync.Mutex
	id        string    // the SM-ID; "" if it cannot be resumed
	theirs    string    // another SM-ID of it, which the peer knows for sure; or ""
	out       uint32    // number of the last stanza that was written, or is about to be
	written   uint32    // of those that may have reached the peer
	acked     uint32    // number of the last one that the peer has handled
	unacked   []*item   // written and not acknowledged, in order
	recovered bool      // after a crash: more may have been written than we know
	accepted  bool      // the peer opened it
	resumed   bool      // so both know it
	asked     bool      // we have asked to resume it, and so told how far it was read
	in        *counter  // of what was read
	known     time.Time // when the peer was first heard to know it, in this process
	told      uint32    // what the peer was told of that
	at        *stream   // that it goes on; nil when that broke off
	lost      time.Time // when it broke off
	readers   []*stream // by which it was read
	by        *stream   // by which it was read last; there the peer is told
	owned     bool      // by the peer, which can resume it
}

func newSession(peer, id string) *session {
	return &session{peer: peer, id: id, in: newCounter(0), stop: func() {}}
}

// resumable tells if the session outlives its stream.
func (s *session) resumable() bool { return s.name() != "" }

// name is the SM-ID.
func (s *session) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// previd is the SM-ID to resume it by.
func (s *session) previd() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.theirs != "" {
		return s.theirs
	}
	return s.id
}

// is tells if it is an SM-ID of the session.
func (s *session) is(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return id != "" && (id == s.id || id == s.theirs)
}

func (s *session) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.theirs == "" {
		return []string{s.id}
	}
	return []string{s.id, s.theirs}
}

// counter is what counts what is read.
func (s *session) counter() *counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in
}

func (s *session) handled() (h uint32, all bool) { return s.counter().handled() }

// settle waits until all that was read has been handled, and tells if that is so in time
// and before the wait is given up.
func (s *session) settle(within time.Duration, giveUp func() bool) bool {
	for end := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		if _, all := s.handled(); all {
			return true
		}
		if time.Now().After(end) || giveUp() {
			return false
		}
	}
}

// number counts items that are about to be written, which gives them their numbers.
func (s *session) number(items []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		s.out++
		it.seq = s.out
	}
	s.unacked = append(s.unacked, items...)
}

// wrote notes that all that has a number may reach the peer from now on.
func (s *session) wrote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = s.out
}

// acknowledged takes out of what is not acknowledged what the peer has handled. It is not
// ok if that is more than it was sent, or less than it had handled before.
func (s *session) acknowledged(h uint32) (items []*item, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.recovered && (after(h, s.written) || after(s.acked, h)) {
		return nil, false
	}
	if after(h, s.out) {
		s.out, s.written = h, h
	}
	if after(h, s.acked) {
		s.acked = h
	}
	k := 0
	for k < len(s.unacked) && !after(s.unacked[k].seq, h) {
		k++
	}
	items = s.unacked[:k:k]
	s.unacked = append([]*item(nil), s.unacked[k:]...)
	return items, true
}

// resume makes the session go on by a new stream, where the peer has handled h. What it
// has not is to be written again. It is ok as in acknowledged.
func (s *session) resume(h uint32) (handled, again []*item, ok bool) {
	if handled, ok = s.acknowledged(h); !ok {
		return nil, nil, false
	}
	again = s.takeBack()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out, s.written, s.acked, s.recovered, s.resumed, s.asked = h, h, h, false, true, false
	return handled, again, true
}

// asks notes that the peer is about to be asked to resume the session.
func (s *session) asks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
}

func (s *session) isAsked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// takeBack gives up all items that are not acknowledged.
func (s *session) takeBack() []*item {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := s.unacked
	s.unacked = nil
	return items
}

// takeExpired gives up what has waited for too long for a stream to go on by.
func (s *session) takeExpired(t *times) (items []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unacked = slices.DeleteFunc(s.unacked, func(it *item) bool {
		if it.expired(t) {
			items = append(items, it)
			return true
		}
		return false
	})
	return items
}

// open is how many items are not acknowledged, and the number of the last one written.
func (s *session) open() (n int, last uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unacked), s.out
}

// settled tells if all that was written is known to have arrived.
func (s *session) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unacked) == 0 && !s.recovered
}

// join makes a session that the peer has just opened one with this, if we have opened this
// at the same time. We have written by ours alone, and the peer either by theirs, or by ours
// when it had made them one before us: so what is counted of one direction in the one, and
// of the other in the other, goes together. Theirs, by which nothing was read yet, is empty
// then, and not in the spool any more once this is told.
//
// It is false if the peer has lost this session, since it opens another one, or if theirs
// cannot be resumed. If it knew ours before it connected (since), it has lost it; and if that
// is not known, because we have started anew, one that was read is taken for lost: what comes
// may come twice then, but it does not get lost.
func (s *session) join(theirs *session, since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.theirs != "" || s.accepted || s.resumed {
		return false
	}
	theirs.mu.Lock()
	defer theirs.mu.Unlock()
	used := !s.in.unused()
	lost := since.After(s.known) && (used || !s.known.IsZero())
	if theirs.id == "" || lost || used && !theirs.in.unused() {
		return false
	}
	s.theirs, theirs.id = theirs.id, ""
	if s.in.unused() {
		s.in, s.told, s.by = theirs.in, theirs.told, theirs.by
	}
	return true
}

// goOn says which stream the session goes on; nil is none.
func (s *session) goOn(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.lost = st, time.Now()
	if st != nil {
		s.readAlsoLocked(st)
	}
}

// readAlso notes that the session is read by a stream, whichever it goes on.
func (s *session) readAlso(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readAlsoLocked(st)
}

func (s *session) readAlsoLocked(st *stream) {
	if !slices.Contains(s.readers, st) {
		s.readers = append(slices.DeleteFunc(s.readers, func(r *stream) bool { return !r.alive() }), st)
	}
}

// broke notes that the stream has ended that the session went on by, and tells if nobody
// else knows of the session yet.
func (s *session) broke(st *stream) (orphan bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != st {
		return false
	}
	s.at, s.lost = nil, time.Now()
	return !s.owned
}

// only ends all other streams that the session is read by, and waits until nothing more
// is read by them: what they have not read yet comes again by st.
func (s *session) only(st *stream) {
	s.mu.Lock()
	others := s.readers
	s.readers = nil
	s.mu.Unlock()
	for _, r := range others {
		if r != st {
			r.cancel()
			r.c.abort()
			<-r.ended
		}
	}
}

// received counts a stanza that is read by a stream.
func (s *session) received(st *stream) (taken func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = st
	s.isKnownLocked()
	return s.in.received()
}

// isKnown notes that the peer knows the session.
func (s *session) isKnown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isKnownLocked()
}

func (s *session) isKnownLocked() {
	if s.known.IsZero() {
		s.known = time.Now()
	}
}

func (s *session) lastRead() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by
}

func (s *session) on() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// lostFor is how long the session has had no stream.
func (s *session) lostFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != nil {
		return 0
	}
	return time.Since(s.lost)
}

// tooOld tells if the session has had no stream for longer than it is kept. One that was
// not used is soon forgotten: nothing is lost by that.
func (s *session) tooOld(t *times) bool {
	s.mu.Lock()
	unused := s.out == 0 && s.in.unused()
	s.mu.Unlock()
	if unused {
		return s.lostFor() >= t.unusedAge
	}
	return s.lostFor() >= t.sessionAge
}

// tell keeps in the spool how many stanzas were handled. What is not there is not told
// to the peer: after a crash it goes on with what it was told.
func (s *session) tell(g *Gateway) (h uint32, err error) {
	s.telling.Lock() // what is lower does not come after what is higher
	defer s.telling.Unlock()
	h, _ = s.handled()
	if s.resumable() && !s.ended {
		s.mu.Lock()
		stored := storedSession{id: s.id, theirs: s.theirs, peer: s.peer, h: h}
		s.mu.Unlock()
		if err := g.spool.handled(stored); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = h
	return h, nil
}

// toldPeer is how many stanzas were handled, as we may tell.
func (s *session) toldPeer() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told
}

// end makes the session acknowledge nothing more, and waits until nothing of it is being
// kept: what is forgotten then must not come back.
func (s *session) end() {
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	stop()
	s.telling.Lock()
	defer s.telling.Unlock()
	s.ended = true
}

// start makes the session acknowledge what it handles, until it is stopped.
func (s *session) start(g *Gateway) {
	ctx, stop := context.WithCancel(g.sessions)
	s.mu.Lock()
	before, advance := s.stop, s.in.advance
	s.stop = stop
	s.mu.Unlock()
	before()
	poke(advance)
	g.acks.Go(func() {
		failed := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-advance:
			}
			if ctx.Err() != nil { // it is for the next one
				poke(advance)
				return
			}
			before := s.toldPeer()
			h, err := s.tell(g)
			if err != nil {
				if !failed {
					g.log.Error("the spool cannot be written; what peers send is not acknowledged to them", "error", err)
				}
				time.AfterFunc(g.times.tick, func() { poke(advance) }) // nothing more may come
			} else if st := s.lastRead(); st != nil && h != before {
				st.acknowledge(s)
			}
			failed = err != nil
		}
	})
}
