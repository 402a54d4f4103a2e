package omemo

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// exchangeOf is a key exchange with a message in it.
func exchangeOf(t testing.TB, message []byte) []byte {
	t.Helper()
	identity, ephemeral := newSigner(t, OMEMO2).public, newKey(t)
	out := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7)
	out = protowire.AppendVarint(protowire.AppendTag(out, 2, protowire.VarintType), 8)
	return appendOctets(out, 3, identity[:], ephemeral[:], message)
}

// Fields that are not known are passed over; without one of the others, or with one of another
// kind or length, or with a key that nobody has, it is an error.
func TestProtobuf(t *testing.T) {
	first, _ := ratchets(t)
	m, err := first.seal([]byte("text"))
	require.NoError(t, err)
	good := exchangeOf(t, m.encode())
	x, err := parseKeyExchange(good)
	require.NoError(t, err)
	assert.EqualValues(t, 7, x.preKey)
	assert.EqualValues(t, 8, x.signedPreKey)
	assert.Equal(t, m, x.message)
	_, err = parseKeyExchange(appendOctets(good, 6, []byte("new")))
	assert.NoError(t, err)

	octets := func(first protowire.Number, fields ...[]byte) []byte { return appendOctets(nil, first, fields...) }
	number := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	for _, more := range [][]byte{ // the last of a field counts
		number(1, 1<<32), octets(1, []byte("7")), number(3, 7),
		octets(3, nil), octets(3, make([]byte, 33)), octets(3, make([]byte, 32)), octets(4, make([]byte, 32)), octets(4, bytes.Repeat([]byte{0xff}, 32)),
		octets(5, nil), {0}, {0xff}, {0x2a, 0x7f}, {0x33}, {0x34},
		octets(5, octets(1, m.mac)), octets(5, octets(2, m.octets)), octets(5, octets(1, m.mac[1:], m.octets)),
		octets(5, octets(1, m.mac, append(bytes.Clone(m.octets), octets(3, make([]byte, 32))...))),
	} {
		_, err := parseKeyExchange(append(bytes.Clone(good), more...))
		assert.Error(t, err, "%x", more)
	}
	for i := range good {
		_, err := parseKeyExchange(good[:i])
		assert.Error(t, err, i)
	}
	_, err = parseKeyExchange(good[2:])
	assert.Error(t, err, "without a one-time pre-key")
	_, err = parseAuthenticated(octets(1, m.mac, m.octets[2:]))
	assert.Error(t, err, "without a number")
}

// However big a message is, refusing it takes little memory.
func TestProtobufMemory(t *testing.T) {
	big := exchangeOf(t, appendOctets(nil, 1, make([]byte, 16), make([]byte, 1<<20)))
	deep := bytes.Repeat([]byte{0x33}, 1<<20) // groups in groups
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err1 := parseKeyExchange(big)
	_, err2 := parseKeyExchange(deep)
	runtime.ReadMemStats(&after)
	assert.Error(t, err1)
	assert.Error(t, err2)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(128<<10))
}

// FuzzMessage: what is taken is written as a message that means the same, and no session is
// harmed by it.
func FuzzMessage(f *testing.F) {
	first, second := ratchets(f)
	m := first.sends(f, "text").encode()
	f.Add(m)
	f.Add(exchangeOf(f, m))
	f.Fuzz(func(t *testing.T, in []byte) {
		if x, err := parseKeyExchange(in); err == nil {
			r, err := x.accept(make([]byte, 32), make([]byte, 32), make([]byte, 32))
			require.NoError(t, err)
			r.open(x.message)
		}
		a, err := parseAuthenticated(in)
		if err != nil {
			return
		}
		again, err := parseAuthenticated(a.encode())
		require.NoError(t, err)
		require.Equal(t, a, again)
		require.LessOrEqual(t, len(a.message.encode()), len(a.octets))
		r := second.again(t)
		if _, err := r.open(a); err != nil {
			require.LessOrEqual(t, len(r.Skipped), maxSkipped)
		}
	})
}
