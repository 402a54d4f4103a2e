package onionroute

import (
	"context"
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
