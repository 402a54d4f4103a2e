package onionroute

import (
	"crypto"
	"crypto/ecdsa"
	stded25519 "crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/cretz/bine/torutil/ed25519"
)

// leafDays is how long a leaf is good for, at least, when it is made. A process has
// always one that is good for half of that, and who steals the key of a leaf can be us
// no longer than it is.
const leafDays = 7

// alpn names XMPP between servers on a port with TLS from the first octet (XEP-0368
// §3). Behind STARTTLS there is nothing to choose.
const alpn = "xmpp-server"

// Credentials prove our onion name by TLS: a root certificate with the onion key, and
// a leaf that it signed. See verifyChain for what a peer concludes from them. They are
// safe for concurrent use.
type credentials struct {
	name string
	key  crypto.Signer // the onion key
	root []byte        // DER

	mu      sync.Mutex
	current *tls.Certificate // with Leaf
}

func newCredentials(id *Identity) (*credentials, error) {
	c := &credentials{name: id.Name(), key: onionSigner{id.key}}
	root, err := newRoot(c.name)
	if err == nil {
		c.root, err = x509.CreateCertificate(rand.Reader, root, root, c.key.Public(), c.key)
	}
	if err != nil {
		return nil, fmt.Errorf("onionroute: root certificate: %w", err)
	}
	return c, nil
}

// An onionSigner is an onion key, whose public key has the type that crypto/x509 knows.
// Only the secret key is of another form than elsewhere: it is expanded, and has no seed.
type onionSigner struct{ ed25519.KeyPair }

func (s onionSigner) Public() crypto.PublicKey { return stded25519.PublicKey(s.PublicKey()) }

// newRoot is the template of the certificate of an onion key. It signs leaves for its
// own name and nothing else, and is good for ever, as the name is: what ends is the leaf.
// So it tells no time.
func newRoot(name string) (*x509.Certificate, error) {
	serial, err := newSerial()
	return &x509.Certificate{
		SerialNumber: serial,
		// Whoever signs must have a name (RFC 5280 §4.1.2.4).
		Subject:   pkix.Name{CommonName: name},
		NotBefore: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // never (RFC 5280 §4.1.2.5)
		KeyUsage:  x509.KeyUsageCertSign,
		IsCA:      true, BasicConstraintsValid: true, MaxPathLenZero: true,
		PermittedDNSDomains: []string{name}, PermittedDNSDomainsCritical: true,
	}, err
}

// newLeaf is the template of a leaf for the name and those right below it. Its times
// are whole days in UTC, with a day to spare in the past: they do not tell the clock,
// nor when the program was started, and a peer's clock may be wrong by some hours.
func newLeaf(name string, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	today := now.UTC().Truncate(24 * time.Hour)
	return &x509.Certificate{
		SerialNumber: serial,
		DNSNames:     []string{name, "*." + name},
		NotBefore:    today.AddDate(0, 0, -1), NotAfter: today.AddDate(0, 0, leafDays+1),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, err
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// certificate gives a leaf and the root. It makes a new leaf, with a new key that is
// nowhere but in memory, when the current one has less than half of its life left, or
// none at all since the clock was set back.
func (c *credentials) certificate(now time.Time) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		from, to := c.current.Leaf.NotBefore, c.current.Leaf.NotAfter
		if !now.Before(from) && to.Sub(now) >= to.Sub(from)/2 {
			return c.current, nil
		}
	}
	fresh, err := c.newLeaf(now)
	if err != nil {
		return nil, fmt.Errorf("onionroute: leaf certificate: %w", err)
	}
	c.current = fresh
	return fresh, nil
}

func (c *credentials) newLeaf(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newLeaf(c.name, now)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(c.root)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root, key.Public(), c.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, c.root}, PrivateKey: key, Leaf: leaf}, nil
}

// serverTLS is for a connection that somebody opened to us; direct tells if it has TLS
// from the first octet. A certificate is asked for, and may be missing: who has none
// proves its name by dialback.
func (c *credentials) serverTLS(direct bool) *tls.Config {
	t := c.config(direct)
	t.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate(time.Now()) }
	t.ClientAuth = tls.RequestClientCert
	return t
}

// clientTLS is for a connection to a peer, as serverTLS.
func (c *credentials) clientTLS(peer string, direct bool) *tls.Config {
	t := c.config(direct)
	t.ServerName = peer
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return c.certificate(time.Now())
	}
	// Who answers is who we asked for: Tor has verified that, and most peers have a
	// certificate that proves nothing. What verifyChain says after the handshake is
	// if the peer knows how to prove itself without being called back.
	t.InsecureSkipVerify = true
	return t
}

// config is what both sides have in common. The key exchange is left to crypto/tls: it
// prefers one that quantum computers do not break, as Tor has none.
func (c *credentials) config(direct bool) *tls.Config {
	t := &tls.Config{
		MinVersion: tls.VersionTLS12, // others have no newer one
		// A ticket links the connections that it is used for.
		SessionTicketsDisabled: true,
	}
	if direct {
		t.NextProtos = []string{alpn}
	}
	return t
}
