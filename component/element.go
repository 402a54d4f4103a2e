package component

import (
	"encoding/xml"
	"slices"
	"strings"
)

// An Element is an XML element with everything that was in it, so that it can be
// passed on as it came: names are resolved to their namespaces, and prefixes and
// namespace declarations are kept as they were written.
//
// The zero Prefix means the default namespace. An element made by a program needs
// only Name: what must be declared is declared when it is written.
type Element struct {
	Name   xml.Name // Space is the namespace, NSClient for the stream's own
	Prefix string   // as it was written
	Attr   []Attr   // in document order, with namespace declarations
	Nodes  []Node   // in document order
}

// An Attr is an attribute of an Element. Declarations of namespaces are attributes
// in NSXMLNS: xmlns="urn:x" has Name.Local "" and Value "urn:x", and xmlns:p="urn:x"
// has Name.Local "p".
type Attr struct {
	Name   xml.Name // Space is empty for an attribute without prefix
	Prefix string   // as it was written
	Value  string
}

// A Node is an element or, where Element is nil, a run of character data.
type Node struct {
	Element *Element
	Text    string
}

// NewElement makes an element named local in the namespace space, with nodes.
func NewElement(space, local string, nodes ...Node) *Element {
	return &Element{Name: xml.Name{Space: space, Local: local}, Nodes: nodes}
}

// Text makes a node of character data.
func Text(s string) Node { return Node{Text: s} }

// Node makes a node of e.
func (e *Element) Node() Node { return Node{Element: e} }

// With sets the attribute local, which has no namespace, and returns e, so that
// calls can be chained where an element is made.
func (e *Element) With(local, value string) *Element {
	e.SetAttr(local, value)
	return e
}

// Is tells if the element has that name.
func (e *Element) Is(space, local string) bool {
	return e.Name.Local == local && e.Name.Space == space
}

// AttrValue is the value of the attribute without namespace, "" if there is none. It
// may be called on nil.
func (e *Element) AttrValue(local string) string {
	v, _ := e.LookupAttr(local)
	return v
}

// LookupAttr is the value of the attribute without namespace, and if there is one. It
// may be called on nil.
func (e *Element) LookupAttr(local string) (string, bool) {
	if e == nil {
		return "", false
	}
	for i := range e.Attr {
		if a := &e.Attr[i]; a.Name.Local == local && a.Name.Space == "" {
			return a.Value, true
		}
	}
	return "", false
}

// SetAttr sets the attribute without namespace.
func (e *Element) SetAttr(local, value string) {
	for i := range e.Attr {
		if a := &e.Attr[i]; a.Name.Local == local && a.Name.Space == "" {
			a.Value = value
			return
		}
	}
	e.Attr = append(e.Attr, Attr{Name: xml.Name{Local: local}, Value: value})
}

// RemoveAttr removes the attribute without namespace.
func (e *Element) RemoveAttr(local string) {
	e.Attr = slices.DeleteFunc(e.Attr, func(a Attr) bool {
		return a.Name.Local == local && a.Name.Space == ""
	})
}

// Child is the first child element of that name, nil if there is none. It may be
// called on nil, so that calls can be chained.
func (e *Element) Child(space, local string) *Element {
	if e == nil {
		return nil
	}
	return child(e.Nodes, space, local)
}

// Add appends child elements and returns e.
func (e *Element) Add(children ...*Element) *Element {
	for _, c := range children {
		e.Nodes = append(e.Nodes, c.Node())
	}
	return e
}

// Text is the character data that is directly in the element. It may be called on
// nil.
func (e *Element) Text() string {
	if e == nil {
		return ""
	}
	switch len(e.Nodes) {
	case 0:
		return ""
	case 1:
		return e.Nodes[0].Text
	}
	var b strings.Builder
	for _, n := range e.Nodes {
		b.WriteString(n.Text)
	}
	return b.String()
}

// SetText replaces everything in the element by character data.
func (e *Element) SetText(s string) { e.Nodes = []Node{Text(s)} }

// String is the element as it is written by AppendXML in a stream of clients.
func (e *Element) String() string { return string(e.AppendXML(nil, NSClient)) }

func child(nodes []Node, space, local string) *Element {
	for _, n := range nodes {
		if n.Element != nil && n.Element.Is(space, local) {
			return n.Element
		}
	}
	return nil
}
