package omemo

import (
	"fmt"

	"github.com/allium-xmpp/allium/component"
)

// A Key is a public key: of Ed25519 the identity key of OMEMO2, of Curve25519 all others.
// It is without the prefix that [Legacy] writes.
type Key [32]byte

// A Signature is one by an identity key: of XEdDSA in [Legacy], with the sign of the
// Ed25519 key in its last bit, and of Ed25519 in [OMEMO2].
type Signature [64]byte

// A PreKey is a key that a session is begun with.
type PreKey struct {
	ID  uint32
	Key Key
}

// A Bundle is what one device publishes so that others can begin sessions with it.
type Bundle struct {
	Format       *Format
	IdentityKey  Key
	SignedPreKey PreKey
	Signature    Signature // of SignedPreKey, by IdentityKey
	PreKeys      []PreKey  // one-time, in the order in which they are written
}

// ParseBundle reads and verifies a bundle, the payload of an item of pubsub (nil where
// there is none). The error is an [*Error].
//
// What XEP-0384 does not know of is left out.
func (f *Format) ParseBundle(e *component.Element) (*Bundle, error) {
	if e == nil || !e.Is(f.namespace, "bundle") {
		return nil, refuse("not a bundle of %s", f)
	}
	b := &Bundle{Format: f}
	for _, part := range []struct {
		name string
		read func(e *component.Element) error
	}{
		{f.signedPreKey, func(e *component.Element) (err error) {
			b.SignedPreKey, err = f.preKeyOf(e, f.signedPreKeyID, f.minSignedPreKeyID)
			return err
		}},
		{f.signature, func(e *component.Element) error { return octetsOf(e, b.Signature[:]) }},
		{f.identityKey, func(e *component.Element) (err error) {
			b.IdentityKey, err = f.key(e)
			return err
		}},
		{"prekeys", b.readPreKeys},
	} {
		c, err := f.only(e, part.name)
		if err != nil {
			return nil, err
		}
		if err := part.read(c); err != nil {
			return nil, err
		}
	}
	if err := b.Verify(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Bundle) readPreKeys(e *component.Element) error {
	b.PreKeys = make([]PreKey, 0, min(len(e.Nodes), MaxPreKeys))
	for _, n := range e.Nodes {
		if n.Element == nil || !n.Element.Is(b.Format.namespace, b.Format.preKey) {
			continue
		}
		if len(b.PreKeys) == MaxPreKeys {
			return tooMany("one-time pre-keys", MaxPreKeys)
		}
		k, err := b.Format.preKeyOf(n.Element, b.Format.preKeyID, 1)
		if err != nil {
			return err
		}
		b.PreKeys = append(b.PreKeys, k)
	}
	return nil
}

// Element is the bundle as it is published. ParseBundle reads an equal one from it.
func (b *Bundle) Element() *component.Element {
	f := b.Format
	preKeys := component.NewElement(f.namespace, "prekeys")
	for i := range b.PreKeys {
		k := &b.PreKeys[i]
		preKeys.Add(f.text(f.preKey, f.encode(&k.Key)).With(f.preKeyID, formatID(k.ID)))
	}
	return component.NewElement(f.namespace, "bundle").Add(
		f.text(f.signedPreKey, f.encode(&b.SignedPreKey.Key)).With(f.signedPreKeyID, formatID(b.SignedPreKey.ID)),
		f.text(f.signature, b.Signature[:]),
		f.text(f.identityKey, f.encode(&b.IdentityKey)),
		preKeys)
}

// Warnings says what is allowed, but not good, in words for admins.
func (b *Bundle) Warnings() []string {
	if n := len(b.PreKeys); n < b.Format.fewPreKeys {
		return []string{fmt.Sprintf("few one-time pre-keys: %d, and should be %d or more", n, b.Format.fewPreKeys)}
	}
	return nil
}
