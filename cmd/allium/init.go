package main

import (
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/onionroute"
)

type initCmd struct {
	configFlag
	Domain   []string `placeholder:"DOMAIN" help:"A domain that the host serves; the first is the primary one."`
	Native   bool     `help:"The host lives in Tor: its own domain is the onion name, and its users write onion addresses as they are."`
	Gateway  string   `placeholder:"DOMAIN" help:"The gateway's domain (onion. and the primary domain)."`
	Rooms    string   `placeholder:"DOMAIN" help:"A domain for rooms, such as rooms.example.org; without it there are none."`
	Host     string   `enum:"prosody,ejabberd," default:"" help:"prosody or ejabberd, to see only its lines."`
	Server   string   `placeholder:"HOST:PORT" help:"The host's component listener (127.0.0.1:5347; for ejabberd 127.0.0.1:8888)."`
	StateDir string   `default:"/var/lib/allium" placeholder:"DIR" help:"The folder for keys and data (${default})."`
}

//go:embed init.toml.tmpl
var configTemplate string

//go:embed host.txt.tmpl
var hostTemplate string

// Run writes what is not there yet. It never overwrites a key or a configuration.
func (cmd initCmd) Run(out output) error {
	switch {
	case len(cmd.Domain) == 0 && !cmd.Native:
		return errors.New("init: say --domain with a domain that the host serves, or --native for a host that lives in Tor")
	case cmd.Native && cmd.Host == "":
		return errors.New("init: with --native, say --host prosody or --host ejabberd: they are set up in different ways")
	case cmd.Native && cmd.Rooms != "":
		return errors.New("init: with --native, the host's own rooms are set up; --rooms has no use")
	case cmd.Native && cmd.Gateway != "":
		return errors.New("init: --gateway has no use with --native")
	case cmd.Gateway == "" && !cmd.Native:
		cmd.Gateway = "onion." + cmd.Domain[0]
	}
	if cmd.Server == "" {
		cmd.Server = "127.0.0.1:5347"
		if cmd.Host == "ejabberd" {
			cmd.Server = "127.0.0.1:8888"
		}
	}
	for _, d := range append(slices.Clone(cmd.Domain), cmd.Gateway, cmd.Rooms) {
		if d == "" {
			continue
		}
		if j, err := jid.New("", d, ""); err != nil || j.Domainpart() != d {
			return fmt.Errorf("%q is not a domain name in lower case", d)
		}
	}
	// A configuration that is there already says where its key is, and all else.
	c, err := loadConfig(cmd.Config)
	isNew := errors.Is(err, os.ErrNotExist)
	if err != nil && !isNew {
		return err
	}
	secret := rand.Text()
	if isNew {
		state, err := filepath.Abs(cmd.StateDir)
		if err != nil {
			return err
		}
		c = &config{file: cmd.Config, StateDir: state}
	} else {
		if c.Federation == nil {
			return errors.New("init: " + cmd.Config + " is there already, and has no [federation] section")
		}
		secret, cmd.Gateway, cmd.Server, cmd.Domain = c.Federation.Secret, c.Federation.Domain, c.Host.Server, c.Host.Domains
		cmd.Native = c.Federation.Native
		if cmd.Rooms = ""; c.Muc != nil {
			cmd.Rooms = c.Muc.Domain
		}
	}
	if err := c.stateDir(); err != nil {
		return err
	}
	id, err := onionroute.LoadIdentity(c.identityFile())
	if errors.Is(err, onionroute.ErrNoIdentity) {
		id, err = onionroute.CreateIdentity(c.identityFile())
	}
	if err != nil {
		return err
	}
	if isNew && cmd.Native {
		cmd.Domain = append([]string{id.Name(), "rooms." + id.Name()}, cmd.Domain...)
		if cmd.Host == "prosody" {
			cmd.Gateway = "onion." + id.Name()
		}
	}
	if isNew {
		if err := cmd.write(c.StateDir, secret); err != nil {
			return err
		}
		fmt.Fprintf(out.stdout, "Wrote %s and the key in %s.\n\n", cmd.Config, c.identityFile())
	} else {
		fmt.Fprintf(out.stdout, "%s is there already, and is kept.\n\n", cmd.Config)
	}
	port := cmd.Server[strings.LastIndexByte(cmd.Server, ':')+1:]
	return template.Must(template.New("").Parse(hostTemplate)).Execute(out.stdout, map[string]any{
		"Gateway": cmd.Gateway, "Secret": secret, "Port": port, "Onion": id.Name(), "Domains": cmd.Domain, "Native": cmd.Native, "Rooms": cmd.Rooms,
		"Prosody": cmd.Host != "ejabberd", "Ejabberd": cmd.Host != "prosody", "Config": cmd.Config})
}

func (cmd initCmd) write(state, secret string) error {
	if err := os.MkdirAll(filepath.Dir(cmd.Config), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(cmd.Config, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = template.Must(template.New("").Parse(configTemplate)).Execute(f, map[string]any{
		"StateDir": state, "Server": cmd.Server, "Secret": secret, "Domains": cmd.Domain, "Gateway": cmd.Gateway, "Native": cmd.Native, "Rooms": cmd.Rooms})
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
