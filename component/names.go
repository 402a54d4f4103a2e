package component

import (
	"encoding/xml"
	"hash/maphash"
	"strings"

	"mellium.im/xmpp/stream"
)

// A qname is a name as it was written (Namespaces in XML §4).
type qname struct {
	raw   string
	colon int // where it is, -1 if there is none
}

func (q qname) prefix() string { return q.raw[:max(q.colon, 0)] }
func (q qname) local() string  { return q.raw[q.colon+1:] }

// A nameTable remembers names and namespaces that were seen in a stream, of which there
// are few, so that they need not be made and checked each time. It is bounded: what is
// new takes the place of another, and what is long is not remembered.
type nameTable struct {
	seed   maphash.Seed
	names  [128]qname
	spaces [64]string
}

const maxRemembered = 64 // octets

// name is the name that raw is. The error is a StreamError.
func (t *nameTable) name(raw []byte) (qname, error) {
	if len(raw) > maxRemembered {
		return parseName(string(raw))
	}
	slot := &t.names[maphash.Bytes(t.seed, raw)%uint64(len(t.names))]
	if len(raw) > 0 && slot.raw == string(raw) {
		return *slot, nil
	}
	q, err := parseName(string(raw))
	if err == nil {
		*slot = q
	}
	return q, err
}

// space is raw as a string.
func (t *nameTable) space(raw []byte) string {
	if len(raw) > maxRemembered {
		return string(raw)
	}
	slot := &t.spaces[maphash.Bytes(t.seed, raw)%uint64(len(t.spaces))]
	if *slot != string(raw) {
		*slot = string(raw)
	}
	return *slot
}

// parseName splits and checks a name. With a colon, both sides of it must be names
// without one (Namespaces in XML §4, §7).
func parseName(raw string) (qname, error) {
	q := qname{raw, strings.IndexByte(raw, ':')}
	if !isNCName(q.local()) || q.colon >= 0 && !isNCName(q.prefix()) {
		return qname{}, streamErr(stream.NotWellFormed, badName)
	}
	return q, nil
}

// isNCName tells if s, which has no octets that end a name, is a name without a colon.
// Beyond ASCII the names are those of XML 1.0 up to its fourth edition, as encoding/xml
// has them: the fifth allows more, but servers whose parsers do not (expat) would end
// the stream over an element that is passed on to them.
func isNCName(s string) bool {
	if s == "" || strings.IndexByte(s, ':') >= 0 {
		return false
	}
	for i := range len(s) {
		if s[i] >= 0x80 {
			tok, err := xml.NewDecoder(strings.NewReader("<" + s + "/>")).RawToken()
			start, ok := tok.(xml.StartElement)
			return err == nil && ok && start.Name.Local == s
		}
	}
	return classes[s[0]]&inNameFirst != 0
}
