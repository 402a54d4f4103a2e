package omemo

import (
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// A ratchetMessage is an OMEMOMessage (XEP-0384 §12).
type ratchetMessage struct {
	n, previous uint32 // its place in its chain, and how long the chain before that is
	key         Key    // of the ratchet
	sealed      []byte
}

// An authenticated is an OMEMOAuthenticatedMessage.
type authenticated struct {
	mac     []byte
	octets  []byte // of message; the mac is of them
	message ratchetMessage
}

// A keyExchange is an OMEMOKeyExchange.
type keyExchange struct {
	preKey, signedPreKey uint32
	identity, ephemeral  Key
	message              *authenticated
}

var errProtobuf = errors.New("it is malformed")

// parseAuthenticated reads a message. It keeps slices of in.
func parseAuthenticated(in []byte) (*authenticated, error) {
	var key []byte
	a := &authenticated{}
	m := &a.message
	if err := readFields(in, &a.mac, &a.octets); err != nil {
		return nil, err
	}
	if err := readFields(a.octets, &m.n, &m.previous, &key, &m.sealed); err != nil {
		return nil, err
	}
	if len(a.mac) != macLen || len(key) != len(m.key) {
		return nil, errProtobuf
	}
	m.key = Key(key)
	if fault := curve25519Fault(&m.key); fault != "" {
		return nil, errors.New("the key of the ratchet " + fault)
	}
	return a, nil
}

// parseKeyExchange reads a message that begins a session. It keeps slices of in.
func parseKeyExchange(in []byte) (*keyExchange, error) {
	var identity, ephemeral, message []byte
	x := &keyExchange{}
	if err := readFields(in, &x.preKey, &x.signedPreKey, &identity, &ephemeral, &message); err != nil {
		return nil, err
	}
	if len(identity) != len(x.identity) || len(ephemeral) != len(x.ephemeral) {
		return nil, errProtobuf
	}
	x.identity, x.ephemeral = Key(identity), Key(ephemeral)
	if fault := ed25519Fault(&x.identity); fault != "" {
		return nil, errors.New("the identity key " + fault)
	}
	if fault := curve25519Fault(&x.ephemeral); fault != "" {
		return nil, errors.New("the ephemeral key " + fault)
	}
	var err error
	x.message, err = parseAuthenticated(message)
	return x, err
}

// readFields reads a message of protobuf into fields, a *uint32 or *[]byte each, the first of
// which has the number 1. All must be there; others are passed over.
func readFields(in []byte, fields ...any) error {
	missing := uint(1)<<len(fields) - 1
	for len(in) > 0 {
		number, kind, n := protowire.ConsumeTag(in)
		if n < 0 {
			return errProtobuf
		}
		in = in[n:]
		if n = protowire.ConsumeFieldValue(number, kind, in); n < 0 {
			return errProtobuf
		}
		value := in[:n]
		in = in[n:]
		if int(number) > len(fields) {
			continue
		}
		switch f := fields[number-1].(type) {
		case *uint32:
			v, _ := protowire.ConsumeVarint(value)
			if kind != protowire.VarintType || v > math.MaxUint32 {
				return errProtobuf
			}
			*f = uint32(v)
		case *[]byte:
			if kind != protowire.BytesType {
				return errProtobuf
			}
			*f, _ = protowire.ConsumeBytes(value)
		}
		missing &^= 1 << (number - 1)
	}
	if missing != 0 {
		return errProtobuf
	}
	return nil
}

// encode is m as it is authenticated, and sent.
func (m *ratchetMessage) encode() []byte {
	var out []byte
	for i, v := range []uint32{m.n, m.previous} {
		out = protowire.AppendVarint(protowire.AppendTag(out, protowire.Number(1+i), protowire.VarintType), uint64(v))
	}
	return appendOctets(out, 3, m.key[:], m.sealed)
}

// encode is a as it is sent.
func (a *authenticated) encode() []byte { return appendOctets(nil, 1, a.mac, a.octets) }

// appendOctets writes fields of octets, of which the first has the number first.
func appendOctets(dst []byte, first protowire.Number, fields ...[]byte) []byte {
	for i, f := range fields {
		dst = protowire.AppendBytes(protowire.AppendTag(dst, first+protowire.Number(i), protowire.BytesType), f)
	}
	return dst
}
