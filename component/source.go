package component

import (
	"bufio"
	"io"

	"mellium.im/xmpp/stream"
)

// A source gives the scanner what is buffered, as far as the element may be long. It
// reads only when the scanner needs an octet and there is none, so that what is complete
// never waits for what follows.
type source struct {
	r    *bufio.Reader
	win  []byte // not used yet; a part of r's buffer
	size int    // of win, when r gave it
	left int    // octets that the element may still have, from the start of win on
}

// begin starts to count the octets of an element.
func (s *source) begin(limit int) {
	s.release()
	s.left = limit
}

// buffered is what was read and not used.
func (s *source) buffered() int { return s.r.Buffered() - (s.size - len(s.win)) }

// release gives back to r what was not used.
func (s *source) release() {
	used := s.size - len(s.win)
	s.r.Discard(used)
	s.left -= used
	s.win, s.size = nil, 0
}

// more makes win longer, which is empty. Here it is an error if the input ends.
func (s *source) more() error {
	s.release()
	if s.left == 0 {
		return streamErr(stream.PolicyViolation, "stanza is too long")
	}
	if _, err := s.r.Peek(1); err == io.EOF {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	s.size = min(s.r.Buffered(), s.left)
	s.win, _ = s.r.Peek(s.size)
	return nil
}

// peek is the next octet, which stays.
func (s *source) peek() (byte, error) {
	if len(s.win) == 0 {
		if err := s.more(); err != nil {
			return 0, err
		}
	}
	return s.win[0], nil
}

// next takes the next octet.
func (s *source) next() (byte, error) {
	b, err := s.peek()
	if err == nil {
		s.win = s.win[1:]
	}
	return b, err
}

// between passes over white space between elements without keeping it: over the
// years of a quiet stream the keep-alives would add up. It tells if markup follows.
func (s *source) between() (markup bool, err error) {
	s.release()
	for {
		b, err := s.r.ReadByte()
		if err != nil {
			return false, err
		}
		if !isSpace(b) {
			return b == '<', s.r.UnreadByte()
		}
	}
}

// space passes over white space in markup, and tells if there was any.
func (s *source) space() (any bool, err error) {
	for {
		b, err := s.peek()
		if err != nil || !isSpace(b) {
			return any, err
		}
		any = true
		s.win = s.win[1:]
	}
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }
