package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/omemo"
	"github.com/allium-xmpp/allium/onionroute"
)

// The audit prints what is kept while a directory is at it, and fails when something is wrong.
func TestOmemoAudit(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "allium.toml")
	require.NoError(t, os.WriteFile(file, []byte("state_dir = \"state\"\n[host]\nsecret = \"s\"\ndomains = [\"example.org\"]\n[federation]\ndomain = \"onion.example.org\"\n"), 0o600))
	_, err := onionroute.CreateIdentity(filepath.Join(dir, "state", "identity", "hs_ed25519_secret_key"))
	require.NoError(t, err)
	audit := func(jids ...string) (string, error) {
		return runAllium(t.Context(), append([]string{"omemo", "audit", "--config", file}, jids...)...)
	}
	out, err := audit()
	require.NoError(t, err)
	assert.Contains(t, out, "No keys are kept.")

	keys, err := omemo.OpenDirectory(filepath.Join(dir, "state", "keys.sqlite"), omemo.Options{
		Address: jid.MustParse("onion.example.org"), Local: func(j jid.JID) bool { return j.Domainpart() == "example.org" }})
	require.NoError(t, err)
	t.Cleanup(func() { keys.Close() })
	host := keys.Handler(component.HandlerFunc(func(context.Context, *component.Stanza) error { return nil }))
	keys.Sender(component.NewRouter())
	tells := func(device uint32) {
		l := &omemo.DeviceList{Format: omemo.Legacy, Devices: []omemo.Device{{ID: device}}}
		e := component.NewElement(omemo.NSPubsubEvent, "event").Add(component.NewElement(omemo.NSPubsubEvent, "items").With("node", omemo.NodeLegacyDevices).
			Add(component.NewElement(omemo.NSPubsubEvent, "item").With("id", "current").Add(l.Element())))
		s := &component.Stanza{Kind: component.Message, Type: "headline", From: jid.MustParse("alice@example.org"), To: jid.MustParse(`bob\40x.onion@onion.example.org`)}
		require.NoError(t, host.HandleStanza(t.Context(), s.Add(e)))
	}
	tells(12345)
	assert.Eventually(t, func() bool {
		out, err = audit()
		return err == nil && strings.Contains(out, "12345")
	}, 10*time.Second, 10*time.Millisecond)
	assert.Regexp(t, `(?m)^ADDRESS +FORMAT +DEVICE +PRE-KEYS +LAST READ +FINDINGS$`, out)
	assert.Regexp(t, `(?m)^alice@example\.org +legacy +12345 +0 +- +no bundle: nobody has asked for it; only this format$`, out)
	assert.Contains(t, out, "Nothing is wrong.")

	out, err = audit("alice@example.org", "bob@example.org")
	assert.ErrorIs(t, err, errTold, "exit code 1")
	assert.Regexp(t, `(?m)^bob@example\.org +- .*no keys are kept`, out)
	assert.Contains(t, out, "Something is wrong with 1 of 2.")

	peer, err := onionroute.NewName()
	require.NoError(t, err)
	for _, typed := range []string{"bob@" + peer, " xmpp:bob@" + peer + "?message", "bob%" + peer + "@onion.example.org", `bob\40` + peer + "@onion.example.org"} {
		out, err = audit(typed)
		assert.ErrorIs(t, err, errTold)
		assert.Contains(t, out, "\nbob\\40"+peer+"@onion.example.org ", typed)
	}
	_, err = audit("@")
	assert.ErrorContains(t, err, "is not an address")
}

// A client that asks the gateway for its keys gets those of its own device, in both formats,
// and an encrypted answer to an encrypted message.
func TestGatewayDevice(t *testing.T) {
	n := alliumNode(t, "keys-a", "prosody")
	ctx := deadline(t, 2*time.Minute)
	gateway := jid.MustParse("onion." + n.domain)
	read := func(node string) *component.Element {
		s := &component.Stanza{Kind: component.IQ, Type: "get", ID: rand.Text(), To: gateway}
		require.NoError(t, n.client.Send(s.Add(items(node))))
		answer, err := n.client.Expect(ctx, "answer of the gateway", func(a *component.Stanza) bool { return a.ID == s.ID })
		require.NoError(t, err)
		assert.Equal(t, gateway, answer.From)
		return keysIn(t, answer)
	}
	for _, format := range []*omemo.Format{omemo.Legacy, omemo.OMEMO2} {
		devices, bundles := keyNodes(format)
		l, err := format.ParseDevices(read(devices))
		require.NoError(t, err)
		require.Len(t, l.Devices, 1)
		if format == omemo.Legacy {
			bundles = fmt.Sprintf("%s%d", omemo.NodeLegacyBundles, l.Devices[0].ID)
		}
		b, err := format.ParseBundle(read(bundles))
		require.NoError(t, err)
		assert.Len(t, b.PreKeys, 100)
	}
	// The audit is there, and not for everybody.
	run := component.NewElement(component.NSCommands, "command").With("node", "urn:allium:omemo#audit")
	s := &component.Stanza{Kind: component.IQ, Type: "set", ID: rand.Text(), To: gateway}
	require.NoError(t, n.client.Send(s.Add(run)))
	refused, err := n.client.Expect(ctx, "no audit", func(a *component.Stanza) bool { return a.ID == s.ID })
	require.NoError(t, err)
	assert.Equal(t, stanza.Forbidden, refused.StanzaError().Condition, refused)

	// What a client of another making encrypts to it, it answers, and that can be read.
	for name, format := range map[string]*omemo.Format{"legacy": omemo.Legacy, "omemo2": omemo.OMEMO2} {
		folder := t.TempDir()
		devices, bundles := keyNodes(format)
		l, err := format.ParseDevices(read(devices))
		require.NoError(t, err)
		id := fmt.Sprint(l.Devices[0].ID)
		plain := "<envelope xmlns='urn:xmpp:sce:1'><content><body xmlns='jabber:client'>hi</body></content><rpad/></envelope>"
		if format == omemo.Legacy {
			bundles, plain = omemo.NodeLegacyBundles+id, "hi"
		}
		require.NoError(t, os.WriteFile(filepath.Join(folder, name+"-bundle.xml"), []byte(read(bundles).String()), 0o600))
		cmd := exec.Command("/usr/bin/python3", "-B", "../../omemo/testdata/peer.py", "talk", folder, name, gateway.String(), id)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { in.Close(); cmd.Wait() })
		fmt.Fprintln(in, "write message", plain)
		lines := bufio.NewScanner(out)
		require.True(t, lines.Scan())
		message, err := os.ReadFile(filepath.Join(folder, "message.xml"))
		require.NoError(t, err)
		require.NoError(t, n.client.SendXML("<message type='chat' to='"+gateway.String()+"'>"+string(message)+"</message>"))
		answer, err := n.client.Expect(ctx, "report", func(s *component.Stanza) bool {
			return s.Kind == component.Message && s.Child(format.String(), "encrypted") != nil
		})
		require.NoError(t, err)
		require.Equal(t, gateway, answer.From, answer)
		require.NoError(t, os.WriteFile(filepath.Join(folder, "answer.xml"), []byte(answer.Child(format.String(), "encrypted").String()), 0o600))
		fmt.Fprintln(in, "read answer")
		require.True(t, lines.Scan())
		assert.Contains(t, lines.Text(), "Encryption works")
		assert.Contains(t, lines.Text(), "Allium is attached to this server and to Tor.")
	}

	st, err := os.Stat(filepath.Join(n.dir, "state", "device.sqlite"))
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, st.Mode().Perm())
}
