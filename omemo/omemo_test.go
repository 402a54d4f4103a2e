package omemo

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mau.fi/libsignal/ecc"

	"github.com/allium-xmpp/allium/component"
)

// formats by the names that testdata/peer.py and its files have for them.
var formats = map[string]*Format{"legacy": Legacy, "omemo2": OMEMO2}

func parse(t testing.TB, in string) *component.Element {
	t.Helper()
	e, err := component.NewContentDecoder(strings.NewReader(in), component.NSClient, component.Limits{}).Next()
	require.NoError(t, err, in)
	return e
}

// load reads one of the files that testdata/peer.py makes.
func load(t testing.TB, folder, name string) *component.Element {
	t.Helper()
	xml, err := os.ReadFile(filepath.Join(folder, name+".xml"))
	require.NoError(t, err)
	return parse(t, string(xml))
}

// A signer holds an identity key.
type signer struct {
	public Key
	sign   func(message []byte) Signature
}

func newSigner(t testing.TB, f *Format) signer {
	t.Helper()
	if f == Legacy {
		pair, err := ecc.GenerateKeyPair()
		require.NoError(t, err)
		return signer{pair.PublicKey().PublicKey(), func(message []byte) Signature {
			return ecc.CalculateSignature(pair.PrivateKey(), message)
		}}
	}
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	return signer{Key(public), func(message []byte) Signature {
		return Signature(ed25519.Sign(private, message))
	}}
}

func newKey(t testing.TB) Key {
	t.Helper()
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return Key(private.PublicKey().Bytes())
}

// newBundle makes a bundle that is right, with n one-time pre-keys.
func newBundle(t testing.TB, f *Format, identity signer, n int) *Bundle {
	t.Helper()
	b := &Bundle{Format: f, IdentityKey: identity.public, SignedPreKey: PreKey{7, newKey(t)}}
	b.Signature = identity.sign(f.encode(&b.SignedPreKey.Key))
	for i := range n {
		b.PreKeys = append(b.PreKeys, PreKey{maxID - uint32(i), newKey(t)})
	}
	return b
}
