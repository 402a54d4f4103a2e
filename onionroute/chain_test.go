package onionroute

import (
	"crypto"
	"crypto/ecdsa"
	stded25519 "crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"filippo.io/edwards25519"
	"github.com/cretz/bine/torutil"
	"github.com/cretz/bine/torutil/ed25519"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	asServer = x509.ExtKeyUsageServerAuth
	asClient = x509.ExtKeyUsageClientAuth
)

var testNow = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// testIdentity makes an identity that is always the same for the same n.
func testIdentity(n byte) *Identity {
	secret := sha512.Sum512([]byte{n})
	secret[0] &= 248
	secret[31] = secret[31]&63 | 64
	return newIdentity(secret[:])
}

// A forgery is what chains are made from. As newForgery gives it the chain is good.
type forgery struct {
	root, leaf             *x509.Certificate // templates
	rootKey, leafKey       crypto.Signer
	rootSigner, leafSigner crypto.Signer
	issuer                 *x509.Certificate // as the leaf tells; the root, if nil
	sent                   func(leaf, root *x509.Certificate) []*x509.Certificate
}

func newForgery(t testing.TB, id *Identity) *forgery {
	f := &forgery{rootKey: onionSigner{id.key}, leafKey: ecKey(t, elliptic.P256())}
	f.rootSigner, f.leafSigner = f.rootKey, f.rootKey
	var err error
	f.root, err = newRoot(id.Name())
	require.NoError(t, err)
	f.leaf, err = newLeaf(id.Name(), testNow)
	require.NoError(t, err)
	f.sent = func(leaf, root *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{leaf, root} }
	return f
}

// rootIs makes another key that of the root, and the names those of that key.
func (f *forgery) rootIs(key crypto.Signer) {
	f.rootKey, f.rootSigner, f.leafSigner = key, key, key
	if pub, ok := key.Public().(stded25519.PublicKey); ok {
		name := torutil.OnionServiceIDFromV3PublicKey(ed25519.PublicKey(pub)) + ".onion"
		f.root.Subject.CommonName, f.root.PermittedDNSDomains = name, []string{name}
		f.leaf.DNSNames = []string{name, "*." + name}
	}
}

func (f *forgery) chain(t testing.TB) []*x509.Certificate {
	root := certify(t, f.root, f.root, f.rootKey, f.rootSigner)
	issuer := f.issuer
	if issuer == nil {
		issuer = &x509.Certificate{Subject: root.Subject}
	}
	return f.sent(certify(t, f.leaf, issuer, f.leafKey, f.leafSigner), root)
}

func certify(t testing.TB, template, parent *x509.Certificate, key, signer crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

// An impureKey has the public key [secret]B + impurity, where the impurity is of an
// order that divides eight. It signs by trying until a signature passes.
type impureKey struct {
	secret *edwards25519.Scalar
	public stded25519.PublicKey
}

func newImpureKey(secret *edwards25519.Scalar, impurity *edwards25519.Point) impureKey {
	p := new(edwards25519.Point).ScalarBaseMult(secret)
	return impureKey{secret, p.Add(p, impurity).Bytes()}
}

func (k impureKey) Public() crypto.PublicKey { return k.public }

func (k impureKey) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	for range 1000 {
		r := randomScalar()
		commitment := new(edwards25519.Point).ScalarBaseMult(r).Bytes()
		h := sha512.Sum512(append(append(append([]byte(nil), commitment...), k.public...), message...))
		challenge, err := edwards25519.NewScalar().SetUniformBytes(h[:])
		if err != nil {
			return nil, err
		}
		s := edwards25519.NewScalar().MultiplyAdd(challenge, k.secret, r)
		if sig := append(commitment, s.Bytes()...); stded25519.Verify(k.public, message, sig) {
			return sig, nil
		}
	}
	return nil, errors.New("no signature passes")
}

func randomScalar() *edwards25519.Scalar {
	var b [64]byte
	rand.Read(b[:])
	s, err := edwards25519.NewScalar().SetUniformBytes(b[:])
	if err != nil {
		panic(err)
	}
	return s
}

// impurity gives a point of order eight: what of some point is left when the part of it
// that is in the group of prime order is taken away.
func impurity() *edwards25519.Point {
	for i := 0; ; i++ {
		h := sha256.Sum256([]byte{byte(i)})
		p, err := new(edwards25519.Point).SetBytes(h[:])
		if err != nil {
			continue
		}
		e := timesOrder(p)
		four := new(edwards25519.Point).Add(e, e)
		if four.Add(four, four).Equal(edwards25519.NewIdentityPoint()) == 0 {
			return e
		}
	}
}

var critical = pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}

// Each way to cheat, or to be careless, is noticed for what it is.
func TestChainCheats(t *testing.T) {
	me, other := testIdentity(1), testIdentity(2)
	zero := edwards25519.NewScalar()
	tests := []struct {
		what, word string // what is wrong, and of the error
		use        x509.ExtKeyUsage
		change     func(*forgery)
	}{
		// The root.
		{"key of another", "has not the name", asServer, func(f *forgery) {
			f.rootKey = onionSigner{other.key}
			f.rootSigner, f.leafSigner = f.rootKey, f.rootKey
		}},
		{"ECDSA root", "no Ed25519 key", asServer, func(f *forgery) { f.rootIs(ecKey(t, elliptic.P256())) }},
		{"RSA root", "no Ed25519 key", asServer, func(f *forgery) { f.rootIs(rsaKey(t)) }},
		{"root signed by another", "root is not self-signed", asServer, func(f *forgery) { f.rootSigner = onionSigner{other.key} }},
		{"root signed by ECDSA", "root is not self-signed", asServer, func(f *forgery) { f.rootSigner = ecKey(t, elliptic.P256()) }},
		{"root of an issuer of another name", "root is not self-signed", asServer, func(f *forgery) {
			issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "x"}}
			f.sent = func(leaf, _ *x509.Certificate) []*x509.Certificate {
				return []*x509.Certificate{leaf, certify(t, f.root, issuer, f.rootKey, f.rootSigner)}
			}
		}},
		{"root is no CA", "not a CA", asServer, func(f *forgery) { f.root.IsCA, f.root.MaxPathLenZero = false, false }},
		{"root with no constraints", "not a CA", asServer, func(f *forgery) { f.root.BasicConstraintsValid = false }},
		{"no path length", "path length", asServer, func(f *forgery) { f.root.MaxPathLenZero = false }},
		{"path length one", "path length", asServer, func(f *forgery) { f.root.MaxPathLen = 1 }},
		{"root signs no certificates", "usage certSign", asServer, func(f *forgery) { f.root.KeyUsage = x509.KeyUsageDigitalSignature }},
		{"root with no usage", "usage certSign", asServer, func(f *forgery) { f.root.KeyUsage = 0 }},
		{"root for other uses", "incompatible key usage", asServer, func(f *forgery) {
			f.root.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		}},
		{"root for other names", "not for the name of its key", asServer, func(f *forgery) { f.root.PermittedDNSDomains = []string{other.Name()} }},
		{"root expired", "is after", asServer, func(f *forgery) { f.root.NotAfter = testNow.Add(-time.Second) }},
		{"root not yet valid", "is before", asServer, func(f *forgery) { f.root.NotBefore = testNow.Add(time.Second) }},
		{"root with a critical extension", "critical extension", asServer, func(f *forgery) { f.root.ExtraExtensions = []pkix.Extension{critical} }},
		{"key outside of the group", "torsion", asServer, func(f *forgery) { f.rootIs(newImpureKey(randomScalar(), impurity())) }},
		{"key of order eight", "torsion", asServer, func(f *forgery) { f.rootIs(newImpureKey(zero, impurity())) }},
		{"key of order one", "low order", asServer, func(f *forgery) { f.rootIs(newImpureKey(zero, edwards25519.NewIdentityPoint())) }},
		{"key in another encoding", "not canonical", asServer, func(f *forgery) {
			p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(18)) // y = p + 1
			public := p.FillBytes(make([]byte, 32))
			for i := range 16 {
				public[i], public[31-i] = public[31-i], public[i]
			}
			f.rootIs(impureKey{zero, public})
		}},

		// The leaf.
		{"leaf signed by another", "not signed by the root", asServer, func(f *forgery) { f.leafSigner = onionSigner{other.key} }},
		{"leaf signed by itself", "not signed by the root", asServer, func(f *forgery) { f.leafSigner = f.leafKey }},
		{"leaf signed by RSA", "not signed by the root", asServer, func(f *forgery) { f.leafSigner = rsaKey(t) }},
		{"leaf signed with SHA-1", "not signed by the root", asServer, func(f *forgery) {
			f.leafSigner, f.leaf.SignatureAlgorithm = rsaKey(t), x509.SHA1WithRSA
		}},
		{"leaf of an issuer of another name", "not signed by the root", asServer, func(f *forgery) {
			f.issuer = &x509.Certificate{Subject: pkix.Name{CommonName: "x"}}
		}},
		{"leaf expired", "is after", asServer, func(f *forgery) { f.leaf.NotAfter = testNow.Add(-time.Second) }},
		{"leaf not yet valid", "is before", asServer, func(f *forgery) { f.leaf.NotBefore = testNow.Add(time.Second) }},
		{"leaf for a year", "too many days", asServer, func(f *forgery) { f.leaf.NotAfter = f.leaf.NotBefore.AddDate(1, 0, 0) }},
		{"leaf for 31 days and a second", "too many days", asServer, func(f *forgery) { f.leaf.NotAfter = f.leaf.NotBefore.Add(maxLeafLife + time.Second) }},
		{"leaf of another", "has not the name", asServer, func(f *forgery) { f.leaf.DNSNames = []string{other.Name()} }},
		{"leaf for all but the name itself", "has not the name", asServer, func(f *forgery) { f.leaf.DNSNames = f.leaf.DNSNames[1:] }},
		{"leaf with no name", "has not the name", asServer, func(f *forgery) { f.leaf.DNSNames, f.leaf.Subject.CommonName = nil, me.Name() }},
		{"leaf for another too", "other names", asServer, func(f *forgery) { f.leaf.DNSNames = append(f.leaf.DNSNames, other.Name()) }},
		{"leaf for all onion names", "other names", asServer, func(f *forgery) { f.leaf.DNSNames = append(f.leaf.DNSNames, "*.onion") }},
		{"leaf for a name that ends alike", "other names", asServer, func(f *forgery) { f.leaf.DNSNames = append(f.leaf.DNSNames, "x"+me.Name()) }},
		{"leaf for a name on the open network", "other names", asServer, func(f *forgery) { f.leaf.DNSNames = append(f.leaf.DNSNames, "example.org") }},
		{"leaf for an IP address", "not of DNS", asServer, func(f *forgery) { f.leaf.IPAddresses = []net.IP{{192, 0, 2, 1}} }},
		{"leaf for a URI", "not of DNS", asServer, func(f *forgery) { f.leaf.URIs = []*url.URL{{Scheme: "xmpp", Opaque: "x"}} }},
		{"leaf for an e-mail address", "not of DNS", asServer, func(f *forgery) { f.leaf.EmailAddresses = []string{"a@example.org"} }},
		{"leaf is a CA", "leaf is a CA", asServer, func(f *forgery) { f.leaf.IsCA = true }},
		{"leaf of a server, from a client", "extended usage", asClient, func(f *forgery) { f.leaf.ExtKeyUsage = []x509.ExtKeyUsage{asServer} }},
		{"leaf of a client, from a server", "extended usage", asServer, func(f *forgery) { f.leaf.ExtKeyUsage = []x509.ExtKeyUsage{asClient} }},
		{"leaf for any use", "extended usage", asServer, func(f *forgery) { f.leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }},
		{"leaf with no extended usage", "extended usage", asServer, func(f *forgery) { f.leaf.ExtKeyUsage = nil }},
		{"leaf that signs nothing", "usage digitalSignature", asServer, func(f *forgery) { f.leaf.KeyUsage = x509.KeyUsageKeyEncipherment }},
		{"leaf with a critical extension", "critical extension", asServer, func(f *forgery) { f.leaf.ExtraExtensions = []pkix.Extension{critical} }},
		{"leaf with an RSA key", "weak", asServer, func(f *forgery) { f.leafKey = rsaKey(t) }},
		{"leaf with a short key", "weak", asServer, func(f *forgery) { f.leafKey = ecKey(t, elliptic.P224()) }},
		{"leaf that is huge", "too large", asServer, func(f *forgery) {
			for i := range 200 {
				f.leaf.DNSNames = append(f.leaf.DNSNames, fmt.Sprintf("%d.%s", i, me.Name()))
			}
		}},

		// The chain.
		{"nothing", "0 certificates", asServer, func(f *forgery) {
			f.sent = func(_, _ *x509.Certificate) []*x509.Certificate { return nil }
		}},
		{"leaf alone", "1 certificates", asServer, func(f *forgery) {
			f.sent = func(leaf, _ *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{leaf} }
		}},
		{"root alone", "1 certificates", asServer, func(f *forgery) {
			f.sent = func(_, root *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{root} }
		}},
		{"root before leaf", "no Ed25519 key", asServer, func(f *forgery) {
			f.sent = func(leaf, root *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{root, leaf} }
		}},
		{"root as leaf", "leaf is a CA", asServer, func(f *forgery) {
			f.sent = func(_, root *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{root, root} }
		}},
		{"a third", "3 certificates", asServer, func(f *forgery) {
			f.sent = func(leaf, root *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{leaf, root, root} }
		}},
		{"one between, with the root", "3 certificates", asServer, func(f *forgery) { f.between(t, true) }},
		{"one between, in the root's place", "root is not self-signed", asServer, func(f *forgery) { f.between(t, false) }},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			f := newForgery(t, me)
			name, err := verifyChain(f.chain(t), test.use, testNow)
			require.NoError(t, err)
			require.Equal(t, me.Name(), name)

			test.change(f)
			name, err = verifyChain(f.chain(t), test.use, testNow)
			require.ErrorContains(t, err, test.word)
			assert.NotContains(t, err.Error(), ".onion", "an error names nobody")
			assert.Empty(t, name)
		})
	}
}

// between has the leaf signed by a key that is between it and a root that allows that.
func (f *forgery) between(t testing.TB, withRoot bool) {
	key := onionSigner{testIdentity(2).key}
	template := *f.root
	template.Subject = pkix.Name{CommonName: "between"}
	f.root.MaxPathLen = 1
	between := certify(t, &template, f.root, key, f.rootKey)
	f.issuer, f.leafSigner = between, key
	f.sent = func(leaf, root *x509.Certificate) []*x509.Certificate {
		if withRoot {
			return []*x509.Certificate{leaf, between, root}
		}
		return []*x509.Certificate{leaf, between}
	}
}

// A chain is also good at the ends of its life, and for as long as that can be.
func TestChainLimits(t *testing.T) {
	f := newForgery(t, testIdentity(1))
	f.leaf.NotAfter = f.leaf.NotBefore.Add(maxLeafLife)
	c := f.chain(t)
	for _, now := range []time.Time{c[0].NotBefore, c[0].NotAfter} {
		for _, use := range []x509.ExtKeyUsage{asServer, asClient} {
			_, err := verifyChain(c, use, now)
			assert.NoError(t, err)
		}
	}
}

func TestCovers(t *testing.T) {
	me, other := testIdentity(1).Name(), testIdentity(2).Name()
	leaf := newForgery(t, testIdentity(1)).chain(t)[0]
	for domain, want := range map[string]bool{
		me: true, "rooms." + me: true,
		"a.rooms." + me: false, other: false, "rooms." + other: false, "x" + me: false,
		"onion": false, "example.org": false, "": false,
	} {
		assert.Equal(t, want, covers(leaf, domain), domain)
	}
}

// FuzzChain reads a chain as it comes from a peer. Whatever it is, nobody can make one
// for a name whose key they do not have.
func FuzzChain(f *testing.F) {
	me := testIdentity(1)
	add := func(c []*x509.Certificate) { f.Add(c[0].Raw, c[1].Raw) }
	add(newForgery(f, me).chain(f))
	year := newForgery(f, me)
	year.leaf.NotAfter = year.leaf.NotBefore.AddDate(1, 0, 0)
	add(year.chain(f))
	ec := newForgery(f, me)
	ec.rootIs(ecKey(f, elliptic.P256()))
	add(ec.chain(f))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		leaf, err := x509.ParseCertificate(first)
		if err != nil {
			return
		}
		root, err := x509.ParseCertificate(second)
		if err != nil {
			return
		}
		for _, use := range []x509.ExtKeyUsage{asServer, asClient} {
			name, err := verifyChain([]*x509.Certificate{leaf, root}, use, testNow)
			if err != nil {
				require.Empty(t, name)
				continue
			}
			require.Equal(t, me.Name(), name)
			require.True(t, covers(leaf, name))
			require.LessOrEqual(t, leaf.NotAfter.Sub(leaf.NotBefore), maxLeafLife)
		}
	})
}
