package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/allium-xmpp/allium/onionroute"
)

// An aliasConfig is a domain that stands for one at an onion service.
type aliasConfig struct {
	Domain string `toml:"domain"`
	Onion  string `toml:"onion"`
	Access string `toml:"access"`
	secretConfig
}

// A peerConfig is what is said of one onion service.
type peerConfig struct {
	Onion       string `toml:"onion"`
	Domain      string `toml:"domain"`
	Allow       *bool  `toml:"allow"`
	AuthKey     string `toml:"auth_key"`
	AuthKeyFile string `toml:"auth_key_file"`
}

// entry is how the nth section of one name, from 0, is called in errors.
func entry(name string, n int) string { return fmt.Sprintf("%s[%d]", name, n+1) }

// checkAddresses tells of what cannot be right in how peers are addressed. What depends
// on our own onion name, onionroute tells.
func (c *config) checkAddresses(at func(key, format string, args ...any)) {
	f := c.Federation
	domain := func(key, d string) { checkDomain(at, key, d) }
	switch f.Peers {
	case "", "all", "listed":
	default:
		at("federation.peers", "%q is not one of all, listed", f.Peers)
	}
	for _, k := range f.Clients {
		if _, err := onionroute.ParseAuthKey(k); err != nil {
			at("federation.clients", "%q is not a public key of 52 letters and digits; allium onion key makes one", k)
		}
	}
	for i, a := range c.Alias {
		section := entry("alias", i)
		if a.Domain == "" {
			at(section+".domain", "say which component domain the alias is, such as domain = \"hidden.example.org\"")
		} else {
			domain(section+".domain", a.Domain)
		}
		if strings.ToLower(a.Onion) != a.Onion {
			at(section+".onion", errUpper, a.Onion)
		} else if onionroute.MistypedOnion(a.Onion) {
			at(section+".onion", errMistyped, a.Onion)
		} else if !onionroute.IsOnion(a.Onion) {
			at(section+".onion", "%q is not a domain at an onion service: 56 letters and digits and .onion, or below that", a.Onion)
		}
		switch a.Access {
		case "", "local", "anyone":
		default:
			at(section+".access", "%q is not one of local, anyone", a.Access)
		}
	}
	for i, p := range c.Peer {
		section := entry("peer", i)
		if strings.ToLower(p.Onion) != p.Onion {
			at(section+".onion", errUpper, p.Onion)
		} else if onionroute.MistypedOnion(p.Onion) {
			at(section+".onion", errMistyped, p.Onion)
		} else if onionroute.Base(p.Onion) != p.Onion || p.Onion == "" {
			at(section+".onion", "%q is not the name of an onion service: 56 letters and digits and .onion", p.Onion)
		}
		if p.Domain != "" {
			domain(section+".domain", p.Domain)
		}
		if p.AuthKey != "" && p.AuthKeyFile != "" {
			at(section+".auth_key", "give the key here or in auth_key_file, and not in both")
		}
		if _, err := onionroute.ParseAuthKey(p.AuthKey); err != nil && p.AuthKey != "" {
			at(section+".auth_key", "this is not a secret key of 52 letters and digits, such as allium onion key makes")
		}
	}
}

// readAuthKeys reads the keys that stand in files of their own.
func (c *config) readAuthKeys(at atKey) error {
	for i := range c.Peer {
		p := &c.Peer[i]
		if p.AuthKey != "" {
			if err := private(c.file, "it has secrets in it"); err != nil {
				return err
			}
		}
		if p.AuthKeyFile == "" {
			continue
		}
		key := entry("peer", i) + ".auth_key_file"
		if err := private(p.AuthKeyFile, "it is a secret"); err != nil {
			return at(key, "%w", err)
		}
		text, err := os.ReadFile(p.AuthKeyFile)
		if err != nil {
			return at(key, "%w", explainOwner(p.AuthKeyFile, err))
		}
		p.AuthKey = string(text)
		if _, err := onionroute.ParseAuthKey(p.AuthKey); err != nil {
			return at(key, "%s: %w", p.AuthKeyFile, err)
		}
	}
	return nil
}

// gateway is the gateway's domain. A native host that lets Allium attach any domain
// needs none in the configuration.
func (c *config) gateway(id *onionroute.Identity) string {
	if c.Federation.Domain == "" {
		return "onion." + id.Name()
	}
	return c.Federation.Domain
}

// domains are the host's.
func (c *config) domains(id *onionroute.Identity) []string {
	if len(c.Host.Domains) == 0 {
		return []string{id.Name()}
	}
	return c.Host.Domains
}

// addresses sets how peers are addressed.
func (c *config) addresses(g *onionroute.Config, id *onionroute.Identity) {
	g.Domain, g.Hosts, g.Native, g.Listed = c.gateway(id), c.domains(id), c.Federation.Native, c.Federation.Peers == "listed"
	for _, a := range c.Alias {
		g.Aliases = append(g.Aliases, onionroute.Alias{Domain: a.Domain, Onion: a.Onion, Anyone: a.Access == "anyone"})
	}
	for _, p := range c.Peer {
		g.Peers = append(g.Peers, onionroute.Peer{Onion: p.Onion, Domain: p.Domain, Deny: p.Allow != nil && !*p.Allow})
	}
}

const errUpper = "%q has to be written in lower case"

const errMistyped = "%q looks like the name of an onion service, but a letter must be wrong: its checksum does not fit"
