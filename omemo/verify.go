package omemo

import (
	"slices"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// Verify checks a bundle as ParseBundle does. The error is an [*Error].
func (b *Bundle) Verify() error {
	f := b.Format
	if id := b.SignedPreKey.ID; id < f.minSignedPreKeyID || id > maxID {
		return badID(f.signedPreKey, f.minSignedPreKeyID)
	}
	switch n := len(b.PreKeys); {
	case n == 0:
		return refuse("no one-time pre-keys")
	case n > MaxPreKeys:
		return tooMany("one-time pre-keys", MaxPreKeys)
	}
	ids := make([]uint32, len(b.PreKeys))
	for i := range b.PreKeys {
		k := &b.PreKeys[i]
		if fault := curve25519Fault(&k.Key); fault != "" {
			return refuse("%s %d %s", f.preKey, k.ID, fault)
		}
		ids[i] = k.ID
	}
	if err := checkIDs(f.preKey, ids); err != nil {
		return err
	}
	if fault := curve25519Fault(&b.SignedPreKey.Key); fault != "" {
		return refuse("%s %s", f.signedPreKey, fault)
	}
	if fault := f.identityFault(&b.IdentityKey); fault != "" {
		return refuse("%s %s", f.identityKey, fault)
	}
	if !f.signed(&b.IdentityKey, f.encode(&b.SignedPreKey.Key), &b.Signature) {
		return refuse("%s is not by %s", f.signature, f.identityKey)
	}
	return nil
}

// checkIDs checks that ids, which it sorts, are in range and different.
func checkIDs(what string, ids []uint32) error {
	slices.Sort(ids)
	for i, id := range ids {
		switch {
		case id == 0 || id > maxID:
			return badID(what, 1)
		case i > 0 && id == ids[i-1]:
			return refuse("more than one %s with the id %d", what, id)
		}
	}
	return nil
}

const (
	notCanonical = "is not in canonical form"
	isLowOrder   = "is a key of low order"
)

// lowOrder are the canonical u of Curve25519 and its twist whose order divides 8, little
// endian: 0, 1, two of order 8, and -1.
var lowOrder = [...]Key{
	{},
	{1},
	{
		0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
		0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
	},
	{
		0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
		0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
	},
	{
		0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	},
}

// curve25519Fault tells what is wrong with a key of Curve25519, "" if it is right. X25519
// takes several forms of one key (RFC 7748 §5), but no program writes more than one; the
// others are a second name for the same key.
func curve25519Fault(k *Key) string {
	var u field.Element
	if _, err := u.SetBytes(k[:]); err != nil || Key(u.Bytes()) != *k {
		return notCanonical
	}
	if slices.Contains(lowOrder[:], *k) {
		return isLowOrder
	}
	return ""
}

// ed25519Fault tells what is wrong with a key of Ed25519, "" if it is right. With one of
// low order anybody can sign.
func ed25519Fault(k *Key) string {
	p, err := new(edwards25519.Point).SetBytes(k[:])
	switch {
	case err != nil:
		return "is not a key of Ed25519"
	case Key(p.Bytes()) != *k:
		return notCanonical
	case new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1:
		return isLowOrder
	}
	return ""
}
