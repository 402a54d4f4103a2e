package omemo

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"

	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"

	"github.com/allium-xmpp/allium/component"
)

const tagLen = 16 // of AES-GCM

// A legacyChannel is a channel in Legacy, which libsignal knows.
type legacyChannel struct {
	ctx    context.Context
	o      *OwnDevice
	at     sessionKey
	cipher *session.Cipher
}

func newLegacyChannel(ctx context.Context, o *OwnDevice, tx *sql.Tx, at sessionKey) *legacyChannel {
	a := protocol.NewSignalAddress(at.jid, at.device)
	st := &ownStore{tx: tx, o: o, now: o.now()}
	return &legacyChannel{ctx, o, at, session.NewCipher(session.NewBuilder(st, st, st, st, a, signalFormat), a)}
}

func (c *legacyChannel) open(e *component.Element) (h heard, err error) {
	// What is malformed makes libsignal read behind the end of a slice.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed: %v", p)
		}
	}()
	header := e.Child(NSLegacy, "header")
	k := c.o.keyIn(Legacy, header)
	if k == nil {
		return h, errOthers
	}
	octets, err := octetsIn(k)
	if err != nil {
		return h, err
	}
	h.began = isTrue(k.AttrValue("prekey"))
	key, err := c.decrypt(octets, h.began)
	if err != nil {
		return h, err
	}
	if payload := e.Child(NSLegacy, "payload"); payload != nil {
		h.said = true
		err = openPayload(key, header.Child(NSLegacy, "iv"), payload)
	}
	return h, err
}

// decrypt reads the key of a payload. Its message can begin a session.
func (c *legacyChannel) decrypt(octets []byte, began bool) ([]byte, error) {
	if began {
		m, err := protocol.NewPreKeySignalMessageFromBytes(octets, signalFormat.PreKeySignalMessage, signalFormat.SignalMessage)
		if err != nil {
			return nil, err
		}
		return c.cipher.DecryptMessage(c.ctx, m)
	}
	m, err := protocol.NewSignalMessageFromBytes(octets, signalFormat.SignalMessage)
	if err != nil {
		return nil, err
	}
	return c.cipher.Decrypt(c.ctx, m)
}

// openPayload tells if a payload can be decrypted. Old clients have the tag of AES-GCM behind
// the payload, others behind the key.
func openPayload(key []byte, iv, payload *component.Element) error {
	nonce, err := octetsIn(iv)
	if err != nil {
		return err
	}
	sealed, err := octetsIn(payload)
	if err != nil {
		return err
	}
	if len(key) < aes.BlockSize || len(nonce) == 0 {
		return errors.New("a key is too short")
	}
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(nonce))
	if err != nil {
		return err
	}
	_, err = gcm.Open(nil, nonce, append(sealed, key[16:]...), nil)
	return err
}

func (c *legacyChannel) seal(text string) (*component.Element, error) {
	key, nonce := make([]byte, 16), make([]byte, 12)
	rand.Read(key)
	rand.Read(nonce)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	sealed := gcm.Seal(nil, nonce, []byte(text), nil)
	end := len(sealed) - tagLen
	m, err := c.cipher.Encrypt(c.ctx, append(key, sealed[end:]...))
	if err != nil {
		return nil, err
	}
	return component.NewElement(NSLegacy, "encrypted").Add(
		component.NewElement(NSLegacy, "header").With("sid", formatID(c.o.id)).Add(
			Legacy.text("key", m.Serialize()).With("rid", formatID(c.at.device)),
			Legacy.text("iv", nonce)),
		Legacy.text("payload", sealed[:end])), nil
}
