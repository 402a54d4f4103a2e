package component

import (
	"strconv"
	"unicode/utf8"
)

// AppendXML appends the element as XML to dst. content is the content namespace of
// the stream that it is written to (RFC 6120 §4.8.3), which is that stream's default
// namespace: the element and its descendants in NSClient are written in content, up
// to the first descendant in another namespace; what is in NSClient below that (a
// forwarded message, XEP-0297 §3.1) is declared to be in NSClient.
//
// Prefixes and declarations are written as they were read, and completed where the
// element stands in another place now. Characters that XML 1.0 does not allow are
// written as U+FFFD. The prefix stream is taken to be declared by the stream.
func (e *Element) AppendXML(dst []byte, content string) []byte {
	var scope [8]binding
	w := writer{dst: dst, content: content}
	w.scope = append(scope[:0], binding{"xml", NSXML}, binding{"stream", NSStream}, binding{"", content})
	w.element(e, true)
	return w.dst
}

type binding struct{ prefix, space string }

type writer struct {
	dst     []byte
	content string
	scope   []binding
}

func (w *writer) lookup(prefix string) (string, bool) {
	for i := len(w.scope) - 1; i >= 0; i-- {
		if w.scope[i].prefix == prefix {
			return w.scope[i].space, true
		}
	}
	return "", false
}

// element writes e. inContent tells that all ancestors are in the content namespace.
func (w *writer) element(e *Element, inContent bool) {
	space, prefix := e.Name.Space, e.Prefix
	inContent = inContent && space == NSClient
	if inContent {
		space, prefix = w.content, ""
	}
	if space == "" {
		prefix = "" // a prefix cannot stand for no namespace
	}
	outer := len(w.scope)
	w.dst = append(w.dst, '<')
	w.name(prefix, e.Name.Local)
	// What was declared here, unless the element's own name needs its prefix for
	// another namespace, in which case the declaration was lost on the way.
	for i := range e.Attr {
		a := &e.Attr[i]
		if a.Name.Space != NSXMLNS || a.Name.Local == "xml" || a.Name.Local == prefix && a.Value != space ||
			a.Name.Local != "" && a.Value == "" {
			continue
		}
		if a.Name.Local == "" && inContent {
			continue
		}
		w.declare(a.Name.Local, a.Value)
	}
	if have, _ := w.lookup(prefix); have != space {
		w.declare(prefix, space)
	}
	for i := range e.Attr {
		a := &e.Attr[i]
		if a.Name.Space == NSXMLNS {
			continue
		}
		p := ""
		if a.Name.Space != "" {
			p = w.attrPrefix(a, e)
		}
		w.dst = append(w.dst, ' ')
		w.name(p, a.Name.Local)
		w.dst = append(w.dst, '=', '\'')
		w.dst = appendEscaped(w.dst, a.Value, true)
		w.dst = append(w.dst, '\'')
	}
	if len(e.Nodes) == 0 {
		w.dst = append(w.dst, '/', '>')
		w.scope = w.scope[:outer]
		return
	}
	w.dst = append(w.dst, '>')
	for i := range e.Nodes {
		if c := e.Nodes[i].Element; c != nil {
			w.element(c, inContent)
		} else {
			w.dst = appendEscaped(w.dst, e.Nodes[i].Text, false)
		}
	}
	w.dst = append(w.dst, '<', '/')
	w.name(prefix, e.Name.Local)
	w.dst = append(w.dst, '>')
	w.scope = w.scope[:outer]
}

// attrPrefix finds or makes a prefix for the namespace of an attribute. The default
// namespace does not apply to attributes (Namespaces in XML §6.2).
func (w *writer) attrPrefix(a *Attr, e *Element) string {
	if a.Name.Space == NSXML {
		return "xml"
	}
	if a.Prefix != "" {
		if have, _ := w.lookup(a.Prefix); have == a.Name.Space {
			return a.Prefix
		}
	}
	for i := len(w.scope) - 1; i >= 0; i-- {
		b := w.scope[i]
		if b.prefix == "" || b.space != a.Name.Space {
			continue
		}
		if have, _ := w.lookup(b.prefix); have == b.space {
			return b.prefix
		}
	}
	p := a.Prefix
	for n := 0; ; n++ {
		if _, taken := w.lookup(p); p != "" && !taken {
			break
		}
		p = "ns" + strconv.Itoa(n)
	}
	w.declare(p, a.Name.Space)
	return p
}

func (w *writer) declare(prefix, space string) {
	w.scope = append(w.scope, binding{prefix, space})
	if prefix == "" {
		w.dst = append(w.dst, " xmlns='"...)
	} else {
		w.dst = append(w.dst, " xmlns:"...)
		w.dst = append(w.dst, prefix...)
		w.dst = append(w.dst, "='"...)
	}
	w.dst = appendEscaped(w.dst, space, true)
	w.dst = append(w.dst, '\'')
}

func (w *writer) name(prefix, local string) {
	if prefix != "" {
		w.dst = append(w.dst, prefix...)
		w.dst = append(w.dst, ':')
	}
	w.dst = append(w.dst, local...)
}

// escaped are the octets that may have to be written in another way.
var escaped = func() (e [256]bool) {
	for c := range e {
		e[c] = c < 0x20 || c >= utf8.RuneSelf || c == '&' || c == '<' || c == '>' || c == '\''
	}
	return e
}()

// appendEscaped appends s so that a parser reads s again: a parser turns a carriage
// return into a line feed and, in attributes, all white space into blanks, unless
// they are character references (XML 1.0 §2.11, §3.3.3).
func appendEscaped(dst []byte, s string, attr bool) []byte {
	last := 0
	for i := 0; i < len(s); {
		c := s[i]
		if !escaped[c] {
			i++
			continue
		}
		var esc string
		width := 1
		switch {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			width = n
			if r != utf8.RuneError && r != 0xFFFE && r != 0xFFFF || r == utf8.RuneError && n == 3 {
				i += n
				continue
			}
			esc = "\uFFFD"
		case c == '&':
			esc = "&amp;"
		case c == '<':
			esc = "&lt;"
		case c == '>':
			esc = "&gt;"
		case c == '\r':
			esc = "&#xD;"
		case attr && c == '\'':
			esc = "&apos;"
		case attr && c == '\n':
			esc = "&#xA;"
		case attr && c == '\t':
			esc = "&#x9;"
		case c < 0x20 && c != '\n' && c != '\t':
			esc = "\uFFFD"
		default:
			i++
			continue
		}
		dst = append(dst, s[last:i]...)
		dst = append(dst, esc...)
		i += width
		last = i
	}
	return append(dst, s[last:]...)
}
