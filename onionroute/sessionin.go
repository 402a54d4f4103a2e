package onionroute

import (
	"context"
	"slices"
	"time"
)

// What a session knows of what is read.

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
