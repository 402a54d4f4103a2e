package omemo

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"slices"

	"filippo.io/edwards25519"
)

// agree is what the owners of two keys of Curve25519 agree on (RFC 7748 §6.1). It is an error
// with a key of low order.
func agree(secret, public []byte) ([]byte, error) {
	s, err := ecdh.X25519().NewPrivateKey(secret)
	if err != nil {
		return nil, err
	}
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	return s.ECDH(p)
}

// accept makes the session that somebody began with a signed and a one-time pre-key of ours:
// X3DH (XEP-0384 §4.2, and the specification that it names). seed is our identity.
func (x *keyExchange) accept(seed, signedPreKey, preKey []byte) (*ratchet, error) {
	// An identity is of Ed25519, where it signs; agreeing takes its form on Curve25519.
	theirs, err := new(edwards25519.Point).SetBytes(x.identity[:])
	if err != nil {
		return nil, err
	}
	ours := sha512.Sum512(seed)
	secret := bytes.Repeat([]byte{0xff}, 32)
	for _, pair := range []struct{ secret, public []byte }{
		{signedPreKey, theirs.BytesMontgomery()},
		{ours[:32], x.ephemeral[:]},
		{signedPreKey, x.ephemeral[:]},
		{preKey, x.ephemeral[:]},
	} {
		shared, err := agree(pair.secret, pair.public)
		if err != nil {
			return nil, err
		}
		secret = append(secret, shared...)
	}
	root, err := hkdf.Key(sha256.New, secret, make([]byte, sha256.Size), "OMEMO X3DH", 32)
	if err != nil {
		return nil, err
	}
	us := OMEMO2.publicOf(seed)
	return &ratchet{
		Ephemeral:  x.ephemeral[:],
		Associated: slices.Concat(x.identity[:], us[:]),
		Root:       root,
		Own:        signedPreKey,
	}, nil
}
