package component

import (
	"bufio"
	"hash/maphash"
	"io"
	"strings"

	"mellium.im/xmpp/stream"
)

// A scanner takes XML apart, and knows nothing of namespaces nor of what is in what. It
// does not read what XMPP forbids (RFC 6120 §11.1), but stops where it begins. Errors are
// io.ErrUnexpectedEOF, a StreamError, or the error of the reader.
type scanner struct {
	source
	tag   tag
	text  []byte // of the element that is being read, and behind it of a value
	split []byte // a name that is in two windows
	names nameTable
	slab  strings.Builder // for short strings
}

// A markup is what begins with '<'.
type markup uint8

const (
	startTag markup = iota + 1
	endTag
	cdata       // its content follows
	instruction // its target follows
)

func newScanner(r io.Reader) *scanner {
	return &scanner{source: source{r: bufio.NewReader(r)}, names: nameTable{seed: maphash.MakeSeed()}}
}

// markup reads a tag, or the beginning of what is none, behind its '<'. attrs is how many
// attributes of a start tag are asked for.
func (s *scanner) markup(attrs int) (markup, error) {
	b, err := s.peek()
	if err != nil {
		return 0, err
	}
	switch b {
	case '/':
		s.win = s.win[1:]
		if s.tag.name, err = s.name(); err != nil {
			return 0, err
		}
		if _, err := s.space(); err != nil {
			return 0, err
		}
		return endTag, s.literal(">")
	case '?':
		s.win = s.win[1:]
		return instruction, nil
	case '!':
		s.win = s.win[1:]
		return cdata, s.bang()
	}
	return startTag, s.startTag(attrs)
}

// bang reads what is behind "<!" of a CDATA section. All else is forbidden.
func (s *scanner) bang() error {
	b, err := s.peek()
	if err != nil {
		return err
	}
	switch b {
	case '[':
		return s.literal("[CDATA[")
	case '-':
		if err := s.literal("--"); err != nil {
			return err
		}
		return streamErr(stream.RestrictedXML, aComment)
	}
	return streamErr(stream.RestrictedXML, aDeclaration)
}

func (s *scanner) startTag(attrs int) (err error) {
	t := &s.tag
	clear(t.attrs)
	t.attrs, t.many, t.empty = t.attrs[:0], false, false
	if t.name, err = s.name(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		apart, err := s.space()
		if err != nil {
			return err
		}
		switch s.win[0] { // space has left an octet there
		case '>':
			s.win = s.win[1:]
			return nil
		case '/':
			t.empty = true
			return s.literal("/>")
		}
		if !apart {
			return streamErr(stream.NotWellFormed, notApart)
		}
		if n == attrs {
			t.cut()
		}
		if err := s.attribute(); err != nil {
			return err
		}
	}
}

// What streams are ended for that encoding/xml lets pass, or calls something else.
const (
	notApart       = "no white space before an attribute"
	aComment       = "comment"
	aDeclaration   = "document type declaration"
	anInstruction  = "processing instruction"
	badDeclaration = "malformed XML declaration"
	badName        = "not a name"
	badReference   = "malformed reference"
	strayText      = "text between stanzas"
	textBefore     = "text before the stream"
)

// attribute reads an attribute, and appends it to those of the tag if it is asked for.
func (s *scanner) attribute() error {
	name, err := s.name()
	if err != nil {
		return err
	}
	if _, err := s.space(); err != nil {
		return err
	}
	if err := s.literal("="); err != nil {
		return err
	}
	if _, err := s.space(); err != nil {
		return err
	}
	quote, err := s.next()
	if err != nil {
		return err
	}
	if quote != '"' && quote != '\'' {
		return streamErr(stream.NotWellFormed, "value without quotes")
	}
	start := len(s.text) // before it, text of the element that the tag is in
	if err := s.chars(endsValue, quote); err != nil {
		return err
	}
	value := s.text[start:]
	s.text = s.text[:start]
	a := Attr{Prefix: name.prefix()}
	a.Name.Local = name.local()
	if !s.tag.wants(&a) {
		return nil
	}
	if _, ok := a.declares(); ok {
		a.Value = s.names.space(value)
	} else {
		a.Value = s.string(value)
	}
	s.tag.attrs = append(s.tag.attrs, a)
	return nil
}

// literal takes what must come next.
func (s *scanner) literal(want string) error {
	for i := range len(want) {
		b, err := s.next()
		if err != nil {
			return err
		}
		if b != want[i] {
			return streamErr(stream.NotWellFormed, "no "+want+" where it must be")
		}
	}
	return nil
}

// name takes a name.
func (s *scanner) name() (qname, error) {
	s.split = s.split[:0]
	for {
		if len(s.win) == 0 {
			if err := s.more(); err != nil {
				return qname{}, err
			}
		}
		n := 0
		for n < len(s.win) && classes[s.win[n]]&inName != 0 {
			n++
		}
		raw := s.win[:n]
		s.win = s.win[n:]
		if len(s.win) > 0 && len(s.split) == 0 {
			return s.names.name(raw)
		}
		s.split = append(s.split, raw...)
		if len(s.win) > 0 {
			return s.names.name(s.split)
		}
	}
}
