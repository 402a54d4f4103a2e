package onionroute

import "slices"

// What a session knows of what we write.

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

// octets is how much is not acknowledged.
func (s *session) octets() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.unacked {
		n += len(it.xml)
	}
	return n
}

// settled tells if all that was written is known to have arrived.
func (s *session) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unacked) == 0 && !s.recovered
}
