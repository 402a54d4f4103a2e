package omemo

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

const (
	payloadKeyLen = 32
	heartbeat     = 53 // messages of a chain, after which an answer is due (XEP-0384 §6)
)

// A channel2 is a channel in OMEMO2.
type channel2 struct {
	o        *OwnDevice
	tx       *sql.Tx
	at       sessionKey
	us, them jid.JID
	session  *ratchet // after open
}

func (c *channel2) open(e *component.Element) (h heard, err error) {
	k := c.keyIn(e.Child(NSOMEMO2, "header"))
	if k == nil {
		return h, errOthers
	}
	octets, err := octetsIn(k)
	if err != nil {
		return h, err
	}
	m, began, err := c.find(octets, isTrue(k.AttrValue("kex")))
	if err != nil {
		return h, err
	}
	key, err := c.session.open(m)
	if err != nil {
		return h, err
	}
	h.began = began
	h.due = began || m.message.n >= heartbeat
	if payload := e.Child(NSOMEMO2, "payload"); payload != nil {
		if h.said, err = c.read(key, payload); err != nil {
			return h, err
		}
	}
	return h, c.store()
}

// keyIn is what is encrypted for this device at this address.
func (c *channel2) keyIn(header *component.Element) *component.Element {
	for _, n := range header.Nodes {
		if n.Element == nil || !n.Element.Is(NSOMEMO2, "keys") {
			continue
		}
		if j, err := jid.Parse(n.Element.AttrValue("jid")); err != nil || !j.Equal(c.us.Bare()) {
			continue
		}
		if k := c.o.keyIn(OMEMO2, n.Element); k != nil {
			return k
		}
	}
	return nil
}

// find finds the session that a message is of; or makes it, if the message begins one.
func (c *channel2) find(octets []byte, exchange bool) (m *authenticated, began bool, err error) {
	record, err := loadSession(c.tx, c.at)
	if err != nil {
		return nil, false, err
	}
	if record != nil {
		if err := json.Unmarshal(record, &c.session); err != nil {
			return nil, false, err
		}
	}
	if !exchange {
		if c.session == nil {
			return nil, false, errors.New("there is no session")
		}
		m, err = parseAuthenticated(octets)
		return m, false, err
	}
	x, err := parseKeyExchange(octets)
	if err != nil {
		return nil, false, err
	}
	// Until it gets an answer a device sends the same key exchange with each message.
	if c.session != nil && bytes.Equal(c.session.Ephemeral, x.ephemeral[:]) {
		return x.message, false, nil
	}
	return x.message, true, c.accept(x)
}

// accept makes the session that a key exchange begins. The one-time pre-key is forgotten.
func (c *channel2) accept(x *keyExchange) error {
	seed, err := OMEMO2.identity(c.tx)
	if err != nil {
		return err
	}
	signed, _, err := OMEMO2.preKeySecret(c.tx, x.signedPreKey, true)
	if err != nil {
		return err
	}
	once, _, err := OMEMO2.preKeySecret(c.tx, x.preKey, false)
	if err != nil {
		return err
	}
	if c.session, err = x.accept(seed, signed, once); err != nil {
		return err
	}
	return OMEMO2.usePreKey(c.tx, x.preKey)
}

// read decrypts a payload, with the key and the HMAC that the ratchet gave (XEP-0384 §4.5).
func (c *channel2) read(key []byte, payload *component.Element) (said bool, err error) {
	sealed, err := octetsIn(payload)
	if err != nil {
		return false, err
	}
	if len(key) != payloadKeyLen+macLen {
		return false, errors.New("the key of the payload is of a wrong length")
	}
	k, err := newCBC(key[:payloadKeyLen], "OMEMO Payload")
	if err != nil {
		return false, err
	}
	if !hmac.Equal(k.mac(sealed), key[payloadKeyLen:]) {
		return false, errors.New("the payload is not authentic")
	}
	envelope, err := k.open(sealed)
	if err != nil {
		return false, err
	}
	return openEnvelope(envelope, c.them, c.us, c.o.now())
}

func (c *channel2) seal(text string) (*component.Element, error) {
	e := component.NewElement(NSOMEMO2, "encrypted")
	key := make([]byte, payloadKeyLen) // zero if there is no payload
	var sealed []byte
	if text != "" {
		rand.Read(key)
		k, err := newCBC(key, "OMEMO Payload")
		if err != nil {
			return nil, err
		}
		envelope, err := newEnvelope(text, c.us, c.them, c.o.now())
		if err != nil {
			return nil, err
		}
		if sealed, err = k.seal(envelope); err != nil {
			return nil, err
		}
		key = append(key, k.mac(sealed)...)
	}
	m, err := c.session.seal(key)
	if err != nil {
		return nil, err
	}
	e.Add(component.NewElement(NSOMEMO2, "header").With("sid", formatID(c.o.id)).Add(
		component.NewElement(NSOMEMO2, "keys").With("jid", c.at.jid).Add(
			OMEMO2.text("key", m.encode()).With("rid", formatID(c.at.device)))))
	if sealed != nil {
		e.Add(OMEMO2.text("payload", sealed))
	}
	return e, c.store()
}

// store keeps the session as it is now.
func (c *channel2) store() error {
	record, err := json.Marshal(c.session)
	if err != nil {
		return err
	}
	return storeSession(c.tx, c.at, record, c.o.now())
}
