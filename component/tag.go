package component

import "slices"

// A tag is a start tag, or an end tag, as it was written.
type tag struct {
	name  qname
	attrs []Attr // with their prefixes, and no namespaces
	many  bool   // there are more attributes than were asked for
	empty bool   // it is the end tag too
}

// maxHeader bounds the attributes that are kept of a tag with too many.
const maxHeader = 6

// cut forgets the attributes that say nothing of what the element is and whose.
func (t *tag) cut() {
	t.many = true
	attrs := t.attrs
	t.attrs = t.attrs[:0]
	for _, a := range attrs {
		if t.wants(&a) {
			t.attrs = append(t.attrs, a)
		}
	}
	clear(attrs[len(t.attrs):])
}

// wants tells if the attribute is kept.
func (t *tag) wants(a *Attr) bool {
	if !t.many {
		return true
	}
	return len(t.attrs) < maxHeader && (a.Prefix == "xmlns" && a.Name.Local == t.name.prefix() ||
		a.Prefix == "" && slices.Contains([]string{"to", "from", "id", "type", "xmlns"}, a.Name.Local))
}

// declares is the prefix that an attribute, as it was written, declares, if it is a
// declaration.
func (a *Attr) declares() (prefix string, ok bool) {
	if a.Prefix == "xmlns" {
		return a.Name.Local, true
	}
	return "", a.Prefix == "" && a.Name.Local == "xmlns"
}
