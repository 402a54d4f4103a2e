package omemo

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
)

const macLen = 16 // what is left of a HMAC (XEP-0384 §4.3)

// A cbc encrypts one thing as OMEMO2 does, both keys and payloads: with AES-256-CBC, and
// HMAC-SHA-256 (XEP-0384 §4.3, §4.4).
type cbc struct {
	key, auth, iv []byte
}

// newCBC derives the keys from a secret. info tells what they are for.
func newCBC(secret []byte, info string) (*cbc, error) {
	k, err := hkdf.Key(sha256.New, secret, make([]byte, sha256.Size), info, 32+32+aes.BlockSize)
	if err != nil {
		return nil, err
	}
	return &cbc{k[:32], k[32:64], k[64:]}, nil
}

// seal encrypts, with the padding of PKCS #7.
func (c *cbc) seal(plain []byte) ([]byte, error) {
	block, err := aes.NewCipher(c.key)
	if err != nil {
		return nil, err
	}
	n := aes.BlockSize - len(plain)%aes.BlockSize
	out := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(block, c.iv).CryptBlocks(out, out)
	return out, nil
}

// open decrypts what seal made. What it is given must have been authenticated before.
func (c *cbc) open(sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errors.New("it is not whole blocks")
	}
	block, err := aes.NewCipher(c.key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(block, c.iv).CryptBlocks(out, sealed)
	n := int(out[len(out)-1])
	if n == 0 || n > aes.BlockSize || !bytes.HasSuffix(out, bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, errors.New("its padding is wrong")
	}
	return out[:len(out)-n], nil
}

// mac authenticates parts, as one.
func (c *cbc) mac(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, c.auth)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)[:macLen]
}
