package main

import (
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/allium-xmpp/allium/onionroute"
)

type initCmd struct {
	configFlag
	Domain   []string `placeholder:"DOMAIN" help:"A domain that the host serves; the first is the primary one."`
	Native   bool     `help:"The host lives in Tor: its own domain is the onion name, and its users write onion addresses as they are."`
	Gateway  string   `placeholder:"DOMAIN" help:"The gateway's domain (onion. and the primary domain)."`
	Rooms    string   `placeholder:"DOMAIN" help:"A domain for rooms, such as rooms.example.org; without it there are none."`
	Host     string   `enum:"prosody,ejabberd," default:"" placeholder:"KIND" help:"prosody or ejabberd, to see only its lines."`
	Server   string   `placeholder:"ADDRESS:PORT" help:"The host's component listener (127.0.0.1:5347; for ejabberd 127.0.0.1:8888)."`
	StateDir string   `default:"/var/lib/allium" placeholder:"DIR" help:"The folder for keys and data (${default})."`

	PrintModule bool `help:"Print mod_allium.lua, a module for Prosody, and do nothing else."`
}

//go:embed init.toml.tmpl
var configTemplate string

//go:embed host.txt.tmpl
var hostTemplate string

// prosodyModule is the one in examples, for who has this program alone. It is a copy, since
// what is above this folder cannot be embedded.
//
//go:generate cp ../../examples/prosody/mod_allium.lua .
//go:embed mod_allium.lua
var prosodyModule string

// Run writes what is not there yet. It never overwrites a key or a configuration.
func (cmd initCmd) Run(out output) error {
	if cmd.PrintModule {
		_, err := io.WriteString(out.stdout, prosodyModule)
		return err
	}
	// A configuration that is there already says where its key is, and all else.
	if _, err := os.Stat(cmd.Config); !errors.Is(err, os.ErrNotExist) {
		c, err := loadConfig(cmd.Config)
		if err != nil {
			return configError{err}
		}
		return cmd.existing(c, out)
	}
	switch {
	case len(cmd.Domain) == 0 && !cmd.Native:
		return usageError{errors.New("init: say --domain with a domain that the host serves, or --native for a host that lives in Tor")}
	case cmd.Native && cmd.Host == "":
		return usageError{errors.New("init: with --native, say --host prosody or --host ejabberd: they are set up in different ways")}
	case cmd.Native && cmd.Rooms != "":
		return usageError{errors.New("init: with --native, the host's own rooms are set up; --rooms has no use")}
	case cmd.Native && cmd.Gateway != "":
		return usageError{errors.New("init: --gateway has no use with --native")}
	case cmd.Gateway == "" && !cmd.Native:
		cmd.Gateway = "onion." + cmd.Domain[0]
	}
	if cmd.Server == "" {
		cmd.Server = "127.0.0.1:5347"
		if cmd.Host == "ejabberd" {
			cmd.Server = "127.0.0.1:8888"
		}
	}
	state, err := filepath.Abs(cmd.StateDir)
	if err != nil {
		return err
	}
	c := &config{file: cmd.Config, StateDir: state}
	secret := rand.Text()
	// What will be in it has to be right before a folder or a key is made.
	text, err := cmd.text(state, secret)
	if err != nil {
		return err
	}
	if _, _, err := parseConfig(cmd.Config, text); err != nil {
		return usageError{fmt.Errorf("init: nothing is written, since it would be wrong: %w", err)}
	}
	id, made, err := c.makeIdentity()
	if err != nil {
		return err
	}
	if cmd.Native {
		cmd.Domain = append([]string{id.Name(), "rooms." + id.Name()}, cmd.Domain...)
		if cmd.Host == "prosody" {
			cmd.Gateway = "onion." + id.Name()
		}
	}
	if err := cmd.write(state, secret); err != nil {
		return err
	}
	fmt.Fprintf(out.stdout, "Wrote %s and %s.\n\n", cmd.Config, keyWords(c, made))
	return cmd.show(id, secret, out)
}

// existing shows what the host needs for a configuration that is there, which is kept.
func (cmd initCmd) existing(c *config, out output) error {
	if c.Federation == nil {
		return configError{errors.New("init: " + cmd.Config + " is there already, and has no [federation] section")}
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"--domain", len(cmd.Domain) > 0}, {"--native", cmd.Native}, {"--gateway", cmd.Gateway != ""}, {"--rooms", cmd.Rooms != ""},
		{"--server", cmd.Server != ""}} {
		if f.set {
			fmt.Fprintf(out.stdout, "%s changes nothing: it is in %s.\n", f.name, cmd.Config)
		}
	}
	cmd.Gateway, cmd.Server, cmd.Domain, cmd.Native = c.Federation.Domain, c.Host.Server, c.Host.Domains, c.Federation.Native
	if cmd.Rooms = ""; c.Muc != nil {
		cmd.Rooms = c.Muc.Domain
	}
	id, made, err := c.makeIdentity()
	if err != nil {
		return err
	}
	fmt.Fprintf(out.stdout, "%s is there already, and is kept, with %s.\n\n", cmd.Config, keyWords(c, made))
	return cmd.show(id, c.Federation.Secret, out)
}

// makeIdentity reads the onion key, or makes it where there is none.
func (c *config) makeIdentity() (id *onionroute.Identity, made bool, err error) {
	if err := c.stateDir(); err != nil {
		return nil, false, err
	}
	id, err = onionroute.LoadIdentity(c.identityFile())
	if errors.Is(err, onionroute.ErrNoIdentity) {
		id, err = onionroute.CreateIdentity(c.identityFile())
		return id, true, err
	}
	return id, false, err
}

func keyWords(c *config, made bool) string {
	if made {
		return "a new key in " + c.identityFile()
	}
	return "the key that was in " + c.identityFile()
}

// show prints what the host's configuration needs.
func (cmd initCmd) show(id *onionroute.Identity, secret string, out output) error {
	port := cmd.Server[strings.LastIndexByte(cmd.Server, ':')+1:]
	return template.Must(template.New("").Parse(hostTemplate)).Execute(out.stdout, map[string]any{
		"Gateway": cmd.Gateway, "Secret": secret, "Port": port, "Onion": id.Name(), "Domains": cmd.Domain, "Native": cmd.Native, "Rooms": cmd.Rooms,
		"Prosody": cmd.Host != "ejabberd", "Ejabberd": cmd.Host != "prosody", "Config": cmd.Config, "User": userName(os.Geteuid())})
}

// text is the configuration.
func (cmd initCmd) text(state, secret string) (string, error) {
	var b strings.Builder
	err := template.Must(template.New("").Parse(configTemplate)).Execute(&b, map[string]any{
		"StateDir": state, "Server": cmd.Server, "Secret": secret, "Domains": cmd.Domain, "Gateway": cmd.Gateway, "Native": cmd.Native, "Rooms": cmd.Rooms})
	return b.String(), err
}

func (cmd initCmd) write(state, secret string) error {
	text, err := cmd.text(state, secret)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(cmd.Config), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(cmd.Config, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil { // half of it would be taken for all of it the next time
		os.Remove(cmd.Config)
	}
	return err
}
