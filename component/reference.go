package component

import (
	"strings"
	"unicode/utf8"

	"mellium.im/xmpp/stream"
)

// predefined are all entities that there are in XMPP (XML 1.0 §4.6, RFC 6120 §11.1).
var predefined = map[string]byte{"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\''}

// reference appends to text what a reference, whose '&' was taken, stands for.
func (s *scanner) reference() error {
	b, err := s.peek()
	if err != nil {
		return err
	}
	if b == '#' {
		s.win = s.win[1:]
		return s.character()
	}
	n, err := s.name()
	if err != nil {
		return err
	}
	if b, err = s.next(); err != nil {
		return err
	}
	if b != ';' {
		return streamErr(stream.NotWellFormed, badReference)
	}
	c, ok := predefined[n.raw]
	if !ok {
		return streamErr(stream.RestrictedXML, "entity reference")
	}
	s.text = append(s.text, c)
	return nil
}

// character appends to text what a character reference, of which "&#" was taken, stands
// for (XML 1.0 §4.1).
func (s *scanner) character() error {
	b, err := s.next()
	base := 10
	if b == 'x' {
		base = 16
		b, err = s.next()
	}
	r, digits := rune(0), 0
	for ; err == nil && b != ';'; b, err = s.next() {
		v := strings.IndexByte("0123456789abcdefABCDEF", b)
		if v >= 16 {
			v -= 6
		}
		if v < 0 || v >= base {
			return streamErr(stream.NotWellFormed, badReference)
		}
		r = min(r*rune(base)+rune(v), utf8.MaxRune+1) // however many digits there are
		digits++
	}
	if err != nil {
		return err
	}
	if digits == 0 || !isChar(r) {
		return streamErr(stream.NotWellFormed, badReference)
	}
	s.text = utf8.AppendRune(s.text, r)
	return nil
}
