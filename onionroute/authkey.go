package onionroute

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// An AuthKey is one half of the x25519 key pair of client authorisation: who has the
// secret half of a pair whose public half an onion service knows can find and reach it
// (Tor rend-spec-v3 §3.5.3 and appendix F).
type AuthKey []byte

var keyEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// ParseAuthKey reads a key as Tor's .auth and .auth_private files have it, with or
// without what stands before the key there: 52 characters of base32.
func ParseAuthKey(s string) (AuthKey, error) {
	s = strings.TrimSpace(s)
	key, err := keyEncoding.DecodeString(strings.ToUpper(s[strings.LastIndexByte(s, ':')+1:]))
	if err != nil || len(key) != 32 {
		return nil, errors.New("onionroute: a key of client authorisation is 52 letters and digits (base32), or such a line: descriptor:x25519:<key>")
	}
	return key, nil
}

// String is the key in base32.
func (k AuthKey) String() string { return keyEncoding.EncodeToString(k) }

// NewAuthKeys makes a pair of keys.
func NewAuthKeys() (public, secret AuthKey, err error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("onionroute: make a key: %w", err)
	}
	return k.PublicKey().Bytes(), k.Bytes(), nil
}
