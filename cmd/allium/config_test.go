package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/onionroute"
)

const minimal = `state_dir = "state"
[host]
secret = "s"
domains = ["example.org"]
[federation]
domain = "onion.example.org"
`

const goodOnion = `onion = "wo76ctbyzonxs2qqbefyzdqvebbbnygrmh5m34ytcxktonep7cpgy5yd.onion"`

func peerSection(lines string) string { return "[[peer]]\n" + lines + "\n" }

func writeConfig(t *testing.T, text string) string {
	file := filepath.Join(t.TempDir(), "allium.toml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestConfigDefaults(t *testing.T) {
	file := writeConfig(t, minimal)
	c, err := loadConfig(file)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1:5347", c.Host.Server)
	assert.Equal(t, "s", c.Federation.Secret)
	assert.Nil(t, c.Web)
	withWeb, err := loadConfig(writeConfig(t, minimal+"[web]\n"))
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1:5380", withWeb.Web.Listen)
	assert.Equal(t, filepath.Join(filepath.Dir(file), "state"), c.StateDir)
}

// Errors name the file, the line and the key, and for a misspelt key the one that is
// meant.
func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"secret = \"s\"", "secert = \"s\"", `:3: unknown key "host.secert"; is "host.secret" meant?`},
		{"[federation]", "[federaton]", `:5: unknown key "federaton"; is "federation" meant?`},
		{"state_dir", "statedir", `:1: unknown key "statedir"; is "state_dir" meant?`},
		{"[host]", "[host]\nserver = 5347", `:3: host.server: this is a text, in quotes`},
		{"[host]", "[host]\nserver = \"localhost:5347\"", `:3: host.server: "localhost:5347" is not an address and a port`},
		{"[federation]", "[tor]\ncontrol = \"tor.example:9051\"\n[federation]", `:6: tor.control: "tor.example:9051" is not an address`},
		{"[host]", "[host]\nserver = ", ":3: host.server: "},
		{`domains = ["example.org"]`, "", ":2: host.domains: say which domains the host serves"},
		{`"example.org"`, `"Example.org"`, `:4: host.domains: "Example.org" is not a domain name in lower case`},
		{`"onion.example.org"`, `"example.org"`, ":6: federation.domain: example.org is a domain of the host"},
		{`secret = "s"`, "", "host.secret: give the secret"},
		{"[federation]", "[log]\nlevel = \"loud\"\n[federation]", `:6: log.level: "loud" is not one of`},
		{"[federation]", "[limits]\nstanza = 1\n[federation]", ":5: limits: stanza must be at least 10000"},
		{"[federation]", "[tor]\ncontrol = \"unix:/x\"\ntorrc = \"x\"\n[federation]", ":6: tor.control: with a running tor"},
		{"[federation]", "[privacy]\nlevel = \"paranoid\"\n[federation]", `:6: privacy.level: "paranoid" is not one of standard, strict`},
		{"[federation]", "[privacy]\noff = [\"resourse\"]\n[federation]", `:6: privacy.off: unknown rule "resourse"; is "resource" meant?`},
		{"[federation]", "[privacy]\non = [\"tls-names\"]\n[federation]", `:6: privacy.on: unknown rule "tls-names"`},
		{"[federation]", "[privacy]\nofff = []\n[federation]", `:6: unknown key "privacy.offf"; is "privacy.off" meant?`},
		{"[federation]", "[web]\nlisten = \"0.0.0.0:5380\"\n[federation]", `:6: web.listen: "0.0.0.0:5380" is not a loopback address`},
		{"[federation]", "[web]\nlisten = \"localhost:5380\"\n[federation]", ":6: web.listen: "},
		{"[federation]", "[federation]\npeers = \"some\"", `:6: federation.peers: "some" is not one of`},
		{"[federation]", "[federation]\nclients = [\"x\"]", `:6: federation.clients: "x" is not a public key`},
		{"[federation]", peerSection("onion = \"x.onion\"") + "[federation]", `:6: peer[1].onion: "x.onion" is not the name`},
		{"[federation]", peerSection(strings.Replace(goodOnion, "wo7", "wo6", 1)) + "[federation]", `:6: peer[1].onion: "wo66`},
		{"[federation]", peerSection(goodOnion) + peerSection(goodOnion+"\ndomain = \"X\"") + "[federation]", `:9: peer[2].domain: "X" is not a domain name`},
		{"[federation]", peerSection(goodOnion+"\nauth_key = \"k\"") + "[federation]", `:7: peer[1].auth_key: this is not a secret key`},
		{"[federation]", peerSection(goodOnion) + peerSection(goodOnion+"\nalow = true") + "[federation]", `:9: unknown key "peer.alow"; is "peer.allow" meant?`},
		{"[federation]", "[[alias]]\n" + goodOnion + "\n[federation]", `:5: alias[1].domain: say which component domain`},
		{"[federation]", "[[alias]]\ndomain = \"h.example\"\nonion = \"h.example\"\n[federation]", `:7: alias[1].onion: "h.example" is not a domain at`},
		{"[federation]", "[[alias]]\ndomain = \"h.example\"\naccess = \"all\"\n" + goodOnion + "\n[federation]", `:7: alias[1].access: "all" is not one of`},
		{"[federation]", "[rooms]\ndomain = \"r.example\"\n[federation]", `:5: unknown key "rooms"; is "muc" meant?`},
		{"[federation]", "[peer]\n" + goodOnion + "\n[federation]", ":5: peer: there can be several: write [[peer]]"},
		{`["example.org"]`, `"example.org"`, `:4: host.domains: this is a list: ["..."]`},
		{"[host]", "[host]\nserver = 127.0.0.1:5347", ":3: host.server: Invalid float value: \"127.0.0.1\"; texts stand in quotes"},
		{"[federation]", "[tor]\n[tor]\n[federation]", ":6: Key 'tor' has already been defined."},
		{"[federation]", "#[[peer]]\n[log]\n#[muc]\ndomain = \"r.example\"\n#[[alias]]\n[federation]", `:8: unknown key "log.domain"; it stands in [log] here: is [muc] meant, which is behind a # still?`},
		{"[federation]", "[muc]\ndomain = \"r.example\"\n#[log]\nlevel = \"debug\"\n[federation]", `:8: unknown key "muc.level"; it stands in [muc] here: is [log] meant, which is behind a # still?`},
		{"[federation]", "[muc]\ndomain = \"r.example\"\ndefault_kind = \"secret\"\n[federation]", `:7: muc.default_kind: "secret" is not one of encrypted, `},
		{`secret = "s"`, `secret_file = "none"`, ":3: host.secret_file: there is no "},
		{"[federation]", "[muc]\ndomain = \"r.example.org\"\nnames = \"[a-z\"\n[federation]", `:7: muc.names: is not a regular expression: `},
		{"[host]", "[host]\nserver = \"127.0.0.1:xmpp\"", `:3: host.server: "127.0.0.1:xmpp" is not an address and a port`},
		{"[host]", "[host]\nserver = \"127.0.0.1:99999\"", `:3: host.server: "127.0.0.1:99999" is not an address and a port`},
		{"[federation]", "[web]\nlisten = \"127.0.0.1:web\"\n[federation]", ":6: web.listen: "},
		{"[federation]", "[tor]\ncontrol = \"/run/tor/control\"\n[federation]", `such as unix:/run/tor/control or`},
		{"[federation]", "[tor]\ncontrol = \"unix:\"\n[federation]", `:6: tor.control: "unix:" is not an address`},
		{`"state"`, `""`, ":1: state_dir: say which folder"},
		{`"example.org"`, `"xn--exmple-cua.org"`, `is not a domain name in lower case: write "exämple.org"`},
		{"[federation]", "[federation]\nnative = \"yes\"", ":6: federation.native: this is true or false, without quotes"},
		{"[federation]", "[[federation]]", ":5: federation: this is a section: [federation]"},
		{"[host]\n", "log = 1\n[host]\n", ":2: log: this is a section: [log]"},
		{"[federation]", peerSection(strings.Replace(goodOnion, "wo7", "WO7", 1)) + "[federation]", `yd.onion" has to be written in lower case`},
		{"[federation]", peerSection(goodOnion+"\nauth_key_file = \"none\"") + "[federation]", ":7: peer[1].auth_key_file: "},
		{"[federation]", "[spool]\nmax_age = \"0\"\n[federation]", `:6: spool.max_age: "0" is not a time`},
		{"[federation]", "[muc]\ndomain = \"r.example.org\"\nkeep_for = \"0d\"\n[federation]", `:7: muc.keep_for: "0d" is not a time`},
		{"[federation]", "[spool]\ntotal = 0\n[federation]", ":6: spool.total: must be more than 0; the default is what there is without this line"},
		{"[federation]", "[limits]\ndepth = -1\n[federation]", ":6: limits.depth: must be more than 0"},
		{"[federation]", "[muc]\ndomain = \"r.example.org\"\nrooms_per_user = 0\n[federation]", ":7: muc.rooms_per_user: must be more than 0"},
		{"[host]\n", "[host]\n[muc]\ndomain = \"r\"\n", `unknown key "muc`},
	} {
		file := writeConfig(t, strings.Replace(minimal, c.from, c.to, 1))
		_, err := loadConfig(file)
		if assert.Error(t, err, c.to) {
			assert.NotContains(t, err.Error(), "rooms.domain", "a section is told of once")
			assert.Contains(t, err.Error(), c.want)
			assert.Contains(t, err.Error(), file)
		}
	}
	_, err := loadConfig(filepath.Join(t.TempDir(), "none.toml"))
	assert.ErrorContains(t, err, "allium init")
}

// The rule for names of rooms is for the whole name.
func TestNamesOfRooms(t *testing.T) {
	c, err := loadConfig(writeConfig(t, minimal+"[muc]\ndomain = \"r.example.org\"\nsecret = \"s\"\nnames = \"[a-z]+|x\"\n"))
	require.NoError(t, err)
	for name, may := range map[string]bool{"coven": true, "x": true, "x1": false, "1x": false, "coven.2": false} {
		assert.Equal(t, may, c.roomsOptions(nil).RoomNames.MatchString(name), name)
	}
}

// Where the host has its onion name alone, that need not be among host.domains, and its users
// may make rooms.
func TestRoomsOfNative(t *testing.T) {
	id, err := onionroute.CreateIdentity(filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	c, err := loadConfig(writeConfig(t, "[host]\nsecret = \"s\"\n[federation]\nnative = true\n[muc]\ndomain = \"rooms.x.onion\"\n"))
	require.NoError(t, err)
	may := c.roomsOptions(id).MayCreate
	assert.True(t, may(jid.MustParse("alice@"+id.Name())))
	assert.False(t, may(jid.MustParse("alice@example.org")))
}

// Who is at an onion server cannot have a room write to a third server, by which it would be
// found; everybody else can, and they to all others.
func TestReachOfRooms(t *testing.T) {
	id, err := onionroute.CreateIdentity(filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	peer, err := onionrouteName()
	require.NoError(t, err)
	c, err := loadConfig(writeConfig(t, minimal+"[[alias]]\ndomain = \"hidden.example.org\"\nonion = \""+peer+"\"\n[muc]\ndomain = \"rooms.example.org\"\n"))
	require.NoError(t, err)
	may := c.roomsOptions(id).MayReach
	other, err := onionrouteName()
	require.NoError(t, err)
	bob, eve := `bob\40`+other+"@onion.example.org", "eve@hidden.example.org"
	for by, reaches := range map[string]bool{bob: false, eve: false, "alice@example.org": true, "carol@jabber.org": true} {
		assert.Equal(t, reaches, may(jid.MustParse(by), jid.MustParse("dave@third.example")), by)
		for _, whom := range []string{bob, eve, "alice@example.org"} {
			assert.True(t, may(jid.MustParse(by), jid.MustParse(whom)), "%s to %s", by, whom)
		}
	}
	assert.True(t, may(jid.JID{}, jid.MustParse("dave@third.example")), "the service itself")
	assert.Nil(t, c.roomsOptions(nil).MayReach, "there are no peers")
}

// Secrets that others can read are refused, wherever they are.
func TestSecretsOfOthers(t *testing.T) {
	file := writeConfig(t, minimal)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		require.NoError(t, os.Chmod(file, mode))
		_, err := loadConfig(file)
		assert.ErrorContains(t, err, "chmod 600", mode)
	}
	file = writeConfig(t, strings.Replace(minimal, `secret = "s"`, `secret_file = "secret"`, 1))
	require.NoError(t, os.Chmod(file, 0o644))
	secret := filepath.Join(filepath.Dir(file), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("in a file\n"), 0o600))
	c, err := loadConfig(file)
	require.NoError(t, err)
	assert.Equal(t, "in a file", c.Federation.Secret)
	require.NoError(t, os.Chmod(secret, 0o644))
	_, err = loadConfig(file)
	assert.ErrorContains(t, err, ":3: host.secret_file: "+secret+" can be read by others (mode 0644)")

	require.NoError(t, os.Chmod(secret, 0o600))
	require.NoError(t, c.stateDir())
	key := filepath.Join(filepath.Dir(file), "key")
	require.NoError(t, os.WriteFile(key, []byte("descriptor:x25519:"+strings.Repeat("A", 52)+"\n"), 0o640))
	withKey := filepath.Join(filepath.Dir(file), "b.toml")
	require.NoError(t, os.WriteFile(withKey, []byte(minimal+peerSection(goodOnion+"\nauth_key_file = \"key\"")), 0o600))
	_, err = loadConfig(withKey)
	assert.ErrorContains(t, err, "chmod 600")
	require.NoError(t, os.Chmod(key, 0o600))
	_, err = loadConfig(withKey)
	assert.NoError(t, err)
	require.NoError(t, os.WriteFile(key, []byte("nothing"), 0o600))
	_, err = loadConfig(withKey)
	assert.ErrorContains(t, err, "52 letters")
	require.NoError(t, os.Chmod(c.StateDir, 0o750))
	assert.ErrorContains(t, c.stateDir(), "chmod 700")
}

// init makes what is missing, in modes that others cannot read, and keeps what is
// there.
func TestInit(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "allium.toml")
	args := []string{"init", "--config", file, "--state-dir", filepath.Join(dir, "state"), "--domain", "example.org", "--domain", "example.net"}
	first, err := runAllium(context.Background(), args...)
	require.NoError(t, err)
	c, err := loadConfig(file)
	require.NoError(t, err)
	assert.Equal(t, []string{"example.org", "example.net"}, c.Host.Domains)
	assert.Equal(t, "onion.example.org", c.Federation.Domain)
	assert.Contains(t, first, c.Federation.Secret)
	assert.Contains(t, first, `Component "onion.example.org"`)
	assert.Contains(t, first, `module: ejabberd_service`)
	for path, mode := range map[string]os.FileMode{file: 0o600, c.StateDir: 0o700, filepath.Dir(c.identityFile()): 0o700, c.identityFile(): 0o600} {
		st, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, mode, st.Mode().Perm(), path)
	}
	key, err := os.ReadFile(c.identityFile())
	require.NoError(t, err)
	second, err := runAllium(context.Background(), args...)
	require.NoError(t, err)
	assert.Equal(t, first[strings.Index(first, "Your onion name"):], second[strings.Index(second, "Your onion name"):])
	again, err := os.ReadFile(c.identityFile())
	require.NoError(t, err)
	assert.Equal(t, key, again)
	// With a configuration that is there, its folder counts.
	other := filepath.Join(dir, "other")
	third, err := runAllium(context.Background(), "init", "--config", file, "--state-dir", other, "--domain", "other.example")
	require.NoError(t, err)
	assert.Equal(t, second, third)
	assert.NoDirExists(t, other)
	// A folder that is given as people give it, from where they are.
	t.Chdir(dir)
	fourth, err := runAllium(context.Background(), "init", "--config", "conf/a.toml", "--state-dir", "here", "--domain", "example.org")
	require.NoError(t, err)
	c, err = loadConfig("conf/a.toml")
	require.NoError(t, err)
	id, err := onionroute.LoadIdentity(c.identityFile())
	require.NoError(t, err)
	assert.Contains(t, fourth, id.Name())
	assert.Equal(t, filepath.Join(dir, "here"), c.StateDir)
}

// The settings that init writes commented out are the defaults, under names that
// exist.
func TestInitTemplate(t *testing.T) {
	for _, native := range []bool{false, true} {
		text := uncommented(initText(t, native, "onion.example.org"), func(string, bool) bool { return true })
		text = strings.NewReplacer(`control = "unix:/run/tor/control"`, "", "secret_file = \"/etc/allium/secret\"", "").Replace(text)
		c, err := loadConfig(writeConfig(t, text))
		require.NoError(t, err, text)
		assert.Equal(t, native, c.Federation.Native)
		assert.Len(t, c.Alias, 1)
		assert.Len(t, c.Peer, 1)
	}
}

// Each setting that there is stands there, under its section, or is named beside another.
func TestInitTemplateWhole(t *testing.T) {
	in, section := map[string]string{}, ""
	for line := range strings.SplitSeq(initText(t, false, "onion.example.org"), "\n") {
		if name := strings.TrimLeft(line, "#["); strings.HasSuffix(name, "]") && name != line && !strings.Contains(name, " ") {
			section = strings.TrimRight(name, "]")
		}
		in[section] += line + "\n"
	}
	for _, key := range knownKeys(reflect.TypeFor[config](), "") {
		section, name, ok := strings.Cut(key, ".")
		if !ok {
			section, name = "", key
		}
		if _, isSection := in[key]; !isSection {
			assert.Regexp(t, `(?m)^#?`+name+` = |\bor `+name+`\b`, in[section], key)
		}
	}
}

// initText is what init writes.
func initText(t *testing.T, native bool, gateway string) string {
	var b strings.Builder
	require.NoError(t, template.Must(template.New("").Parse(configTemplate)).Execute(&b, map[string]any{"StateDir": "/s", "Server": "127.0.0.1:5347",
		"Secret": "s", "Domains": []string{"example.org"}, "Gateway": gateway, "Native": native}))
	return b.String()
}

// uncommented is a text with the # taken away from the sections' names and the keys that are
// chosen: by the section that they belong to, and whether its name is behind a # too.
func uncommented(text string, chosen func(line string, off bool) bool) string {
	lines, off := strings.Split(text, "\n"), false
	for i, l := range lines {
		rest, commented := strings.CutPrefix(l, "#")
		section := strings.HasPrefix(rest, "[")
		if section {
			off = commented
		}
		if setting := strings.Contains(rest, " = ") && !strings.HasPrefix(rest, " "); commented && (section || setting) && chosen(rest, off) {
			lines[i] = rest
		}
	}
	return strings.Join(lines, "\n")
}

// A key that is uncommented without its section, which is forgotten easily, means nothing
// where it stands then: it is told of, and not taken for a key of the section above.
func TestInitTemplateSections(t *testing.T) {
	loads := func(text string) error { _, _, err := parseConfig("allium.toml", text); return err }
	for _, gateway := range []string{"onion.example.org", ""} {
		text := initText(t, gateway == "", gateway)
		withPeer := strings.Replace(text, "#[[peer]]\n#onion", "[[peer]]\nonion", 1)
		require.NotEqual(t, text, withPeer)
		for _, text := range []string{text, withPeer} {
			require.NoError(t, loads(text))
			keys := 0
			uncommented(text, func(key string, off bool) bool {
				if off && !strings.HasPrefix(key, "[") {
					keys++
					assert.Error(t, loads(uncommented(text, func(l string, off bool) bool { return off && l == key })), key)
				}
				return false
			})
			assert.Greater(t, keys, 20, "of sections that are off")
		}
	}
}

// A mistake in the configuration has an exit code of its own, so that the unit is not
// started again and again.
func TestExitCode(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	// What depends on the onion name is no other mistake.
	taken := writeConfig(t, minimal+"[[alias]]\ndomain = \"example.org\"\n"+goodOnion+"\n")
	c, err := loadConfig(taken)
	require.NoError(t, err)
	_, _, err = c.makeIdentity()
	require.NoError(t, err)
	for _, file := range []string{writeConfig(t, "x = 1"), taken} {
		err = exec.Command(self, "run", "--config", file).Run()
		exit := new(exec.ExitError)
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, exitConfig, exit.ExitCode())
	}
}

// Each rule that can be switched is explained there.
func TestInitTemplateRules(t *testing.T) {
	for _, rule := range onionroute.PrivacyRules() {
		assert.Regexp(t, `(?m)^#  `+rule+`: `, configTemplate)
	}
}

// At info level the log names no peer and no user, unless the admin wants it.
func TestLogAddresses(t *testing.T) {
	for _, addresses := range []bool{false, true} {
		b := &bytes.Buffer{}
		log := newLogger(b, logConfig{Addresses: addresses}, new(slog.LevelVar))
		log.Info("x", "peer", "secret.onion")
		log.With("peer", "secret.onion").Info("y")
		log.Info("z", slog.Group("g", "user", "alice@example.org"))
		assert.Equal(t, addresses, strings.Contains(b.String(), "secret.onion"), b)
		assert.Equal(t, addresses, strings.Contains(b.String(), "alice"), b)
	}
}

func TestVersion(t *testing.T) {
	out, err := runAllium(context.Background(), "version")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(out, "allium "), fmt.Sprintf("%q", out))
}
