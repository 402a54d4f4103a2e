package component

import (
	"io"
	"sync/atomic"

	"mellium.im/xmpp/stream"
)

// Limits bound what one first-level element of a stream may cost. Zero means the
// default.
type Limits struct {
	Bytes    int // octets of XML; default 512 KiB, as Prosody has it
	Depth    int // elements within elements; default 64
	Elements int // elements in all; default 10,000
	Attrs    int // attributes of one element; default 128

	declared int // namespace declarations in scope; default maxDeclared
}

// maxDeclared bounds the namespace declarations in scope.
const maxDeclared = 256

func (l Limits) orDefault() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.Bytes, 512<<10)
	def(&l.Depth, 64)
	def(&l.Elements, 10_000)
	def(&l.Attrs, 128)
	def(&l.declared, maxDeclared)
	return l
}

// A Decoder reads one XML stream (RFC 6120 §4): first its header, then its
// first-level elements. Names in the stream's content namespace are read as
// NSClient.
//
// Errors are io.EOF at the end of the stream (the closing tag, or the end of the
// input between two elements), io.ErrUnexpectedEOF when the input ends elsewhere,
// a [StreamError] that can be sent to the other side, or the error of the reader.
// After an error a Decoder is of no more use, with one exception: an [OversizeError]
// comes with the element's name and addresses, and the next element can be read. What
// is longer than Limits.Bytes is an error of the first kind, policy-violation (RFC 6120
// §4.9.3.14, §13.12). Only one goroutine may read.
type Decoder struct {
	// Begin, if not nil, is called by Next when the first octet of an element is there, so
	// that the other side can be given a time to finish it.
	Begin func()

	s       *scanner
	next    atomic.Pointer[Limits] // for the next element
	lim     Limits                 // for this one
	scope   []binding
	content string
	root    string // the name of the stream's tag, as written
	nodes   []Node // of the elements that are being read
	count   int    // elements
	over    string // which limit this element is over
	closed  bool   // the closing tag was read
	err     error  // the last one
}

// NewDecoder makes a Decoder that reads from r.
func NewDecoder(r io.Reader, lim Limits) *Decoder {
	d := &Decoder{s: newScanner(r)}
	d.SetLimits(lim)
	return d
}

// NewContentDecoder makes a Decoder for a stream whose header has been read
// already, with content as its content namespace.
func NewContentDecoder(r io.Reader, content string, lim Limits) *Decoder {
	d := NewDecoder(r, lim)
	d.content, d.root = content, "stream:stream"
	d.scope = []binding{{"xml", NSXML}, {"", content}, {"stream", NSStream}}
	return d
}

// SetLimits changes the limits, from the next element on. Unlike the other methods it
// may be called while another goroutine reads.
func (d *Decoder) SetLimits(lim Limits) {
	lim = lim.orDefault()
	d.next.Store(&lim)
}

// begin starts to count what an element costs.
func (d *Decoder) begin() {
	d.lim = *d.next.Load()
	d.s.begin(d.lim.Bytes)
	d.count, d.over = 0, ""
}

// Closed tells if the stream was ended by its closing tag (RFC 6120 §4.4), and not by
// the end of the input.
func (d *Decoder) Closed() bool { return d.closed }

// Buffered is what has been read from the input and not yet been used.
func (d *Decoder) Buffered() int { return d.s.buffered() }

// Restart makes d ready for a new stream's Header on the same input (RFC 6120 §4.3.3),
// keeping what is buffered: the other side may have sent it behind what ended the old
// stream. It is called after Header or Next returned no error.
func (d *Decoder) Restart() { d.err, d.closed = nil, false } // Header sets the rest

// Header reads up to the stream's opening tag. The result has no nodes.
func (d *Decoder) Header() (e *Element, err error) {
	if d.err != nil {
		return nil, d.err
	}
	if e, d.err = d.header(); d.err != nil {
		return nil, d.err
	}
	if d.trim(); d.s.tag.empty {
		d.closed, d.err = true, io.EOF
	}
	return e, nil
}

func (d *Decoder) header() (*Element, error) {
	d.begin()
	d.scope, d.content = []binding{{"xml", NSXML}}, ""
	for first := true; ; first = false {
		if markup, err := d.s.between(); err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		} else if !markup {
			return nil, errTextBefore
		}
		kind, err := d.markup()
		switch {
		case err != nil:
			return nil, err
		case kind == instruction && first:
			if err := d.s.declaration(); err != nil {
				return nil, err
			}
		case kind == instruction:
			return nil, errInstruction
		case kind == startTag:
			return d.stream()
		case kind == cdata:
			return nil, errTextBefore
		default:
			return nil, streamErr(stream.NotWellFormed, "no stream header")
		}
	}
}

// stream makes the header of the stream's tag.
func (d *Decoder) stream() (*Element, error) {
	d.root = d.s.tag.name.raw
	// The content namespace is the default namespace that is declared here.
	for _, a := range d.s.tag.attrs {
		if a.Prefix == "" && a.Name.Local == "xmlns" {
			d.content = a.Value
		}
	}
	e, err := d.start()
	switch {
	case err != nil:
		return nil, err
	case d.over != "":
		return nil, streamErr(stream.PolicyViolation, d.over)
	case e.Is(NSStream, "stream"):
		return e, nil
	case e.Name.Local == "stream":
		return nil, streamErr(stream.InvalidNamespace, "stream in "+e.Name.Space)
	}
	return nil, streamErr(stream.BadFormat, "no stream header")
}

// Next reads the next first-level element. White space between elements (RFC 6120
// §4.6.1 keep-alives) is passed over.
func (d *Decoder) Next() (*Element, error) {
	if d.err != nil {
		return nil, d.err
	}
	e, err := d.first()
	d.trim()
	if err == nil && d.over != "" {
		e.Nodes = nil
		return e, &OversizeError{StreamError{stream.PolicyViolation, d.over}}
	}
	if d.err = err; err != nil {
		return nil, err
	}
	return e, nil
}

// first reads a first-level element, or the end of the stream.
func (d *Decoder) first() (*Element, error) {
	if markup, err := d.s.between(); err != nil {
		return nil, err
	} else if !markup {
		return nil, errText
	}
	if d.Begin != nil {
		d.Begin()
	}
	d.begin()
	kind, err := d.markup()
	switch {
	case err != nil:
		return nil, err
	case kind == startTag:
		return d.element(1)
	case kind == cdata:
		return nil, errText
	case kind == instruction:
		return nil, errInstruction
	case d.s.tag.name.raw != d.root:
		return nil, streamErr(stream.NotWellFormed, "unexpected closing tag")
	}
	d.closed = true
	return nil, io.EOF
}

var (
	errText        = streamErr(stream.BadFormat, strayText)
	errTextBefore  = streamErr(stream.NotWellFormed, textBefore)
	errInstruction = streamErr(stream.RestrictedXML, anInstruction)
)

// markup reads what begins with the next octet, which is '<'.
func (d *Decoder) markup() (markup, error) {
	if _, err := d.s.next(); err != nil {
		return 0, err
	}
	return d.s.markup(d.attrs())
}
