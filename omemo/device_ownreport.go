package omemo

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const (
	nsEME   = "urn:xmpp:eme:0" // XEP-0380
	nsHints = "urn:xmpp:hints" // XEP-0334

	tagLen = 16 // of AES-GCM

	maxOwnBusy = 8 // messages that are being answered; others are refused
)

// Report makes a service answer messages that are encrypted to the device, in Legacy, with
// an encrypted report, for those who may: so that a user who has nobody to ask sees that
// encryption works. The report goes to the device that wrote, and has in it what was found
// out; report adds to that. Messages are not kept. A message that is not encrypted is
// answered with an error.
func (o *OwnDevice) Report(sv *component.Service, out component.Sender, may func(jid.JID) bool, report func() string) {
	sv.Messages(component.HandlerFunc(func(ctx context.Context, s *component.Stanza) error {
		e := s.Child(NSLegacy, "encrypted")
		if e == nil || !may(s.From) {
			return component.NewError(stanza.Cancel, stanza.ServiceUnavailable, "")
		}
		select {
		case o.busy <- struct{}{}:
		default:
			return component.NewError(stanza.Wait, stanza.ResourceConstraint, "")
		}
		go func() { // it waits for the disk
			defer func() { <-o.busy }()
			if r := o.reply(ctx, s, e, report); r != nil {
				if err := out.Send(ctx, r); err != nil {
					slog.Debug("a report could not be sent", "error", err)
				}
			}
		}()
		return nil
	}))
}

// reply makes the message, or error, that answers s; nil if there is none.
func (o *OwnDevice) reply(ctx context.Context, s *component.Stanza, e *component.Element, report func() string) *component.Stanza {
	answer, err := o.answer(ctx, s.From, e, report)
	switch {
	case err != nil:
		slog.Debug("a message to Allium's own device cannot be read", "error", err)
		return s.Error(component.NewError(stanza.Modify, stanza.NotAcceptable, "This cannot be decrypted here. Have your client fetch the keys of this address once more."))
	case answer == nil:
		return nil
	}
	m := &component.Stanza{Kind: component.Message, Type: s.Type, ID: newID(), From: s.To, To: s.From}
	return m.Add(answer,
		component.NewElement(nsEME, "encryption").With("namespace", NSLegacy).With("name", "OMEMO"),
		component.NewElement(nsHints, "store"),
		component.NewElement(component.NSClient, "body", component.Text("This is encrypted with OMEMO, which your client cannot read.")))
}

// answer reads a message, and makes the encrypted answer; nil for one that says nothing,
// which a client only sends to keep its session. Both are done, or nothing is.
func (o *OwnDevice) answer(ctx context.Context, from jid.JID, e *component.Element, report func() string) (answer *component.Element, err error) {
	o.work.Lock()
	defer o.work.Unlock()
	if o.closed {
		return nil, errors.New("it is closed")
	}
	tx, err := o.db.Begin()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	// What is malformed makes libsignal read behind the end of a slice.
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, fmt.Errorf("malformed: %v", p)
		}
	}()
	device, err := parseID(e.Child(NSLegacy, "header"), "sid", 1)
	if err != nil {
		return nil, err
	}
	a := protocol.NewSignalAddress(from.Bare().String(), device)
	st := &ownStore{tx: tx, o: o, now: o.now()}
	c := session.NewCipher(session.NewBuilder(st, st, st, st, a, signalFormat), a)
	key, began, err := o.keyIn(ctx, c, e)
	if err != nil {
		return nil, err
	}
	if payload := e.Child(NSLegacy, "payload"); payload != nil {
		if _, err := open(key, e.Child(NSLegacy, "header").Child(NSLegacy, "iv"), payload); err != nil {
			return nil, err
		}
		text := fmt.Sprintf("Encryption works: your message was encrypted by your device %d, and could be read here. So is this answer, by the device %d. %s", device, o.id, report())
		if answer, err = o.seal(ctx, c, device, text); err != nil {
			return nil, err
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	if began { // with a one-time pre-key, which is used up
		if err := o.renew(); err != nil {
			slog.Error("Allium's own OMEMO keys cannot be renewed: is the disk full?", "error", err)
		}
	}
	return answer, nil
}

// keyIn finds what is for this device, and decrypts it. began tells of a new session.
func (o *OwnDevice) keyIn(ctx context.Context, c *session.Cipher, e *component.Element) (key []byte, began bool, err error) {
	for _, n := range e.Child(NSLegacy, "header").Nodes {
		k := n.Element
		if k == nil || !k.Is(NSLegacy, "key") || k.AttrValue("rid") != formatID(o.id) {
			continue
		}
		octets, err := octetsIn(k)
		if err != nil {
			return nil, false, err
		}
		if v := k.AttrValue("prekey"); v == "true" || v == "1" {
			m, err := protocol.NewPreKeySignalMessageFromBytes(octets, signalFormat.PreKeySignalMessage, signalFormat.SignalMessage)
			if err != nil {
				return nil, false, err
			}
			key, err := c.DecryptMessage(ctx, m)
			return key, true, err
		}
		m, err := protocol.NewSignalMessageFromBytes(octets, signalFormat.SignalMessage)
		if err != nil {
			return nil, false, err
		}
		key, err := c.Decrypt(ctx, m)
		return key, false, err
	}
	return nil, false, errors.New("it is not for this device")
}

// octetsIn reads base64 of any length.
func octetsIn(e *component.Element) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(e.Text()), ""))
}

// open decrypts a payload. Old clients have the tag of AES-GCM behind the payload, others
// behind the key.
func open(key []byte, iv, payload *component.Element) ([]byte, error) {
	nonce, err := octetsIn(iv)
	if err != nil {
		return nil, err
	}
	sealed, err := octetsIn(payload)
	if err != nil {
		return nil, err
	}
	if len(key) < aes.BlockSize || len(nonce) == 0 {
		return nil, errors.New("a key is too short")
	}
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(nonce))
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nonce, append(sealed, key[16:]...), nil)
}

// seal encrypts a text to the device that c has a session with.
func (o *OwnDevice) seal(ctx context.Context, c *session.Cipher, device uint32, text string) (*component.Element, error) {
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
	m, err := c.Encrypt(ctx, append(key, sealed[end:]...))
	if err != nil {
		return nil, err
	}
	return component.NewElement(NSLegacy, "encrypted").Add(
		component.NewElement(NSLegacy, "header").With("sid", formatID(o.id)).Add(
			Legacy.text("key", m.Serialize()).With("rid", formatID(device)),
			Legacy.text("iv", nonce)),
		Legacy.text("payload", sealed[:end])), nil
}
