package onionroute

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// prompt tells a client what to ask its user for (XEP-0100 §6.3).
func (g *Gateway) prompt(_ context.Context, s *component.Stanza) ([]*component.Element, error) {
	if !g.allowed(s.From) {
		return nil, component.NewError(stanza.Auth, stanza.Forbidden, "")
	}
	q := component.NewElement(nsGateway, "query")
	q.Add(component.NewElement(nsGateway, "desc", component.Text("Please enter the onion address of the person you would like to contact, such as bob@….onion.")),
		component.NewElement(nsGateway, "prompt", component.Text("Onion address")))
	return []*component.Element{q}, nil
}

// prompted turns what the user typed into an address.
func (g *Gateway) prompted(_ context.Context, s *component.Stanza) ([]*component.Element, error) {
	if !g.allowed(s.From) {
		return nil, component.NewError(stanza.Auth, stanza.Forbidden, "")
	}
	j, err := g.typed(s.Payload().Child(nsGateway, "prompt").Text())
	if err != nil {
		return nil, component.NewError(stanza.Modify, stanza.NotAcceptable, err.Error())
	}
	g.want(j)
	q := component.NewElement(nsGateway, "query")
	q.Add(component.NewElement(nsGateway, "jid", component.Text(j.String())))
	return []*component.Element{q}, nil
}

// typed reads the address of somebody at a peer as people type it.
func (g *Gateway) typed(s string) (jid.JID, error) {
	j, err := g.m.Typed(s)
	if err != nil {
		return j, errors.New("This is not an address. Onion addresses look like bob@….onion.")
	}
	if onion, err := g.m.ToOnion(j); err != nil || !g.m.remote(onion.Domainpart()) {
		return j, fmt.Errorf("%s is not the address of somebody at another onion service. It ends in 56 letters and digits and .onion; is it complete?", j)
	}
	return j, nil
}

// Typed reads an address as people type and paste it: with blanks, as xmpp: URI, of somebody
// at a peer as the host or as peers write it, or any other. It gives the bare address, as the
// host has it. The error is package jid's.
func (m *AddressMap) Typed(s string) (jid.JID, error) {
	s = strings.Join(strings.Fields(s), "")
	if rest, ok := strings.CutPrefix(strings.ToLower(s), "xmpp:"); ok {
		s = rest
		if i := strings.IndexAny(s, "?#"); i >= 0 {
			s = s[:i]
		}
	}
	j, err := jid.Parse(s)
	if err != nil {
		return j, err
	}
	j = m.Canonical(j.Bare())
	if host, err := m.ToHost(j); err == nil {
		return host, nil
	}
	return j, nil
}
