package onionroute

import "sync"

// A counter counts the stanzas that are read in a session, and how many of them are
// handled (XEP-0198 §4): in the hands of those whom they are for, without a gap. It is
// safe for concurrent use.
type counter struct {
	mu      sync.Mutex
	in      uint32        // number of the last stanza that was read
	taken   uint32        // number of the last one that is handled, with all before it
	ahead   []bool        // which of those after it are handled too
	advance chan struct{} // has a token when taken has grown
}

func newCounter(h uint32) *counter {
	return &counter{in: h, taken: h, advance: make(chan struct{}, 1)}
}

// after tells if a stanza's number comes after another's, modulo 2^32 (XEP-0198 §4).
func after(a, b uint32) bool { return int32(a-b) > 0 }

// received counts a stanza that was read. It is handled once the function that is
// returned is called, by any goroutine.
func (c *counter) received() (taken func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in++
	n := c.in
	c.ahead = append(c.ahead, false)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := n - c.taken - 1
		if !after(n, c.taken) || int(i) >= len(c.ahead) {
			return
		}
		c.ahead[i] = true
		k := 0
		for k < len(c.ahead) && c.ahead[k] {
			k++
		}
		if k > 0 {
			c.taken += uint32(k)
			c.ahead = append(c.ahead[:0], c.ahead[k:]...)
			poke(c.advance)
		}
	}
}

// notReceived takes the last stanza back: the peer has to write it again.
func (c *counter) notReceived() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in--
	c.ahead = c.ahead[:len(c.ahead)-1]
}

// handled is the number of the last stanza that is handled, and if it is the last one
// that was read.
func (c *counter) handled() (h uint32, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken, len(c.ahead) == 0
}

// unused tells if nothing was read yet.
func (c *counter) unused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in == 0
}
