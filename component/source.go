package component

import (
	"bufio"
	"errors"

	"mellium.im/xmpp/stream"
)

// source feeds the XML scanner and stops it when an element is too long.
type source struct {
	r    *bufio.Reader
	left int
	err  error
}

// skipSpace passes over white space between elements without keeping it: over the
// years of a quiet stream the keep-alives would add up. It tells if markup follows.
func (s *source) skipSpace() (markup bool, err error) {
	for s.err == nil {
		b, err := s.r.ReadByte()
		if err != nil {
			s.err = err
			break
		}
		if b != ' ' && b != '\n' && b != '\t' && b != '\r' {
			return b == '<', s.r.UnreadByte()
		}
	}
	return false, s.err
}

func (s *source) ReadByte() (byte, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.left == 0 {
		s.err = streamErr(stream.PolicyViolation, "stanza is too long")
		return 0, s.err
	}
	b, err := s.r.ReadByte()
	if err != nil {
		s.err = err
		return 0, err
	}
	s.left--
	return b, nil
}

func (s *source) Read([]byte) (int, error) {
	return 0, errors.New("component: the scanner reads bytes")
}
