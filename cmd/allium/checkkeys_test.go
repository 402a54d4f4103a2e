package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/omemo"
	"github.com/allium-xmpp/allium/onionroute"
)

// The check asks the host for keys as a stranger does, and says how to mend it where that
// gets none: which is so where clients publish for contacts alone, and is mended by what the
// check says.
func TestCheckKeys(t *testing.T) {
	const open = ": {access_model: open}\n"
	for name, kind := range map[string]struct {
		start   func(context.Context, string, hosttest.Config) (*hosttest.Host, error)
		config  hosttest.Config // that mends it
		without string          // what the check says of a user with no keys
	}{
		"prosody": {hosttest.StartProsody, hosttest.Config{Modules: []string{"privilege"}, Extra: "privileged_entities = { [\"onion.example.org\"] = { iq = { [\"" + nsPubsub +
			"\"] = \"get\" } } }\nComponent \"onion.example.org\"\n modules_enabled = { \"privilege\" }\n"}, "or there are none"},
		"ejabberd": {hosttest.StartEjabberd, hosttest.Config{Extra: "host_config:\n  example.org:\n    modules:\n      mod_caps: {}\n      mod_disco: {}\n      mod_roster: {}\n" +
			"      mod_pubsub:\n        plugins: [flat, pep]\n        force_node_config:\n" +
			"          \"eu.siacs.conversations.axolotl.*\"" + open + "          \"urn:xmpp:omemo:2:*\"" + open}, "set admins to somebody who uses OMEMO"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			n := &node{domain: "example.org", user: "alice", pass: "password", config: filepath.Join(dir, "allium.toml")}
			_, err := onionroute.CreateIdentity(filepath.Join(dir, "state", "identity", "hs_ed25519_secret_key"))
			require.NoError(t, err)
			begin := func(c hosttest.Config) {
				t.Helper()
				c.Domains, c.Users, c.Components = []string{n.domain}, map[string]string{n.account(): n.pass}, map[string]string{"onion.example.org": "s"}
				h, err := kind.start(deadline(t, time.Minute), t.TempDir(), c)
				require.NoError(t, err)
				t.Cleanup(func() { h.Stop() })
				n.host = h
				require.NoError(t, os.WriteFile(n.config, fmt.Appendf(nil, "state_dir = \"state\"\nadmins = [%q]\n[host]\nserver = %q\nsecret = \"s\"\ndomains = [%q]\n[federation]\ndomain = \"onion.example.org\"\n",
					n.account(), n.host.ComponentAddr(), n.domain), 0o600))
				n.login(t)
			}
			check := func() (string, error) {
				return runAllium(deadline(t, time.Minute), "check", "--config", n.config, "--offline")
			}
			list := (&omemo.DeviceList{Format: omemo.Legacy, Devices: []omemo.Device{{ID: 7}}}).Element()
			xml, err := os.ReadFile("../../omemo/testdata/legacy-bundle.xml")
			require.NoError(t, err)
			publish := func() { // for contacts alone, if the host is not set up otherwise
				for node, payload := range map[string]string{omemo.NodeLegacyDevices: list.String(), omemo.NodeLegacyBundles + device: string(xml)} {
					set(t, n, "<pubsub xmlns='"+nsPubsub+"'><publish node='"+node+"'><item id='current'>"+payload+"</item></publish></pubsub>")
				}
			}
			const what = "host lets peers read OMEMO keys"
			begin(hosttest.Config{})
			out, err := check()
			require.NoError(t, err, out)
			assert.Contains(t, out, "note    "+what)
			assert.Contains(t, out, kind.without)

			// Who has keys is known from notifications.
			keys, err := omemo.OpenDirectory(filepath.Join(dir, "state", "keys.sqlite"), omemo.Options{Address: jid.MustParse("onion.example.org"),
				Local: func(j jid.JID) bool { return j.Domainpart() == n.domain }})
			require.NoError(t, err)
			heard := make(chan struct{}, 1)
			host := keys.Handler(component.HandlerFunc(func(context.Context, *component.Stanza) error { heard <- struct{}{}; return nil }))
			event := component.NewElement(omemo.NSPubsubEvent, "event").Add(component.NewElement(omemo.NSPubsubEvent, "items").With("node", omemo.NodeLegacyDevices).
				Add(component.NewElement(omemo.NSPubsubEvent, "item").With("id", "current").Add(list)))
			require.NoError(t, host.HandleStanza(t.Context(), (&component.Stanza{Kind: component.Message, From: jid.MustParse(n.account()),
				To: jid.MustParse(`bob\40x.onion@onion.example.org`)}).Add(event)))
			<-heard
			require.NoError(t, keys.Close())
			publish()
			out, err = check()
			assert.ErrorIs(t, err, errTold, out)
			assert.Contains(t, out, "FAILED  "+what+"\n        it refuses those of alice@example.org: with ejabberd, set force_node_config")

			require.NoError(t, n.host.Stop())
			begin(kind.config)
			publish()
			out, err = check()
			assert.NoError(t, err, out)
			assert.Contains(t, out, "ok      "+what)
		})
	}
}

// What a running Allium has found is told without asking the host; and so are files that
// others can read, or that cannot be used.
func TestCheckKeyFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "allium.toml")
	require.NoError(t, os.WriteFile(file, []byte("state_dir = \"state\"\n[host]\nserver = \"127.0.0.1:1\"\nsecret = \"s\"\ndomains = [\"example.org\"]\n[federation]\ndomain = \"onion.example.org\"\n"), 0o600))
	_, err := onionroute.CreateIdentity(filepath.Join(dir, "state", "identity", "hs_ed25519_secret_key"))
	require.NoError(t, err)
	c, err := loadConfig(file)
	require.NoError(t, err)
	unlock, err := c.lock()
	require.NoError(t, err)
	defer unlock()
	check := func() (string, error) {
		return runAllium(deadline(t, time.Minute), "check", "--config", file, "--offline")
	}
	out, err := check()
	require.NoError(t, err, out)
	own, err := omemo.OpenOwnDevice(c.deviceFile())
	require.NoError(t, err)
	require.NoError(t, own.Close())
	out, err = check()
	require.NoError(t, err, out)
	assert.Contains(t, out, "ok      own OMEMO device "+c.deviceFile())

	require.NoError(t, os.Chmod(c.deviceFile(), 0o640))
	require.NoError(t, os.WriteFile(c.keysFile(), []byte("this is no database of any kind, whatever its name says"), 0o600))
	out, err = check()
	assert.ErrorIs(t, err, errTold)
	assert.Contains(t, out, "chmod 600 "+c.deviceFile())
	assert.Contains(t, out, "FAILED  keys "+c.keysFile())
	assert.Contains(t, out, "move it away; keys are fetched again")
}
