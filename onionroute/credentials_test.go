package onionroute

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testCredentials(t testing.TB, n byte) *credentials {
	c, err := newCredentials(testIdentity(n))
	require.NoError(t, err)
	return c
}

// certificates are the leaf and the root as a peer sees them.
func (c *credentials) certificates(t testing.TB, now time.Time) []*x509.Certificate {
	cert, err := c.certificate(now)
	require.NoError(t, err)
	var out []*x509.Certificate
	for _, der := range cert.Certificate {
		parsed, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		out = append(out, parsed)
	}
	return out
}

// shake makes a TLS handshake, and gives what each side then knows of the other.
func shake(t testing.TB, server, client *tls.Config) (atServer, atClient tls.ConnectionState, err error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	err = c.Handshake()
	if err != nil {
		b.Close()
	}
	if serr := <-done; err == nil {
		err = serr
	}
	return s.ConnectionState(), c.ConnectionState(), err
}

// Two Alliums prove their names to each other in one handshake, with a key exchange
// that quantum computers do not break.
func TestMutualTLS(t *testing.T) {
	a, b := testCredentials(t, 1), testCredentials(t, 2)
	for direct, protocol := range map[bool]string{true: "xmpp-server", false: ""} {
		atA, atB, err := shake(t, a.serverTLS(direct), b.clientTLS(a.name, direct))
		require.NoError(t, err)
		for _, st := range []tls.ConnectionState{atA, atB} {
			assert.EqualValues(t, tls.VersionTLS13, st.Version)
			assert.Equal(t, tls.X25519MLKEM768, st.CurveID)
			assert.Equal(t, protocol, st.NegotiatedProtocol)
		}
		assert.Equal(t, a.name, atA.ServerName)
		name, err := verifyChain(atA.PeerCertificates, x509.ExtKeyUsageClientAuth, time.Now())
		require.NoError(t, err)
		assert.Equal(t, b.name, name)
		name, err = verifyChain(atB.PeerCertificates, x509.ExtKeyUsageServerAuth, time.Now())
		require.NoError(t, err)
		assert.Equal(t, a.name, name)
	}
}

// A peer that is no Allium gets its connection as well: with an older TLS, without a
// certificate or with any, and without ALPN; but with no ticket.
func TestTLSWithOthers(t *testing.T) {
	a := testCredentials(t, 1)
	ours, tickets := a.serverTLS(true), tls.NewLRUClientSessionCache(1)
	for range 2 {
		atA, atPeer, err := shake(t, ours, &tls.Config{InsecureSkipVerify: true, ServerName: a.name,
			MaxVersion: tls.VersionTLS12, ClientSessionCache: tickets})
		require.NoError(t, err)
		assert.Empty(t, atA.PeerCertificates)
		assert.False(t, atPeer.DidResume)
	}
	key := ecKey(t, elliptic.P256())
	template, err := newLeaf("example.org", time.Now())
	require.NoError(t, err)
	self := certify(t, template, template, key, key)
	theirs := &tls.Config{InsecureSkipVerify: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{self.Raw}, PrivateKey: key}}}
	atA, _, err := shake(t, a.serverTLS(false), theirs)
	require.NoError(t, err)
	assert.Len(t, atA.PeerCertificates, 1)
	_, atA, err = shake(t, theirs, a.clientTLS("example.org", false))
	require.NoError(t, err)
	assert.Equal(t, self.Raw, atA.PeerCertificates[0].Raw)

	_, _, err = shake(t, &tls.Config{Certificates: theirs.Certificates, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
		a.clientTLS("example.org", false))
	assert.Error(t, err, "TLS 1.1")
}

// A process that runs for months has a fresh leaf all the time, with a key of its own,
// and makes no more of them than it needs.
func TestRenewal(t *testing.T) {
	c := testCredentials(t, 1)
	keys := map[string]bool{}
	for h := 0; h < 100*24; h += 3 {
		now := testNow.Add(time.Duration(h) * time.Hour)
		certs := c.certificates(t, now)
		name, err := verifyChain(certs, x509.ExtKeyUsageServerAuth, now)
		require.NoError(t, err)
		require.Equal(t, c.name, name)
		require.GreaterOrEqual(t, certs[0].NotAfter.Sub(now), leafDays*24*time.Hour/2)
		key, err := certs[0].PublicKey.(*ecdsa.PublicKey).Bytes()
		require.NoError(t, err)
		keys[string(key)] = true
	}
	assert.Greater(t, len(keys), 100/leafDays)
	assert.Less(t, len(keys), 100/2)
	back := testNow.AddDate(0, -1, 0)
	_, err := verifyChain(c.certificates(t, back), x509.ExtKeyUsageServerAuth, back)
	assert.NoError(t, err, "the clock was set back")
}

func TestCredentialsTogether(t *testing.T) {
	c := testCredentials(t, 1)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			now := testNow.AddDate(0, 0, i%4*7)
			cert, err := c.certificate(now)
			if assert.NoError(t, err) {
				assert.False(t, now.After(cert.Leaf.NotAfter))
			}
		})
	}
	wg.Wait()
}

// A chain tells the onion name and nothing else: no other name, no place to ask at, and
// no time that is not that of a whole day.
func TestChainTellsNothing(t *testing.T) {
	early := time.Date(2026, 5, 6, 0, 0, 0, 0, time.UTC)
	late := time.Date(2026, 5, 7, 4, 59, 59, 0, time.FixedZone("", 5*60*60+1)) // 23:59:58 in UTC
	one, two := testCredentials(t, 1).certificates(t, early), testCredentials(t, 1).certificates(t, late)
	require.Len(t, one, 2)
	for i := range one {
		assert.Equal(t, one[i].NotBefore, two[i].NotBefore)
		assert.Equal(t, one[i].NotAfter, two[i].NotAfter)
		assert.NotEqual(t, one[i].SerialNumber, two[i].SerialNumber)
	}
	name := testIdentity(1).Name()
	leaf, root := one[0], one[1]
	assert.Equal(t, early.AddDate(0, 0, -1), leaf.NotBefore)
	assert.Equal(t, early.AddDate(0, 0, 8), leaf.NotAfter)
	assert.Equal(t, []string{name, name, "*." + name}, texts(t, leaf.RawTBSCertificate), "issuer and names")
	assert.Equal(t, []string{name, name, name}, texts(t, root.RawTBSCertificate), "issuer, subject, and names that it is for")
	// Usages, names and constraints (RFC 5280 §4.2.1), and identifiers of keys, which are
	// hashes of them. Whatever else there could be is not there.
	assert.ElementsMatch(t, []string{"2.5.29.15", "2.5.29.37", "2.5.29.19", "2.5.29.35", "2.5.29.17"}, extensions(leaf))
	assert.ElementsMatch(t, []string{"2.5.29.15", "2.5.29.19", "2.5.29.14", "2.5.29.30"}, extensions(root))
}

func extensions(c *x509.Certificate) (ids []string) {
	for _, e := range c.Extensions {
		ids = append(ids, e.Id.String())
	}
	return ids
}

// texts are all texts and names in a certificate, wherever they are.
func texts(t testing.TB, der []byte) (out []string) {
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		require.NoError(t, err)
		switch {
		case v.IsCompound, v.Tag == asn1.TagOctetString && v.Class == asn1.ClassUniversal && v.Bytes[0] == 0x30: // the value of an extension
			out = append(out, texts(t, v.Bytes)...)
		case v.Class == asn1.ClassContextSpecific && v.Tag > 0, // of GeneralName (RFC 5280 §4.2.1.6)
			v.Tag == asn1.TagUTF8String, v.Tag == asn1.TagPrintableString, v.Tag == asn1.TagIA5String:
			out = append(out, string(v.Bytes))
		}
		der = rest
	}
	return out
}

// The key of a running tor proves its name too: it is expanded, as all keys here are.
func TestImportedIdentity(t *testing.T) {
	dir := t.TempDir()
	torrc := filepath.Join(dir, "torrc")
	require.NoError(t, os.WriteFile(torrc, nil, 0o600))
	service := filepath.Join(dir, "service")
	tor := exec.Command("tor", "-f", torrc, "--defaults-torrc", torrc, "--DisableNetwork", "1", "--SocksPort", "0",
		"--DataDirectory", filepath.Join(dir, "data"), "--HiddenServiceDir", service, "--HiddenServicePort", "5269 unix:"+filepath.Join(dir, "s"))
	var said strings.Builder
	tor.Stdout, tor.Stderr = &said, &said
	require.NoError(t, tor.Start())
	ended := make(chan error, 1)
	go func() { ended <- tor.Wait() }()
	var host []byte
	for deadline := time.Now().Add(30 * time.Second); !strings.HasSuffix(string(host), "\n"); {
		select {
		case <-ended:
			t.Fatal("tor ended: " + said.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			break
		}
		host, _ = os.ReadFile(filepath.Join(service, "hostname"))
	}
	require.NoError(t, tor.Process.Kill())
	<-ended
	require.NotEmpty(t, host, "tor made no onion service: %s", &said)

	id, err := LoadIdentity(filepath.Join(service, "hs_ed25519_secret_key"))
	require.NoError(t, err)
	c, err := newCredentials(id)
	require.NoError(t, err)
	name, err := verifyChain(c.certificates(t, testNow), x509.ExtKeyUsageServerAuth, testNow)
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(string(host)), name)
}
