package component

import (
	"bytes"
	"context"
	"strings"
	"sync"

	"mellium.im/xmpp/jid"
)

// A Draft is a stanza to many, written as XML once but for its recipient. A part of it
// can be for some of them only. It is not changed once it is made, so it is safe for
// concurrent use.
type Draft struct {
	xml        []byte // for a stream of components
	to         int    // where the attribute goes in
	begin, end int    // of what only full copies have
	domain     string // of the sender
	again      bool   // as in entry
}

// NewDraft makes a Draft of s, whose To it does not read, and which it does not keep.
// What is written behind the nodes of s is XML too, in which the default namespace is
// NSAccept: before and after are for everybody, and full, between the two, for those
// only who get a full copy. [AppendText], [AppendAttr] and [AppendNodes] write such XML.
func NewDraft(s *Stanza, before, full, after []byte) *Draft {
	return NewDraftFrom(s.From.String(), s, before, full, after)
}

// NewDraftFrom is NewDraft for who has the sender's address as text already.
func NewDraftFrom(from string, s *Stanza, before, full, after []byte) *Draft {
	name := s.Kind.String()
	d := &Draft{to: 1 + len(name), domain: domainOf(from), again: newEntry(s).again}
	scratch := scratches.Get().(*[]byte)
	b := append(append((*scratch)[:0], '<'), name...)
	b = AppendAttr(b, "from", from)
	if s.ID != "" {
		b = AppendAttr(b, "id", s.ID)
	}
	if s.Type != "" {
		b = AppendAttr(b, "type", s.Type)
	}
	if s.Lang != "" {
		b = AppendAttr(b, "xml:lang", s.Lang)
	}
	b = append(b, '>')
	b = AppendNodes(b, s.Nodes)
	b = append(b, before...)
	d.begin = len(b)
	b = append(b, full...)
	d.end = len(b)
	b = append(b, after...)
	b = append(b, '<', '/')
	b = append(append(b, name...), '>')
	d.xml = bytes.Clone(b) // no larger than it must be: many are kept
	if cap(b) <= 1<<16 {
		*scratch = b
		scratches.Put(scratch)
	}
	return d
}

var scratches = sync.Pool{New: func() any { return new([]byte) }}

// domainOf is the domain of an address.
func domainOf(j string) string {
	j, _, _ = strings.Cut(j, "/")
	if _, domain, ok := strings.Cut(j, "@"); ok {
		return domain
	}
	return j
}

// With is the Draft with more XML behind its last node.
func (d *Draft) With(more []byte) *Draft {
	w := *d
	close := bytes.LastIndexByte(d.xml, '<')
	w.xml = make([]byte, 0, len(d.xml)+len(more))
	w.xml = append(append(append(w.xml, d.xml[:close]...), more...), d.xml[close:]...)
	return &w
}

// Size is the length of a full copy without its recipient's address, in octets.
func (d *Draft) Size() int { return len(d.xml) }

// SizeTo is the length of a full copy, in octets.
func (d *Draft) SizeTo(r *Recipient) int { return len(d.xml) + len(r.attr) }

// XML is a full copy without its recipient's address; the default namespace is NSAccept.
// It must not be changed.
func (d *Draft) XML() []byte { return d.xml }

// ParseDraft makes a Draft of what XML gave before.
func ParseDraft(xml []byte, from jid.JID) *Draft {
	to := bytes.IndexAny(xml, " />")
	return &Draft{xml: xml, to: max(to, 0), begin: len(xml), end: len(xml), domain: domainOf(from.String()),
		again: bytes.HasPrefix(xml, []byte("<message"))}
}

// Stanza is one copy. The error tells that the draft was made of what is not well-formed.
func (d *Draft) Stanza(to jid.JID, full bool) (*Stanza, error) {
	r := Recipient{JID: to}
	return parseOwn(d.appendXML(make([]byte, 0, len(d.xml)), &r, full), to)
}

// Head is a copy without what is in it: what it is, and who it is from and for.
func (d *Draft) Head(to jid.JID) (*Stanza, error) {
	tag, _, _ := bytes.Cut(d.xml, []byte(">")) // which is escaped in attributes
	return parseOwn(append(bytes.TrimSuffix(bytes.Clone(tag), []byte("/")), "/>"...), to)
}

// parseOwn reads a stanza that was written here, which has as much in it as it has: it may be
// deeper than what came, and have declarations that were on its root before.
func parseOwn(xml []byte, to jid.JID) (*Stanza, error) {
	n := len(xml) + 1
	e, err := NewContentDecoder(bytes.NewReader(xml), NSAccept, Limits{Bytes: n, Depth: n, Elements: n, Attrs: n, declared: n}).Next()
	if err != nil {
		return nil, err
	}
	s, err := ParseStanza(e)
	if err != nil {
		return nil, err
	}
	s.To = to
	return s, nil
}

func (d *Draft) appendXML(dst []byte, to *Recipient, full bool) []byte {
	dst = append(dst, d.xml[:d.to]...)
	dst = append(dst, to.attr...)
	if full {
		return append(dst, d.xml[d.to:]...)
	}
	dst = append(dst, d.xml[d.to:d.begin]...)
	return append(dst, d.xml[d.end:]...)
}

func (d *Draft) size(to *Recipient, full bool) int {
	n := len(d.xml) + len(to.attr)
	if !full {
		n -= d.end - d.begin
	}
	return n
}

// A Recipient is an address that is written many times.
type Recipient struct {
	JID    jid.JID
	text   string
	attr   string
	domain [2]uint32 // where it begins and ends in text
}

// String is the address.
func (r *Recipient) String() string { return r.text }

// NewRecipient makes a Recipient.
func NewRecipient(j jid.JID) Recipient {
	text := j.String()
	attr := string(AppendAttr(nil, "to", text))
	if len(attr) == len(" to=''")+len(text) {
		text = attr[len(" to='") : len(attr)-1] // the same, in the same memory
	}
	bare, _, _ := strings.Cut(text, "/")
	return Recipient{JID: j, attr: attr, text: text, domain: [2]uint32{uint32(strings.IndexByte(bare, '@') + 1), uint32(len(bare))}}
}

func (r *Recipient) domainpart() string { return r.text[r.domain[0]:r.domain[1]] }

// A Copy is a Draft on its way to one recipient.
type Copy struct {
	Draft *Draft
	To    *Recipient
	Full  bool // with what is not for everybody
}

// A CopySender sends copies on as a [Sender] does stanzas. A copy that cannot be sent is
// told by refused, which gets the error that answers it.
type CopySender interface {
	SendCopies(ctx context.Context, copies []Copy, refused func(Copy, error))
}

// AppendNodes appends nodes as they are written in a stream of components.
func AppendNodes(dst []byte, nodes []Node) []byte {
	var scope [8]binding
	w := writer{dst: dst, content: NSAccept}
	w.scope = append(scope[:0], binding{"xml", NSXML}, binding{"stream", NSStream}, binding{"", NSAccept})
	for i := range nodes {
		if c := nodes[i].Element; c != nil {
			w.element(c, true)
		} else {
			w.dst = appendEscaped(w.dst, nodes[i].Text, false)
		}
	}
	return w.dst
}

// AppendText appends character data.
func AppendText(dst []byte, text string) []byte { return appendEscaped(dst, text, false) }

// AppendAttr appends a blank and an attribute.
func AppendAttr(dst []byte, name, value string) []byte {
	dst = append(append(dst, ' '), name...)
	dst = append(dst, '=', '\'')
	return append(appendEscaped(dst, value, true), '\'')
}

// SendCopies takes copies as Send takes stanzas, in their order as far as they go the
// same way.
func (r *Router) SendCopies(ctx context.Context, copies []Copy, refused func(Copy, error)) {
	for len(copies) > 0 {
		h, link, n := r.way(copies)
		switch many, ok := link.(CopySender); {
		case h == nil && ok:
			many.SendCopies(ctx, copies[:n], refused)
		default:
			n = 1
			s, err := copies[0].Draft.Stanza(copies[0].To.JID, copies[0].Full)
			if err == nil && h != nil {
				err = deliver(ctx, h, s)
			} else if err == nil {
				err = r.Send(ctx, s)
			}
			if err != nil {
				refused(copies[0], err)
			}
		}
		copies = copies[n:]
	}
}

// way is the way of the first copies: one to a Handler, or n to a link.
func (r *Router) way(copies []Copy) (h Handler, link Sender, n int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for n < len(copies) {
		c := &copies[n]
		h := r.handlers[c.To.domainpart()]
		if h == nil && r.find != nil {
			h = r.find(c.To.domainpart())
		}
		if h != nil {
			if n == 0 {
				return h, nil, 1
			}
			break
		}
		l := r.links[c.Draft.domain]
		if l == nil {
			l = r.other
		}
		if n > 0 && l != link {
			break
		}
		link = l
		n++
	}
	return nil, link, n
}

// SendCopies writes copies as Send writes stanzas without Taken.
func (l *Link) SendCopies(ctx context.Context, copies []Copy, refused func(Copy, error)) {
	if l.away() {
		for _, c := range copies {
			refused(c, ErrHostAway)
		}
		return
	}
	for len(copies) > 0 {
		n, tooLong := l.out.putCopies(ctx, copies, l.c.MaxStanza, l.c.SendTimeout)
		if n == len(copies) {
			return
		}
		if tooLong {
			refused(copies[n], errTooLong)
			copies = copies[n+1:]
			continue
		}
		for _, c := range copies[n:] {
			refused(c, ErrHostAway)
		}
		return
	}
}
