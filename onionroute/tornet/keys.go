package tornet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// Key sizes in bits. Tor fixes the first. tor-gencert would make an identity
// key of 3072 bits, which takes up to some seconds; this network needs no more
// than 2048.
const (
	relayIdentityBits     = 1024
	authorityIdentityBits = 2048
)

// certFingerprint finds the hash of the authority's identity key in its
// certificate.
var certFingerprint = regexp.MustCompile(`(?m)^fingerprint ([0-9A-F]{40})$`)

// makeKeys makes those keys of an authority that the configuration of all nodes
// names. Tor makes all other keys when it starts.
func (n *node) makeKeys(ctx context.Context, gencert string) error {
	keys := filepath.Join(n.dir, "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return err
	}
	relay, err := writeRSAKey(filepath.Join(keys, "secret_id_key"), relayIdentityBits)
	if err != nil {
		return err
	}
	n.fingerprint = fmt.Sprintf("%X", sha1.Sum(x509.MarshalPKCS1PublicKey(&relay.PublicKey)))

	identity := filepath.Join(keys, "authority_identity_key")
	if _, err := writeRSAKey(identity, authorityIdentityBits); err != nil {
		return err
	}
	certFile := filepath.Join(keys, "authority_certificate")
	// The identity key has no passphrase, so tor-gencert does not ask for one.
	cmd := exec.CommandContext(ctx, gencert, "-i", identity,
		"-s", filepath.Join(keys, "authority_signing_key"),
		"-c", certFile, "-a", fmt.Sprintf("%s:%d", loopback, n.dirPort))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", gencert, err, bytes.TrimSpace(out))
	}
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return err
	}
	m := certFingerprint.FindSubmatch(cert)
	if m == nil {
		return fmt.Errorf("%s: no fingerprint", certFile)
	}
	n.v3ident = string(m[1])
	return nil
}

// writeRSAKey makes an RSA key and writes it to a file in the form that tor and
// tor-gencert read.
func writeRSAKey(path string, bits int) (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return key, os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}
