package component

import (
	"bufio"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"

	"mellium.im/xmpp/stream"
)

// A reference is a Decoder on top of encoding/xml, to compare with. It is slow, and lets
// some things pass that are not XML.
type reference struct {
	src     *referenceSource
	d       *xml.Decoder
	lim     Limits
	scope   []binding
	content string
	root    xml.Name // of the stream's tag, as written
	count   int
	over    string // which limit this element is over
	closed  bool   // the closing tag was read
}

func newReference(r io.Reader, lim Limits) *reference {
	d := &reference{src: &referenceSource{r: bufio.NewReader(r)}, lim: lim.orDefault()}
	d.d = xml.NewDecoder(d.src)
	return d
}

func newContentReference(r io.Reader, content string, lim Limits) *reference {
	d := newReference(r, lim)
	d.content, d.root = content, xml.Name{Space: "stream", Local: "stream"}
	d.scope = []binding{{"xml", NSXML}, {"", content}, {"stream", NSStream}}
	return d
}

func (d *reference) begin() { d.src.left, d.count, d.over = d.lim.Bytes, 0, "" }

// Header reads up to the stream's opening tag. The result has no nodes.
func (d *reference) Header() (*Element, error) {
	d.begin()
	d.scope, d.content = []binding{{"xml", NSXML}}, ""
	for first := true; ; first = false {
		if markup, err := d.src.skipSpace(); err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		} else if !markup {
			return nil, streamErr(stream.NotWellFormed, "text before the stream")
		}
		tok, err := d.token()
		if err != nil {
			return nil, err
		}
		switch t := tok.(type) {
		case xml.ProcInst:
			if t.Target != "xml" || !first {
				return nil, streamErr(stream.RestrictedXML, "processing instruction")
			}
		case xml.StartElement:
			// The content namespace is the default namespace that is declared here.
			for _, a := range t.Attr {
				if a.Name.Space == "" && a.Name.Local == "xmlns" {
					d.content = a.Value
				}
			}
			e, root, err := d.start(t)
			if err != nil {
				return nil, err
			}
			d.root = root
			if d.over != "" {
				return nil, streamErr(stream.PolicyViolation, d.over)
			}
			if !e.Is(NSStream, "stream") {
				if e.Name.Local == "stream" {
					return nil, streamErr(stream.InvalidNamespace, "stream in "+e.Name.Space)
				}
				return nil, streamErr(stream.BadFormat, "no stream header")
			}
			return e, nil
		default:
			return nil, streamErr(stream.NotWellFormed, "no stream header")
		}
	}
}

// Next reads the next first-level element. White space between elements (RFC 6120
// §4.6.1 keep-alives) is passed over.
func (d *reference) Next() (*Element, error) {
	if markup, err := d.src.skipSpace(); err != nil {
		return nil, err
	} else if !markup {
		return nil, streamErr(stream.BadFormat, "text between stanzas")
	}
	d.begin()
	tok, err := d.token()
	if err != nil {
		return nil, err
	}
	switch t := tok.(type) {
	case xml.StartElement:
		outer := len(d.scope)
		e, err := d.element(t, 1)
		d.scope = d.scope[:outer]
		if err == nil && d.over != "" {
			e.Nodes = nil
			err = &OversizeError{StreamError{stream.PolicyViolation, d.over}}
		}
		return e, err
	case xml.EndElement:
		if t.Name != d.root {
			return nil, streamErr(stream.NotWellFormed, "unexpected closing tag")
		}
		d.closed = true
		return nil, io.EOF
	default:
		return nil, streamErr(stream.RestrictedXML, "processing instruction")
	}
}

// element reads up to the end of an element. Of one that is over a limit, only what
// says what it is and whose is kept.
func (d *reference) element(t xml.StartElement, depth int) (*Element, error) {
	outer := len(d.scope)
	e, raw, err := d.start(t)
	if err != nil {
		return nil, err
	}
	if depth > d.lim.Depth {
		d.over = "nested too deeply"
	}
	if d.over != "" {
		d.scope = d.scope[:outer]
		return e, d.skip()
	}
	var text []byte
	flush := func() {
		if len(text) > 0 {
			e.Nodes = append(e.Nodes, Text(string(text)))
			text = text[:0]
		}
	}
	for {
		tok, err := d.token()
		if err != nil {
			return nil, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			flush()
			c, err := d.element(t, depth+1)
			if err != nil {
				return nil, err
			}
			if d.over != "" {
				d.scope = d.scope[:outer]
				return e, d.skip()
			}
			e.Nodes = append(e.Nodes, c.Node())
		case xml.CharData:
			text = append(text, t...) // text and CDATA sections side by side are one run
		case xml.EndElement:
			if t.Name != raw {
				return nil, streamErr(stream.NotWellFormed, "closing tag does not match")
			}
			flush()
			d.scope = d.scope[:outer]
			return e, nil
		default:
			return nil, streamErr(stream.RestrictedXML, "processing instruction")
		}
	}
}

// skip reads up to the end of the element whose start tag was read, and keeps nothing.
func (d *reference) skip() error {
	for depth := 1; depth > 0; {
		tok, err := d.token()
		if err != nil {
			return err
		}
		switch tok.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
	}
	return nil
}

// start resolves the names of a start tag and leaves its declarations in scope.
func (d *reference) start(t xml.StartElement) (*Element, xml.Name, error) {
	switch d.count++; {
	case d.count > d.lim.Elements:
		d.over = "too many elements"
	case len(t.Attr) > d.lim.Attrs:
		d.over = "too many attributes"
	case len(d.scope) > maxDeclared:
		d.over = "too many namespace declarations"
	}
	if d.over != "" {
		t.Attr = slices.DeleteFunc(t.Attr, func(a xml.Attr) bool {
			return (a.Name.Space != "" || !slices.Contains([]string{"to", "from", "id", "type", "xmlns"}, a.Name.Local)) &&
				(a.Name.Space != "xmlns" || a.Name.Local != t.Name.Space)
		})
		t.Attr = t.Attr[:min(len(t.Attr), maxHeader)]
	}
	e := &Element{Prefix: t.Name.Space}
	if len(t.Attr) > 0 {
		e.Attr = make([]Attr, len(t.Attr))
	}
	for i, a := range t.Attr {
		e.Attr[i] = Attr{Name: a.Name, Prefix: a.Name.Space, Value: a.Value}
		prefix, ok := declared(a.Name)
		if !ok {
			continue
		}
		switch {
		case prefix == "xmlns",
			(prefix == "xml") != (a.Value == NSXML),
			a.Value == NSXMLNS,
			prefix != "" && a.Value == "":
			return nil, t.Name, streamErr(stream.NotWellFormed, "declaration of a reserved namespace")
		}
		e.Attr[i].Name = xml.Name{Space: NSXMLNS, Local: prefix}
		d.scope = append(d.scope, binding{prefix, a.Value})
	}
	for i := range e.Attr {
		a := &e.Attr[i]
		if a.Name.Space != NSXMLNS && a.Prefix != "" {
			space, ok := d.lookup(a.Prefix)
			if !ok {
				return nil, t.Name, streamErr(stream.BadNamespacePrefix, "prefix is not declared")
			}
			a.Name.Space = space
		}
		for _, b := range e.Attr[:i] {
			if a.Name == b.Name {
				return nil, t.Name, streamErr(stream.NotWellFormed, "attribute given twice")
			}
		}
	}
	space, ok := d.lookup(e.Prefix)
	if !ok && e.Prefix != "" {
		return nil, t.Name, streamErr(stream.BadNamespacePrefix, "prefix is not declared")
	}
	if space == d.content && space != "" {
		space = NSClient
	}
	e.Name = xml.Name{Space: space, Local: t.Name.Local}
	return e, t.Name, nil
}

// declared is the prefix that an attribute declares, if it is a declaration.
func declared(n xml.Name) (string, bool) {
	if n.Space == "xmlns" {
		return n.Local, true
	}
	return "", n.Space == "" && n.Local == "xmlns"
}

func (d *reference) lookup(prefix string) (string, bool) {
	for i := len(d.scope) - 1; i >= 0; i-- {
		if d.scope[i].prefix == prefix {
			return d.scope[i].space, true
		}
	}
	return "", false
}

// token reads a raw token and makes errors of encoding/xml those of this package.
func (d *reference) token() (xml.Token, error) {
	tok, err := d.d.RawToken()
	if err == nil {
		if _, ok := tok.(xml.Directive); ok {
			return nil, streamErr(stream.RestrictedXML, "document type declaration")
		}
		if _, ok := tok.(xml.Comment); ok {
			return nil, streamErr(stream.RestrictedXML, "comment")
		}
		return tok, checkNames(tok)
	}
	if e := d.src.err; e != nil && e != io.EOF {
		return nil, e
	}
	if d.src.err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	}
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		if strings.HasPrefix(syntax.Msg, "invalid character entity") {
			return nil, streamErr(stream.RestrictedXML, "entity reference")
		}
		return nil, streamErr(stream.NotWellFormed, syntax.Msg)
	}
	if strings.Contains(err.Error(), "encoding") {
		return nil, streamErr(stream.UnsupportedEncoding, err.Error())
	}
	return nil, streamErr(stream.NotWellFormed, err.Error())
}

// checkNames refuses names with more than one colon, or with nothing on one side of
// it, which encoding/xml lets pass as local names (Namespaces in XML §7).
func checkNames(tok xml.Token) error {
	bad := func(n xml.Name) bool { return strings.Contains(n.Local, ":") || n.Local == "" }
	t, ok := tok.(xml.StartElement)
	if !ok {
		return nil
	}
	if bad(t.Name) {
		return streamErr(stream.NotWellFormed, "name with a stray colon")
	}
	for _, a := range t.Attr {
		if bad(a.Name) {
			return streamErr(stream.NotWellFormed, "name with a stray colon")
		}
	}
	return nil
}

// referenceSource feeds the XML scanner and stops it when an element is too long.
type referenceSource struct {
	r    *bufio.Reader
	left int
	err  error
}

// skipSpace passes over white space between elements without keeping it: over the
// years of a quiet stream the keep-alives would add up. It tells if markup follows.
func (s *referenceSource) skipSpace() (markup bool, err error) {
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

func (s *referenceSource) ReadByte() (byte, error) {
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

func (s *referenceSource) Read([]byte) (int, error) {
	return 0, errors.New("component: the scanner reads bytes")
}
