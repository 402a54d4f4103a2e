package component

import (
	"encoding/xml"

	"mellium.im/xmpp/stream"
)

// element makes the element whose start tag was read, and reads up to its end. Of one
// that is over a limit, only what says what it is and whose is kept.
func (d *Decoder) element(depth int) (*Element, error) {
	outer, raw, empty := len(d.scope), d.s.tag.name.raw, d.s.tag.empty
	e, err := d.start()
	if err != nil {
		return nil, err
	}
	if depth > d.lim.Depth {
		d.over = "nested too deeply"
	}
	switch {
	case empty:
	case d.over != "":
		err = d.skip()
	default:
		err = d.inside(e, raw, depth)
	}
	d.scope = d.scope[:outer]
	return e, err
}

// inside reads what is in e, and the end tag, which must have the name raw.
func (d *Decoder) inside(e *Element, raw string, depth int) error {
	outer := len(d.nodes)
	for {
		if err := d.s.chars(endsText, 0); err != nil {
			return err
		}
		kind, err := d.s.markup(d.attrs())
		if err != nil {
			return err
		}
		if kind == cdata { // it and the text at its sides are one run
			if err := d.s.chars(endsCDATA, 0); err != nil {
				return err
			}
			continue
		}
		if len(d.s.text) > 0 {
			d.nodes = append(d.nodes, Text(d.s.string(d.s.text)))
			d.s.text = d.s.text[:0]
		}
		switch kind {
		case startTag:
			c, err := d.element(depth + 1)
			if err != nil {
				return err
			}
			if d.over != "" {
				return d.skip()
			}
			d.nodes = append(d.nodes, c.Node())
		case endTag:
			if d.s.tag.name.raw != raw {
				return streamErr(stream.NotWellFormed, "closing tag does not match")
			}
			if nodes := d.nodes[outer:]; len(nodes) > 0 {
				e.Nodes = make([]Node, len(nodes))
				copy(e.Nodes, nodes)
				clear(nodes)
				d.nodes = d.nodes[:outer]
			}
			return nil
		default:
			return errInstruction
		}
	}
}

// skip reads up to the end of the element whose start tag was read, and keeps nothing.
func (d *Decoder) skip() error {
	for depth := 1; depth > 0; {
		d.s.text = d.s.text[:0]
		if err := d.s.chars(endsText, 0); err != nil {
			return err
		}
		kind, err := d.s.markup(0)
		if err != nil {
			return err
		}
		switch kind {
		case startTag:
			if !d.s.tag.empty {
				depth++
			}
		case endTag:
			depth--
		case cdata:
			if err := d.s.chars(endsCDATA, 0); err != nil {
				return err
			}
		default:
			return errInstruction
		}
	}
	d.s.text = d.s.text[:0]
	return nil
}

// attrs is how many attributes the next start tag may have.
func (d *Decoder) attrs() int {
	if d.count >= d.lim.Elements || len(d.scope) > d.lim.declared {
		return 0
	}
	return d.lim.Attrs
}

// start makes an element of a start tag: it resolves the names, and leaves the
// declarations in scope.
func (d *Decoder) start() (*Element, error) {
	t := &d.s.tag
	switch d.count++; {
	case d.count > d.lim.Elements:
		d.over = "too many elements"
	case t.many:
		d.over = "too many attributes"
	case len(d.scope) > d.lim.declared:
		d.over = "too many namespace declarations"
	}
	e := &Element{Prefix: t.name.prefix()}
	if len(t.attrs) > 0 {
		e.Attr = make([]Attr, len(t.attrs))
		copy(e.Attr, t.attrs)
	}
	for i := range e.Attr {
		a := &e.Attr[i]
		prefix, ok := a.declares()
		if !ok {
			continue
		}
		switch {
		case prefix == "xmlns",
			(prefix == "xml") != (a.Value == NSXML),
			a.Value == NSXMLNS,
			prefix != "" && a.Value == "":
			return nil, streamErr(stream.NotWellFormed, "declaration of a reserved namespace")
		}
		a.Name = xml.Name{Space: NSXMLNS, Local: prefix}
		d.scope = append(d.scope, binding{prefix, a.Value})
	}
	for i := range e.Attr {
		a := &e.Attr[i]
		if a.Name.Space != NSXMLNS && a.Prefix != "" {
			space, ok := d.lookup(a.Prefix)
			if !ok {
				return nil, streamErr(stream.BadNamespacePrefix, "prefix is not declared")
			}
			a.Name.Space = space
		}
		for j := range i {
			if a.Name == e.Attr[j].Name {
				return nil, streamErr(stream.NotWellFormed, "attribute given twice")
			}
		}
	}
	space, ok := d.lookup(e.Prefix)
	if !ok && e.Prefix != "" {
		return nil, streamErr(stream.BadNamespacePrefix, "prefix is not declared")
	}
	if space == d.content && space != "" {
		space = NSClient
	}
	e.Name = xml.Name{Space: space, Local: t.name.local()}
	return e, nil
}

func (d *Decoder) lookup(prefix string) (string, bool) {
	for i := len(d.scope) - 1; i >= 0; i-- {
		if d.scope[i].prefix == prefix {
			return d.scope[i].space, true
		}
	}
	return "", false
}
