package main

import (
	"context"
	"fmt"
	"net"
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
	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/onionroute"
)

func example(t *testing.T, name string) string {
	text, err := os.ReadFile(filepath.Join("../../examples", name))
	require.NoError(t, err)
	return string(text)
}

// Every example is loaded by the program that it is for.
func TestExampleConfiguration(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("s"), 0o600))
	files, err := filepath.Glob("../../examples/*.toml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		file := writeConfig(t, strings.ReplaceAll(example(t, filepath.Base(f)), "/etc/allium/secret", secret))
		_, err = loadConfig(file)
		assert.NoError(t, err, f)
	}
}

func TestExampleProsody(t *testing.T) {
	t.Setenv("HOSTTEST_DEBUG", "1") // its log tells what is looked up
	modules, err := filepath.Abs("../../examples/prosody")
	require.NoError(t, err)
	h := attachProsody(t, modules, example(t, "prosody/allium.cfg.lua"))

	// Nor does its resolver see the names that strangers come with, whom it would call back.
	s2s, err := net.Dial("tcp", h.S2SAddr())
	require.NoError(t, err)
	defer s2s.Close()
	onion := strings.Repeat("b", 56) + ".onion"
	fmt.Fprint(s2s, "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' to='example.org' from='"+onion+"' version='1.0'>")
	for _, from := range []string{onion, "elsewhere.example"} {
		fmt.Fprint(s2s, "<db:result to='example.org' from='"+from+"'>key</db:result>")
	}
	log := func() string { text, _ := os.ReadFile(h.LogFile()); return string(text) }
	require.Eventually(t, func() bool { return strings.Contains(log(), "Resolve elsewhere.example") }, 20*time.Second, 10*time.Millisecond)
	assert.Contains(t, log(), "asking "+onion+" if key", "it was about to")
	assert.NotRegexp(t, `Resolve \S*onion`, log())
}

func TestExampleEjabberd(t *testing.T) { attachEjabberd(t, example(t, "ejabberd/allium.yml")) }

// attachProsody attaches to a Prosody that has these lines and a folder with modules.
func attachProsody(t *testing.T, modules, lines string) *hosttest.Host {
	h, err := hosttest.StartProsody(deadline(t, time.Minute), t.TempDir(), hosttest.Config{Domains: []string{"example.org"}, S2S: true,
		Users: map[string]string{"alice@example.org": "secret"}, Components: map[string]string{"other.example.org": "x"},
		Extra: fmt.Sprintf("plugin_paths = { %q }\n", modules), HostExtra: "\n" + lines})
	require.NoError(t, err)
	t.Cleanup(func() { h.Stop() })
	attachExample(t, h, h.ComponentAddr())
	onion := strings.Repeat("a", 56) + ".onion"
	assert.Contains(t, writesTo(t, h, `o\27neil@`+onion+"/phone").Text["en"], `The address of this contact here is o\5c27neil\40`+onion+"@onion.example.org")
	assert.Contains(t, writesTo(t, h, onion).Text["en"], "here is "+onion+"@onion.example.org")
	return h
}

// attachEjabberd attaches to an ejabberd that has these lines. They are to be merged; here
// they are a file that ejabberd includes.
func attachEjabberd(t *testing.T, lines string) {
	dir := t.TempDir()
	port := freePort(t)
	file := filepath.Join(dir, "allium.yml")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(lines, "8888", port)), 0o644))
	h, err := hosttest.StartEjabberd(deadline(t, time.Minute), filepath.Join(dir, "host"), hosttest.Config{Domains: []string{"example.org"},
		S2S: true, Users: map[string]string{"alice@example.org": "secret"}, Extra: "include_config_file:\n  " + file + ":\n    allow_only: [listen, acl, access_rules, s2s_access]\n"})
	require.NoError(t, err)
	defer h.Stop()
	attachExample(t, h, "127.0.0.1:"+port)
}

// attachExample attaches with what the examples say. The host's resolver sees no name of an
// onion service, and all other names.
func attachExample(t *testing.T, h *hosttest.Host, server string) {
	var err error
	for range 50 {
		var conn net.Conn
		if conn, err = component.Connect(context.Background(), server, "onion.example.org", "change-me"); err == nil {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			d := component.NewContentDecoder(conn, component.NSAccept, component.Limits{})
			assert.NoError(t, serves(conn, d, "onion.example.org", "example.org"))
			assert.Error(t, serves(conn, d, "onion.example.org", "nowhere.example"))
			assert.False(t, looksUp(conn, d, "onion.example.org"))
			assert.Contains(t, []stanza.Condition{stanza.NotAllowed, stanza.Forbidden}, writesTo(t, h, "bob@"+strings.Repeat("a", 56)+".onion").Condition)
			assert.Equal(t, stanza.RemoteServerNotFound, writesTo(t, h, "bob@nowhere.example").Condition)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.NoError(t, err)
}

// writesTo gives the error that a user gets who writes to somebody.
func writesTo(t *testing.T, h *hosttest.Host, to string) stanza.Error {
	t.Helper()
	c, err := hosttest.Login(deadline(t, 20*time.Second), h.ClientAddr(), "alice@example.org", "secret")
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Send(&component.Stanza{Kind: component.Message, ID: "1", To: jid.MustParse(to)}))
	s, err := c.Expect(deadline(t, 20*time.Second), "error", isError("1"))
	require.NoError(t, err)
	return s.StanzaError()
}

// Beside a host that has not the rule of the examples, check says so.
func TestCheckNames(t *testing.T) {
	for kind, start := range map[string]func(context.Context, string, hosttest.Config) (*hosttest.Host, error){
		"prosody": hosttest.StartProsody, "ejabberd": hosttest.StartEjabberd} {
		for _, s2s := range []bool{true, false} {
			h, err := start(deadline(t, time.Minute), t.TempDir(), hosttest.Config{Domains: []string{"example.org"}, S2S: s2s,
				Components: map[string]string{"onion.example.org": "s"}})
			require.NoError(t, err)
			defer h.Stop()
			file := filepath.Join(t.TempDir(), "allium.toml")
			require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "state_dir = \"state\"\n[host]\nserver = %q\nsecret = \"s\"\ndomains = [\"example.org\"]\n[federation]\ndomain = \"onion.example.org\"\n",
				h.ComponentAddr()), 0o600))
			_, err = onionroute.CreateIdentity(filepath.Join(filepath.Dir(file), "state", "identity", "hs_ed25519_secret_key"))
			require.NoError(t, err)
			out, err := runAllium(deadline(t, time.Minute), "check", "--config", file, "--offline")
			require.NoError(t, err, out)
			assert.Equal(t, s2s, strings.Contains(out, "note    the host looks .onion names up in DNS"), "%s: %s", kind, out)
		}
	}
}

// What init prints for Prosody is taken by Prosody, and check finds all in order.
func TestInitAndCheck(t *testing.T) {
	dir, err := os.MkdirTemp("", "init")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "allium.toml")
	printed, err := runAllium(t.Context(), "init", "--config", file, "--state-dir", filepath.Join(dir, "state"), "--domain", "example.org", "--host", "prosody")
	require.NoError(t, err)
	from := strings.Index(printed, "Component")
	lines := printed[from : from+strings.Index(printed[from:], "\n\n")]
	h, err := hosttest.StartProsody(deadline(t, time.Minute), filepath.Join(dir, "host"), hosttest.Config{Domains: []string{"example.org"},
		Components: map[string]string{"other.example.org": "x"}, HostExtra: "\n" + lines})
	require.NoError(t, err)
	defer h.Stop()
	change := func(from, to string) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(text), from)
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), from, to, 1)), 0o600))
	}
	change(`"127.0.0.1:5347"`, `"`+h.ComponentAddr()+`"`)
	change("[tor]", "[tor]\ntorrc = \""+torNetwork(t).Torrc()+"\"")
	out, err := runAllium(deadline(t, 3*time.Minute), "check", "--config", file)
	require.NoError(t, err, out)
	assert.Equal(t, 12, strings.Count(out, "ok  "), out)

	// What an admin gets wrong.
	change(`domains = ["example.org"]`, `domains = ["example.org", "nowhere.example"]`)
	out, err = runAllium(deadline(t, time.Minute), "check", "--config", file, "--offline")
	assert.Error(t, err)
	assert.Contains(t, out, "FAILED  host serves nowhere.example")
	assert.Contains(t, out, "ok      host serves example.org")
	change(`, "nowhere.example"]`, "]")
	torrc := filepath.Join(dir, "torrc")
	require.NoError(t, os.WriteFile(torrc, []byte("Brigde 127.0.0.1:1\n"), 0o600))
	change(torNetwork(t).Torrc(), torrc)
	out, err = runAllium(deadline(t, time.Minute), "check", "--config", file)
	assert.Error(t, err)
	assert.Contains(t, out, "Brigde", "tor's own words are told, and at once")
	key := filepath.Join(dir, "state", "identity", "hs_ed25519_secret_key")
	require.NoError(t, os.Rename(key, key+".away"))
	_, err = runAllium(deadline(t, time.Minute), "run", "--config", file)
	assert.ErrorContains(t, err, "restore it from your backup")
	require.NoError(t, os.Rename(key+".away", key))

	change("secret = \"", "secret = \"not")
	out, err = runAllium(deadline(t, time.Minute), "check", "--config", file, "--offline")
	assert.Error(t, err)
	assert.Contains(t, out, "wrong secret")
	require.NoError(t, os.Chmod(filepath.Join(dir, "state", "identity", "hs_ed25519_secret_key"), 0o644))
	out, err = runAllium(deadline(t, time.Minute), "check", "--config", file, "--offline")
	assert.Error(t, err)
	assert.Contains(t, out, "chmod 600")
}

// A running tor that lets all that goes through it share circuits works, and check tells.
func TestCheckSharedCircuits(t *testing.T) {
	dir, err := os.MkdirTemp("", "shared")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	h, err := hosttest.StartProsody(deadline(t, time.Minute), filepath.Join(dir, "host"), hosttest.Config{Domains: []string{"example.org"},
		Components: map[string]string{"onion.example.org": "x"}})
	require.NoError(t, err)
	defer h.Stop()
	n := &node{dir: dir}
	n.runTor(t, torNetwork(t), "NoIsolateSOCKSAuth")
	defer n.stopTor()
	state, file := filepath.Join(dir, "state"), filepath.Join(dir, "allium.toml")
	require.NoError(t, os.Mkdir(state, 0o700))
	_, err = onionroute.CreateIdentity(filepath.Join(state, "identity", "hs_ed25519_secret_key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
state_dir = %q
[host]
server = %q
secret = "x"
domains = ["example.org"]
[federation]
domain = "onion.example.org"
[tor]
control = "unix:%s"
`, state, h.ComponentAddr(), n.control), 0o600))
	out, err := runAllium(deadline(t, 3*time.Minute), "check", "--config", file)
	assert.Error(t, err)
	assert.Contains(t, out, "FAILED  tor at unix:"+n.control+" keeps connections apart\n")
	assert.Equal(t, 1, strings.Count(out, "FAILED"), out)
}

// A second Allium with the same state folder does not start, and check beside a
// running one goes there as a stranger.
func TestBesideRunning(t *testing.T) {
	a := alliumNode(t, "alpha", "prosody")
	_, err := runAllium(deadline(t, time.Minute), "run", "--config", a.config)
	assert.ErrorIs(t, err, errRunning)
	out, err := runAllium(deadline(t, 3*time.Minute), "check", "--config", a.config)
	require.NoError(t, err, out)
	assert.Contains(t, out, "ok      reachable from outside as "+a.onion)
}

func TestExampleUnit(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit(t)).CombinedOutput()
	assert.NoError(t, err, string(out))
	assert.Empty(t, string(out))
}

// unit is the example unit with a program that is there.
func unit(t *testing.T) string {
	self, err := os.Executable()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "allium.service")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(example(t, "allium.service"), "/usr/local/bin/allium", self)), 0o644))
	return file
}

// The demo shows what it says, and leaves nothing behind.
func TestDemo(t *testing.T) {
	out, err := runAllium(deadline(t, 4*time.Minute), "demo")
	require.NoError(t, err, out)
	for _, want := range []string{"Tor network is up", "alpha.example is published and reachable", "beta.example is published and reachable",
		"alice asked to see bob, who agreed", "bob sees alice on-line", `alice → bob: "Hello through Tor!"`, `bob → alice: "Hello back!"`} {
		assert.Contains(t, out, want)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	assert.Contains(t, lines[len(lines)-1], "it worked, and all has stopped; with --keep it stays")
}

// A demo that fails keeps the logs that it names. What is missing is told once, before the
// network is up, and then there is nothing to keep.
func TestDemoFails(t *testing.T) {
	temp, err := os.MkdirTemp("", "demo") // sockets have short names
	require.NoError(t, err)
	defer os.RemoveAll(temp)
	t.Setenv("TMPDIR", temp)
	out, err := runAllium(deadline(t, time.Minute), "demo", "--timeout", "2s")
	require.ErrorContains(t, err, "the demo took more than 2s")
	kept, err := filepath.Glob(filepath.Join(temp, "allium*"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	assert.Contains(t, out, "it failed; the logs are in "+kept[0])
	assert.DirExists(t, filepath.Join(kept[0], "tor"))
	require.NoError(t, os.RemoveAll(kept[0]))

	bin := t.TempDir()
	for _, name := range []string{"tor", "tor-gencert"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(bin, name)))
	}
	t.Setenv("PATH", bin)
	out, err = runAllium(deadline(t, 2*time.Minute), "demo")
	require.Error(t, err)
	assert.Equal(t, 1, strings.Count(err.Error(), `install the Debian package "prosody"`), err)
	assert.NotContains(t, out, "is up")
	assert.NotContains(t, out, "100%")
	kept, err = filepath.Glob(filepath.Join(temp, "allium*"))
	require.NoError(t, err)
	assert.Empty(t, kept)
}
