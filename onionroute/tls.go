package onionroute

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"time"
)

// serverTLS makes a configuration with a certificate for the onion names alone, with
// a key of its own. It proves nothing, and need not: who reached the onion service has
// reached the holder of the onion key.
func serverTLS(names []string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("onionroute: TLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("onionroute: TLS certificate: %w", err)
	}
	// Whole days: the certificate does not tell when the program was started.
	now := time.Now().UTC().Truncate(24 * time.Hour)
	cert := &x509.Certificate{
		SerialNumber: serial, DNSNames: names,
		NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("onionroute: TLS certificate: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12,
	}, nil
}

// clientTLS wraps a connection to a peer. Its certificate is not verified, as its
// address has been by Tor; TLS is there for what is recorded today and broken
// tomorrow: it has a key exchange that Tor does not have.
func clientTLS(own *tls.Config, peer string) func(net.Conn) *tls.Conn {
	return func(c net.Conn) *tls.Conn {
		return tls.Client(c, &tls.Config{
			ServerName: peer, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12,
			Certificates: own.Certificates,
		})
	}
}
