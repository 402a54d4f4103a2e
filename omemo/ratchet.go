package omemo

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
)

// Limits of keys that are kept for messages that did not come yet (XEP-0384 §4.3).
const (
	maxSkipped      = 1000 // in one message, and in all
	maxSkippedTurns = 100  // of the ratchet, after which they are forgotten
)

// A ratchet is a session in OMEMO2: the state of the Double Ratchet (XEP-0384 §4.3, and the
// specification that it names), as it is kept. After an error it is not to be used any more.
type ratchet struct {
	Ephemeral  []byte // key of the key exchange that it began with
	Associated []byte // identity keys: of who began, and of the other one
	Root       []byte
	Own        []byte // secret key
	Peer       []byte // public key, nil before the first message
	Sending    chain
	Receiving  chain
	Previous   uint32 // length of the chain of sending before
	Turns      uint32
	Skipped    []skipped // the oldest first
}

// A chain makes a key for each message.
type chain struct {
	Key []byte // nil if there is no chain yet
	N   uint32 // keys that were made
}

// A skipped is the key of a message that did not come yet.
type skipped struct {
	Peer []byte // key of its chain
	N    uint32
	Key  []byte
	Turn uint32 // in which it was skipped
}

// next is the key of the next message.
func (c *chain) next() []byte {
	derive := func(constant byte) []byte {
		h := hmac.New(sha256.New, c.Key)
		h.Write([]byte{constant})
		return h.Sum(nil)
	}
	key := derive(1)
	c.Key = derive(2)
	c.N++
	return key
}

// open decrypts a message.
func (r *ratchet) open(m *authenticated) ([]byte, error) {
	key, err := r.keyOf(&m.message)
	if err != nil {
		return nil, err
	}
	c, err := newCBC(key, "OMEMO Message Key Material")
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(c.mac(r.Associated, m.octets), m.mac) {
		return nil, errors.New("it is not authentic")
	}
	return c.open(m.message.sealed)
}

// seal encrypts a message.
func (r *ratchet) seal(plain []byte) (*authenticated, error) {
	m := ratchetMessage{n: r.Sending.N, previous: r.Previous, key: publicKey(r.Own)}
	c, err := newCBC(r.Sending.next(), "OMEMO Message Key Material")
	if err != nil {
		return nil, err
	}
	if m.sealed, err = c.seal(plain); err != nil {
		return nil, err
	}
	octets := m.encode()
	return &authenticated{mac: c.mac(r.Associated, octets), octets: octets, message: m}, nil
}

// keyOf finds the key of a message. There is one once.
func (r *ratchet) keyOf(m *ratchetMessage) ([]byte, error) {
	if i := slices.IndexFunc(r.Skipped, func(s skipped) bool { return s.N == m.n && bytes.Equal(s.Peer, m.key[:]) }); i >= 0 {
		key := r.Skipped[i].Key
		r.Skipped = slices.Delete(r.Skipped, i, i+1)
		return key, nil
	}
	if !bytes.Equal(r.Peer, m.key[:]) {
		if err := r.skip(m.previous); err != nil {
			return nil, err
		}
		if err := r.turn(m.key); err != nil {
			return nil, err
		}
	}
	if m.n < r.Receiving.N {
		return nil, errors.New("its key is gone: it was read already, or is too late")
	}
	if err := r.skip(m.n); err != nil {
		return nil, err
	}
	return r.Receiving.next(), nil
}

// skip keeps the keys of messages that are still to come before the nth of the chain.
func (r *ratchet) skip(n uint32) error {
	if r.Receiving.Key == nil || n <= r.Receiving.N {
		return nil
	}
	if n-r.Receiving.N > maxSkipped {
		return errors.New("too many messages did not come")
	}
	for r.Receiving.N < n {
		s := skipped{Peer: r.Peer, N: r.Receiving.N, Turn: r.Turns}
		s.Key = r.Receiving.next()
		r.Skipped = append(r.Skipped, s)
	}
	r.Skipped = slices.Delete(r.Skipped, 0, max(0, len(r.Skipped)-maxSkipped))
	return nil
}

// turn begins new chains, since the peer has a new key.
func (r *ratchet) turn(peer Key) error {
	r.Turns++
	r.Skipped = slices.DeleteFunc(r.Skipped, func(s skipped) bool { return r.Turns-s.Turn > maxSkippedTurns })
	r.Previous, r.Peer = r.Sending.N, peer[:]
	err := r.begin(&r.Receiving)
	if err == nil {
		r.Own, err = newSecret()
	}
	if err == nil {
		err = r.begin(&r.Sending)
	}
	return err
}

// begin begins a chain with what both keys agree on.
func (r *ratchet) begin(c *chain) error {
	shared, err := agree(r.Own, r.Peer)
	if err != nil {
		return err
	}
	k, err := hkdf.Key(sha256.New, shared, r.Root, "OMEMO Root Chain", 64)
	if err != nil {
		return err
	}
	r.Root, *c = k[:32], chain{Key: k[32:]}
	return nil
}
