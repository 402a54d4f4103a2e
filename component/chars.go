package component

import (
	"bytes"
	"unicode/utf8"

	"mellium.im/xmpp/stream"
)

// What an octet means depends on where it is.
const (
	inNameFirst = 1 << iota // ASCII that a name can begin with
	inName                  // may be in a name
	endsText                // is not just text: in an element,
	endsCDATA               // in a CDATA section,
	endsValue               // and in the value of an attribute
	unchecked               // may be no character, or a part of none
)

var classes = func() (c [256]uint8) {
	for b := range c {
		switch {
		case b >= 0x80:
			c[b] = inName | unchecked
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b == '_':
			c[b] = inNameFirst | inName
		case b >= '0' && b <= '9', b == '-', b == '.', b == ':':
			c[b] = inName
		case b < 0x20 && !isSpace(byte(b)):
			c[b] = unchecked
		}
	}
	for _, b := range "<&>\r" {
		c[b] |= endsText
	}
	for _, b := range ">\r" {
		c[b] |= endsCDATA
	}
	for _, b := range "<&\"'\r\n\t" {
		c[b] |= endsValue
	}
	return c
}()

// chars appends to text what is written up to its end, which it takes too: in an
// element '<', in a CDATA section "]]>", in a value the quote.
func (s *scanner) chars(ends uint8, quote byte) error {
	start := len(s.text)
	literal := start // from here on nothing is by reference
	var met uint8
	for {
		if len(s.win) == 0 {
			if err := s.more(); err != nil {
				return err
			}
		}
		n := 0
		for _, b := range s.win {
			class := classes[b]
			if class&ends != 0 {
				break
			}
			met |= class
			n++
		}
		s.text = append(s.text, s.win[:n]...)
		s.win = s.win[n:]
		if len(s.win) == 0 {
			continue
		}
		c := s.win[0]
		s.win = s.win[1:]
		switch c {
		case '<':
			if ends == endsValue {
				return streamErr(stream.NotWellFormed, "'<' in the value of an attribute")
			}
			return s.check(start, met)
		case '>':
			if !bytes.HasSuffix(s.text[literal:], []byte("]]")) {
				s.text = append(s.text, c)
				continue
			}
			if ends == endsText {
				return streamErr(stream.NotWellFormed, "\"]]>\" in text")
			}
			s.text = s.text[:len(s.text)-2]
			return s.check(start, met)
		case '&':
			if err := s.reference(); err != nil {
				return err
			}
			literal = len(s.text)
		case '\r', '\n', '\t':
			if err := s.lineEnd(c, ends); err != nil {
				return err
			}
		default: // a quote
			if c == quote {
				return s.check(start, met)
			}
			s.text = append(s.text, c)
		}
	}
}

// lineEnd appends what white space is read as: a line feed for a line end however it is
// written (XML 1.0 §2.11), and in values a blank for all of it (§3.3.3).
func (s *scanner) lineEnd(c byte, ends uint8) error {
	if ends == endsValue {
		s.text = append(s.text, ' ')
	} else {
		s.text = append(s.text, '\n')
	}
	if c != '\r' {
		return nil
	}
	b, err := s.peek() // there is more to come, up to the end of the element
	if err == nil && b == '\n' {
		s.win = s.win[1:]
	}
	return err
}

const badCharacter = "not a character of XML, or not UTF-8"

// check refuses what was appended since start if it has characters that XML does not
// allow. What each octet may mean was met.
func (s *scanner) check(start int, met uint8) error {
	if met&unchecked == 0 {
		return nil
	}
	for b := s.text[start:]; len(b) > 0; {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 || !isChar(r) {
			return streamErr(stream.NotWellFormed, badCharacter)
		}
		b = b[n:]
	}
	return nil
}

// isChar tells if XML allows the character (XML 1.0 §2.2).
func isChar(r rune) bool {
	return r >= 0x20 && r < 0xD800 || r >= 0xE000 && r < 0xFFFE || r >= 0x10000 && r <= utf8.MaxRune ||
		r == '\t' || r == '\n' || r == '\r'
}
