package muc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"

	"mellium.im/xmpp/jid"
)

// idCipher hides archive ids. Inside they are times, so that they are in order; outside
// they must be unpredictable (XEP-0313 §3, XEP-0359 §3).
type idCipher struct {
	once  sync.Once
	block cipher.Block
}

func (c *idCipher) of(key []byte) cipher.Block {
	c.once.Do(func() {
		sum := sha256.Sum256(append([]byte("stanza id"), key...))
		c.block, _ = aes.NewCipher(sum[:]) // 32 octets are a key
	})
	return c.block
}

// idTag is the half of a block that tells the ids of a room from those of others, and
// from what was never one.
func idTag(addr jid.JID) (tag [8]byte) {
	sum := sha256.Sum256([]byte(addr.String()))
	copy(tag[:], sum[:])
	return tag
}

// appendID appends an archive id as others see it.
func (r *room) appendID(dst []byte, id int64) []byte {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	copy(b[8:], r.tag[:])
	r.ids.of(r.key).Encrypt(b[:], b[:])
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}

func (r *room) idText(id int64) string { return string(r.appendID(nil, id)) }

// parseID is the archive id that appendID wrote for this room.
func (r *room) parseID(text string) (id int64, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != aes.BlockSize {
		return 0, false
	}
	r.ids.of(r.key).Decrypt(b, b)
	return int64(binary.BigEndian.Uint64(b)), [8]byte(b[8:]) == r.tag
}
