package omemo

import "crypto/ed25519"

// OMEMO2 is urn:xmpp:omemo:2, as XEP-0384 0.9.1 has it. The identity key is of Ed25519,
// all others are of Curve25519.
var OMEMO2 = &Format{
	name:              "omemo:2",
	namespace:         NSOMEMO2,
	list:              "devices",
	labels:            true,
	signedPreKey:      "spk",
	signedPreKeyID:    "id",
	signature:         "spks",
	identityKey:       "ik",
	preKey:            "pk",
	preKeyID:          "id",
	minSignedPreKeyID: 1,
	fewPreKeys:        25,
	identityFault:     ed25519Fault,
	signed: func(k *Key, message []byte, s *Signature) bool {
		return ed25519.Verify(k[:], message, s[:])
	},
	newIdentity: func() ([]byte, error) {
		_, private, err := ed25519.GenerateKey(nil)
		return private.Seed(), err
	},
	publicOf: func(seed []byte) Key { return Key(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)) },
	sign: func(seed, message []byte) Signature {
		return Signature(ed25519.Sign(ed25519.NewKeyFromSeed(seed), message))
	},
}
