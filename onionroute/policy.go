package onionroute

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A Peer is what the admin has said about one onion service.
type Peer struct {
	Onion  string // X.onion
	Domain string // what the server there calls itself, if it is not X.onion
	Deny   bool   // nothing goes there, and nothing comes from there
}

// newMap makes the address map of a configuration, and who is allowed by name.
func newMap(c *Config) (m *AddressMap, allowed map[string]bool, err error) {
	if c.Native {
		// I.onion is the primary domain.
		own := c.Identity.Name()
		c.Hosts = append([]string{own}, slices.DeleteFunc(slices.Clone(c.Hosts), func(d string) bool { return d == own })...)
	}
	if len(c.Hosts) == 0 {
		return nil, nil, errors.New("onionroute: no domain of the host is given")
	}
	m = &AddressMap{Identity: c.Identity.Name(), Gateway: c.Domain, Domains: c.Hosts, Services: c.Services,
		Native: c.Native, Aliases: map[string]string{}, Peers: map[string]string{}}
	for _, d := range c.Hosts {
		if isOnionName(d) && !(c.Native && m.own(d)) {
			return nil, nil, fmt.Errorf("onionroute: %s is a domain of the host, but only with native can it have onion names, and only %s and those below it", d, m.Identity)
		}
	}
	for _, d := range append(slices.Sorted(maps.Keys(c.Services)), c.Domain) {
		if slices.Contains(c.Hosts, d) || d == c.Domain && c.Services[d] != "" || isOnionName(d) && !(c.Native && m.own(d)) {
			return nil, nil, fmt.Errorf("onionroute: the gateway, or a service, cannot have %s: it is a domain of the host or of another one, or an onion name, which only with native can be one below %s", d, m.Identity)
		}
	}
	allowed = map[string]bool{}
	for _, p := range c.Peers {
		if Base(p.Onion) != p.Onion || p.Onion == m.Identity {
			return nil, nil, fmt.Errorf("onionroute: peer %q is not the name of another onion service: 56 letters and digits, and .onion", p.Onion)
		}
		if before, known := allowed[p.Onion]; known && before == p.Deny {
			return nil, nil, fmt.Errorf("onionroute: peer %s is both allowed and denied", p.Onion)
		}
		allowed[p.Onion] = !p.Deny
		if p.Domain == "" {
			continue
		}
		if err := m.free(p.Domain); err != nil {
			return nil, nil, fmt.Errorf("onionroute: peer %s: %w", p.Onion, err)
		}
		m.Peers[p.Domain] = p.Onion
	}
	for _, a := range c.Aliases {
		if !m.remote(a.Onion) {
			return nil, nil, fmt.Errorf("onionroute: alias %s: %q is not a domain at another onion service", a.Domain, a.Onion)
		}
		if err := m.free(a.Domain); err != nil {
			return nil, nil, fmt.Errorf("onionroute: alias: %w", err)
		}
		if m.alias(a.Onion) != "" {
			return nil, nil, fmt.Errorf("onionroute: alias %s: %s has an alias already", a.Domain, a.Onion)
		}
		m.Aliases[a.Domain] = a.Onion
		at := m.At(a.Onion)
		if allow, known := allowed[at]; known && !allow {
			return nil, nil, fmt.Errorf("onionroute: alias %s: its peer is denied", a.Domain)
		}
		allowed[at] = true
	}
	return m, allowed, nil
}

// free tells if a domain can be given a meaning: it is none already.
func (m *AddressMap) free(domain string) error {
	j, err := jid.New("", domain, "")
	switch {
	case err != nil || j.Domainpart() != domain || isOnionName(domain):
		return fmt.Errorf("%q is not an ordinary domain name in lower case", domain)
	case domain == m.Gateway || m.Services[domain] != "" || m.Aliases[domain] != "" || m.Peers[domain] != "" || slices.Contains(m.Domains, domain):
		return fmt.Errorf("%s is taken: it is a domain of the host, of a service, of another alias or of another peer", domain)
	}
	return nil
}

// errPrivate is the error for local users where an onion service wants a key.
func errPrivate() error {
	return component.NewError(stanza.Auth, stanza.NotAuthorized, "This onion service is private: the administrator of this server needs a key for it.")
}

// errWrongKey is the same where it wants another one.
func errWrongKey() error {
	return component.NewError(stanza.Auth, stanza.NotAuthorized, "This onion service is private, and the key that the administrator of this server has for it is not the right one.")
}

// peerAllowed is the error for local users where the admin does not want an onion
// service: no connection is made to it, and none is taken from it.
func (g *Gateway) peerAllowed(onion string) error {
	if allow, known := g.named[onion]; allow || !known && !g.c.Listed {
		return nil
	}
	return component.NewError(stanza.Cancel, stanza.PolicyViolation, "The administrator does not allow contact with this onion service.")
}

// NewAddressMap makes the map of a configuration's addresses. The error tells what is wrong
// with its domains, peers and aliases.
func NewAddressMap(c Config) (*AddressMap, error) {
	m, _, err := newMap(&c)
	return m, err
}
