package main

import (
	"path/filepath"
	"slices"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/omemo"
	"github.com/allium-xmpp/allium/onionroute"
)

// keysFile is where the OMEMO keys of people at both sides are kept.
func (c *config) keysFile() string { return filepath.Join(c.StateDir, "keys.sqlite") }

// openKeys makes the gateway, and the directory of keys on the ways to and from it. service
// is what the gateway's domains are handled by.
func (h *house) openKeys(c *config, id *onionroute.Identity, settings onionroute.Config, router *component.Router) (
	g *onionroute.Gateway, service component.Handler, err error) {
	address, err := jid.New("", c.gateway(id), "")
	if err != nil {
		return nil, nil, err
	}
	atPeers := address
	if c.Federation.Native { // peers know nothing of the gateway's domain, and what is for ours the host keeps
		if atPeers, err = jid.New("", id.Name(), ""); err != nil {
			return nil, nil, err
		}
	}
	addresses, err := onionroute.NewAddressMap(settings)
	if err != nil {
		return nil, nil, err
	}
	hosts := c.domains(id)
	h.keys, err = omemo.OpenDirectory(c.keysFile(), omemo.Options{
		Address:   address,
		AtPeers:   atPeers,
		Local:     func(j jid.JID) bool { return slices.Contains(hosts, j.Domainpart()) },
		Related:   func(a, b jid.JID) bool { return h.related != nil && h.related(a, b) },
		Canonical: addresses.Canonical,
	})
	if err != nil {
		return nil, nil, err
	}
	settings.Stranger = h.keys.Stranger
	if g, err = onionroute.NewGateway(settings, h.tor, h.keys.Sender(router)); err != nil {
		return nil, nil, err
	}
	h.gateway = g
	if err := h.openOMEMO(c, hosts, addresses.Typed, g.Service(), router); err != nil {
		return nil, nil, err
	}
	return g, h.keys.Handler(g), nil
}
