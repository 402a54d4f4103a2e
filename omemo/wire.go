package omemo

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"

	"github.com/allium-xmpp/allium/component"
)

var strictBase64 = base64.StdEncoding.Strict()

// maxOctets is the length of the longest value, a signature.
const maxOctets = len(Signature{})

// only is the child of e of that name, which must be there once.
func (f *Format) only(e *component.Element, local string) (*component.Element, error) {
	var found *component.Element
	for _, n := range e.Nodes {
		switch c := n.Element; {
		case c == nil || !c.Is(f.namespace, local):
		case found != nil:
			return nil, refuse("more than one %s", local)
		default:
			found = c
		}
	}
	if found == nil {
		return nil, refuse("there is no %s", local)
	}
	return found, nil
}

// key reads the key in e.
func (f *Format) key(e *component.Element) (Key, error) {
	var wire [1 + len(Key{})]byte
	octets := wire[:len(f.prefix)+len(Key{})]
	if err := octetsOf(e, octets); err != nil {
		return Key{}, err
	}
	if !slices.Equal(octets[:len(f.prefix)], f.prefix) {
		return Key{}, refuse("%s does not begin with %02x", e.Name.Local, f.prefix)
	}
	return Key(octets[len(f.prefix):]), nil
}

// encode is k as it is written, and signed.
func (f *Format) encode(k *Key) []byte { return append(slices.Clip(f.prefix), k[:]...) }

// preKeyOf reads a pre-key, one-time or signed.
func (f *Format) preKeyOf(e *component.Element, idAttr string, minID uint32) (PreKey, error) {
	id, err := parseID(e, idAttr, minID)
	if err != nil {
		return PreKey{}, err
	}
	k, err := f.key(e)
	return PreKey{id, k}, err
}

// octetsOf reads the base64 in e, which must fill dst.
func octetsOf(e *component.Element, dst []byte) error {
	for _, n := range e.Nodes {
		if n.Element != nil {
			return refuse("%s has elements in it", e.Name.Local)
		}
	}
	if fault := decode(dst, e.Text()); fault != "" {
		return refuse("%s %s", e.Name.Local, fault)
	}
	return nil
}

// decode fills dst, of at most maxOctets, from strict base64, in which clients may have
// put white space.
func decode(dst []byte, text string) (fault string) {
	var digits [(maxOctets + 2) / 3 * 4]byte
	n, end := 0, base64.StdEncoding.EncodedLen(len(dst))
	for i := range len(text) {
		switch c := text[i]; {
		case c == ' ', c == '\t', c == '\r', c == '\n':
		case n == end:
			return fmt.Sprintf("has more than %d octets", len(dst))
		default:
			digits[n] = c
			n++
		}
	}
	var octets [len(digits) / 4 * 3]byte
	switch n, err := strictBase64.Decode(octets[:], digits[:n]); {
	case err != nil:
		return "is not base64"
	case n != len(dst):
		return fmt.Sprintf("has %d octets instead of %d", n, len(dst))
	}
	copy(dst, octets[:])
	return ""
}

// parseID reads an id of at most 31 bits. That it is at least first is for Verify to check.
func parseID(e *component.Element, attr string, first uint32) (uint32, error) {
	id, err := strconv.ParseUint(e.AttrValue(attr), 10, 31)
	if err != nil {
		return 0, badID(e.Name.Local, first)
	}
	return uint32(id), nil
}

func badID(what string, first uint32) error {
	return refuse("%s has an id that is not a number from %d to %d", what, first, maxID)
}

func formatID(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// text makes the element local with octets in it.
func (f *Format) text(local string, octets []byte) *component.Element {
	return component.NewElement(f.namespace, local,
		component.Text(base64.StdEncoding.EncodeToString(octets)))
}
