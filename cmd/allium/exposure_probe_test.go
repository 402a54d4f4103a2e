package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cretz/bine/torutil"
	bine "github.com/cretz/bine/torutil/ed25519"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// probe gives what a stranger hears at a port of the onion service.
func probe(t *testing.T, n *node, port int) (heard []string) {
	tor := visitorTor(t)
	ctx := deadline(t, 3*time.Minute)
	headerFrom := func(from, to string) string {
		return "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'" +
			" from='" + from + "' to='" + to + "'>"
	}
	header := func(to string) string { return headerFrom(spyName(t), to) }
	for _, says := range []string{
		header(n.onion), header(n.domain), header("rooms." + n.onion), header("other." + n.onion), "GET / HTTP/1.0\r\n\r\n",
		header(n.onion) + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
		header(n.onion) + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHgAeA==</auth>",
		header(n.onion) + "<db:verify from='" + n.onion + "' to='" + n.domain + "' id='1'>key</db:verify>",
		header(n.onion) + "<db:verify from='x.example' to='" + n.onion + "' id='1'>key</db:verify>",
		header(n.onion) + "<db:result from='x.example' to='" + n.onion + "'>key</db:result>",
		header(n.onion) + "<db:result from='" + n.domain + "' to='" + n.onion + "'>key</db:result>",
		header(n.onion) + "<message from='x@" + n.onion + "' to='x@" + n.onion + "'/>", header(n.onion) + "<iq/>", header(n.onion) + "<a><b></a>",
	} {
		conn, err := tor.Dial(ctx, n.onion, port, rand.Text(), nil)
		require.NoError(t, err)
		conn.SetDeadline(time.Now().Add(time.Minute))
		if port == 5270 {
			conn = greetTLS(t, conn, &heard)
		}
		_, err = io.WriteString(conn, says+"</stream:stream>")
		require.NoError(t, err)
		said, _ := io.ReadAll(conn)
		conn.Close()
		assert.NotEmpty(t, said, says)
		// What we said ourselves comes back in the answer to a question.
		text := string(said)
		if strings.Contains(says, "<db:") {
			text = strings.ReplaceAll(text, "'"+n.domain+"'", "")
		}
		heard = append(heard, text)
	}
	// The same with TLS on the one port, and on both as somebody who proves to be an onion service.
	name, cert := onionChain(t)
	proven := headerFrom(name, n.onion)
	flight := proven + "<bidi xmlns='urn:xmpp:bidi'/><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>" +
		proven + "<enable xmlns='urn:xmpp:sm:3' resume='true'/><r xmlns='urn:xmpp:sm:3'/></stream:stream>"
	for says, certs := range map[string][]tls.Certificate{header(n.onion) + "</stream:stream>": nil, flight: {cert}} {
		conn, err := tor.Dial(ctx, n.onion, port, rand.Text(), nil)
		require.NoError(t, err)
		conn.SetDeadline(time.Now().Add(time.Minute))
		if port == 5269 {
			startTLS(t, conn, header(n.onion))
		}
		secured := greetTLS(t, conn, &heard, certs...)
		io.WriteString(secured, says)
		said, _ := io.ReadAll(secured)
		conn.Close()
		assert.Contains(t, string(said), "features")
		for _, has := range []string{">EXTERNAL<", "urn:xmpp:features:bidi", "<success ", "<sm ", "<enabled "} {
			assert.Equal(t, certs != nil, strings.Contains(string(said), has), "%s %s", has, said)
		}
		heard = append(heard, string(said))
	}
	return heard
}

// startTLS asks for TLS on a connection that is there.
func startTLS(t *testing.T, conn net.Conn, header string) {
	d := component.NewDecoder(conn, component.Limits{})
	io.WriteString(conn, header)
	_, err := d.Header()
	require.NoError(t, err)
	_, err = d.Next()
	require.NoError(t, err)
	io.WriteString(conn, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	_, err = d.Next()
	require.NoError(t, err)
}

// greetTLS begins TLS, as somebody who has no certificate if none is given, and keeps what
// the other's say.
func greetTLS(t *testing.T, conn net.Conn, heard *[]string, certs ...tls.Certificate) net.Conn {
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, Certificates: certs})
	require.NoError(t, c.Handshake())
	for _, cert := range c.ConnectionState().PeerCertificates {
		*heard = append(*heard, fmt.Sprint(cert.Subject, cert.Issuer, cert.DNSNames, cert.EmailAddresses, cert.URIs,
			cert.OCSPServer, cert.IssuingCertificateURL, cert.CRLDistributionPoints))
		for _, name := range cert.DNSNames {
			assert.True(t, strings.HasSuffix(name, ".onion"), name)
		}
		assert.Empty(t, cert.IPAddresses)
	}
	return c
}

func spyName(t *testing.T) string {
	name, err := onionrouteName()
	require.NoError(t, err)
	j, err := jid.New("", name, "")
	require.NoError(t, err)
	return j.String()
}

// onionChain is an onion name, and certificates that prove it as those of another Allium do.
func onionChain(t *testing.T) (name string, cert tls.Certificate) {
	public, secret, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	name = torutil.OnionServiceIDFromV3PublicKey(bine.PublicKey(public)) + ".onion"
	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signed, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), secret)
	require.NoError(t, err)
	own, err := x509.CreateCertificate(rand.Reader, root, root, public, secret)
	require.NoError(t, err)
	return name, tls.Certificate{Certificate: [][]byte{signed, own}, PrivateKey: key}
}

// discoItems are questions for the features and the items of all that is named in answers
// about items, at the victim's server, and that was not asked before.
func discoItems(heard []*component.Stanza, victim *node, asked map[string]bool) (questions []*component.Stanza) {
	for _, s := range heard {
		if s.Type != "result" || s.Payload() == nil {
			continue
		}
		for _, n := range s.Payload().Nodes {
			if n.Element == nil || n.Element.Name.Space != component.NSDiscoItem {
				continue
			}
			to, err := jid.Parse(n.Element.AttrValue("jid"))
			key := n.Element.AttrValue("jid") + " " + n.Element.AttrValue("node")
			if err != nil || asked[key] || !strings.HasSuffix(to.Domainpart(), victim.onion) {
				continue
			}
			asked[key] = true
			for _, space := range []string{component.NSDiscoInfo, component.NSDiscoItem} {
				q := component.NewElement(space, "query")
				if node := n.Element.AttrValue("node"); node != "" {
					q.SetAttr("node", node)
				}
				questions = append(questions, (&component.Stanza{Kind: component.IQ, Type: "get", ID: rand.Text(), To: to}).Add(q))
			}
		}
	}
	return questions
}
