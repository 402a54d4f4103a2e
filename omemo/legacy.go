package omemo

import "go.mau.fi/libsignal/ecc"

// Legacy is eu.siacs.conversations.axolotl, as XEP-0384 0.3.0 has it. All keys are of
// Curve25519, in the encoding of libsignal.
//
// The XEP sets no range for ids of signed pre-keys, and clients choose them at random from
// 0 on.
var Legacy = &Format{
	name:           "legacy",
	namespace:      NSLegacy,
	list:           "list",
	signedPreKey:   "signedPreKeyPublic",
	signedPreKeyID: "signedPreKeyId",
	signature:      "signedPreKeySignature",
	identityKey:    "identityKey",
	preKey:         "preKeyPublic",
	preKeyID:       "preKeyId",
	prefix:         []byte{ecc.DjbType},
	fewPreKeys:     20,
	identityFault:  curve25519Fault,
	signed: func(k *Key, message []byte, s *Signature) bool {
		return ecc.VerifySignature(ecc.NewDjbECPublicKey(*k), message, *s)
	},
	newIdentity: newSecret,
	publicOf:    publicKey,
	sign: func(secret, message []byte) Signature {
		return ecc.CalculateSignature(ecc.NewDjbECPrivateKey([32]byte(secret)), message)
	},
}
