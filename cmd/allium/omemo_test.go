package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/omemo"
)

// The audit prints what is kept while a directory is at it, and fails when something is wrong.
func TestOmemoAudit(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "allium.toml")
	require.NoError(t, os.WriteFile(file, []byte("state_dir = \"state\"\n[host]\nsecret = \"s\"\ndomains = [\"example.org\"]\n[federation]\ndomain = \"onion.example.org\"\n"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "state"), 0o700))
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
	assert.Regexp(t, `(?m)^alice@example\.org +legacy +12345 +0 +- +no bundle, and nobody has asked for keys; only this format$`, out)
	assert.Contains(t, out, "Nothing is wrong.")

	out, err = audit("alice@example.org", "bob@example.org")
	assert.ErrorIs(t, err, errTold, "exit code 1")
	assert.Regexp(t, `(?m)^bob@example\.org +- .*no keys are kept`, out)
	assert.Contains(t, out, "Something is wrong with 1 of 2.")

	_, err = audit("@")
	assert.ErrorContains(t, err, "is not an address")
}
