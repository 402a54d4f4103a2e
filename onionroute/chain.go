package onionroute

import (
	"bytes"
	"crypto/ecdsa"
	stded25519 "crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/edwards25519"
	"github.com/cretz/bine/torutil"
	"github.com/cretz/bine/torutil/ed25519"
)

const (
	// maxLeafLife is the longest life of a leaf that is believed: a stolen one cannot be
	// called back.
	maxLeafLife = 31 * 24 * time.Hour
	// maxChain is how many octets a chain can have. With crypto/tls's limit of what it
	// parses, it keeps cheap what a stranger can make us verify.
	maxChain = 8 << 10
)

// verifyChain tells which onion name a peer's certificates prove, as crypto/tls gives
// them in ConnectionState.PeerCertificates. The name of an onion service is its public
// key (Tor rend-spec-v3 §6): so a chain whose root has that key, and whose leaf was used
// in the handshake, is from the holder of the name, and nobody needs to be asked.
//
// The peer uses its leaf as use says, serverAuth or clientAuth. The error says what is
// wrong; it is for the log, names nobody, and does not mean that the peer is bad: others
// than Allium have no such chain.
func verifyChain(certs []*x509.Certificate, use x509.ExtKeyUsage, now time.Time) (name string, err error) {
	if len(certs) != 2 {
		return "", fmt.Errorf("onionroute: chain: %d certificates instead of leaf and root", len(certs))
	}
	leaf, root := certs[0], certs[1]
	if len(leaf.Raw)+len(root.Raw) > maxChain {
		return "", errors.New("onionroute: chain: too large")
	}
	if name, err = checkRoot(root); err != nil {
		return "", fmt.Errorf("onionroute: chain: root %w", err)
	}
	if err := checkLeaf(leaf, root, name, use); err != nil {
		return "", fmt.Errorf("onionroute: chain: leaf %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.CANotAuthorizedForThisName {
		err = errors.New("root is not for the name of its key") // theirs tells the name
	}
	if err != nil {
		return "", fmt.Errorf("onionroute: chain: %w", err)
	}
	return name, nil
}

// covers tells if a leaf that verifyChain was content with is for that domain too: the
// onion name, or one right below it.
func covers(leaf *x509.Certificate, domain string) bool { return leaf.VerifyHostname(domain) == nil }

// checkRoot gives the onion name that a root has the key of.
func checkRoot(root *x509.Certificate) (name string, err error) {
	key, ok := root.PublicKey.(stded25519.PublicKey)
	if !ok {
		return "", errors.New("has no Ed25519 key")
	}
	if err := checkKey(key); err != nil {
		return "", err
	}
	switch {
	case !root.BasicConstraintsValid || !root.IsCA:
		return "", errors.New("is not a CA")
	case root.MaxPathLen != 0:
		return "", errors.New("has not the path length 0")
	case root.KeyUsage&x509.KeyUsageCertSign == 0:
		return "", errors.New("has not the usage certSign")
	case !bytes.Equal(root.RawIssuer, root.RawSubject) || root.CheckSignatureFrom(root) != nil:
		return "", errors.New("is not self-signed")
	}
	return torutil.OnionServiceIDFromV3PublicKey(ed25519.PublicKey(key)) + ".onion", nil
}

// checkKey tells what is wrong with an onion key. All keys of onion services are points
// of the group of prime order; a key can be changed into seven others outside of it, and
// into some that anybody can sign with (rend-spec-v3 §6 has clients refuse them).
func checkKey(key []byte) error {
	p, err := new(edwards25519.Point).SetBytes(key)
	if err != nil || !bytes.Equal(p.Bytes(), key) {
		return errors.New("has a key that is not canonical")
	}
	if p.Equal(edwards25519.NewIdentityPoint()) == 1 {
		return errors.New("has a key of low order")
	}
	if timesOrder(p).Equal(edwards25519.NewIdentityPoint()) != 1 {
		return errors.New("has a key with a torsion component")
	}
	return nil
}

// timesOrder multiplies a point by the order of the group of prime order. What is left
// is not of that group. The order itself is no scalar: it is taken once less, and once.
func timesOrder(p *edwards25519.Point) *edwards25519.Point {
	one, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		panic(err) // one is canonical
	}
	q := new(edwards25519.Point).ScalarMult(edwards25519.NewScalar().Negate(one), p)
	return q.Add(q, p)
}

// checkLeaf checks of a leaf what Certificate.Verify does not.
func checkLeaf(leaf, root *x509.Certificate, name string, use x509.ExtKeyUsage) error {
	below := "." + name
	switch {
	case !isStrong(leaf.PublicKey):
		return errors.New("has a weak key")
	case leaf.IsCA:
		return errors.New("is a CA")
	case !bytes.Equal(leaf.RawIssuer, root.RawSubject) || leaf.CheckSignatureFrom(root) != nil:
		return errors.New("is not signed by the root")
	case leaf.NotAfter.Sub(leaf.NotBefore) > maxLeafLife:
		return errors.New("has a life of too many days")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("has not the usage digitalSignature")
	case !slices.Contains(leaf.ExtKeyUsage, use):
		return errors.New("has not the extended usage that it is used for")
	case len(leaf.IPAddresses)+len(leaf.URIs)+len(leaf.EmailAddresses) > 0:
		return errors.New("has names that are not of DNS")
	case !slices.Contains(leaf.DNSNames, name):
		return errors.New("has not the name of the root's key")
	}
	for _, n := range leaf.DNSNames {
		if n != name && !strings.HasSuffix(n, below) {
			return errors.New("has other names than that of the root's key")
		}
	}
	return nil
}

// isStrong tells if the key of a leaf is one that is hard enough to break.
func isStrong(key any) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return k.Curve != elliptic.P224()
	case stded25519.PublicKey:
		return true
	}
	return false
}
