package onionroute

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

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
	q.Add(component.NewElement(nsGateway, "desc", component.Text("Please enter the onion address of the person or room you would like to contact, such as bob@….onion. "+g.addressOf(s.From))),
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

// addressOf tells a local user what to tell others.
func (g *Gateway) addressOf(user jid.JID) string {
	onion, err := g.m.ToOnion(user.Bare())
	if err != nil {
		return ""
	}
	return "You are " + onion.String() + " to people at onion servers."
}

// tellAddress is a command (XEP-0050).
func (g *Gateway) tellAddress(c *component.Call) (*component.Reply, error) {
	return &component.Reply{Note: g.addressOf(c.Request.From)}, nil
}

// greet tells a local user who writes to the gateway itself what it is for. It does so in the
// error, to which no other program answers.
func (g *Gateway) greet(s *component.Stanza, err error) error {
	if s.Kind != component.Message || !g.allowed(s.From) || !errors.Is(err, stanza.Error{Condition: stanza.ServiceUnavailable}) {
		return err
	}
	text := "This is the way to people and rooms at onion servers, and nobody who reads. "
	if !g.c.Native {
		text += "Whoever is bob@….onion there is bob\\40….onion@" + g.c.Domain + " here. "
	}
	return component.NewError(stanza.Cancel, stanza.ServiceUnavailable, text+g.addressOf(s.From))
}

// typed reads the address of somebody at a peer as people type it.
func (g *Gateway) typed(s string) (jid.JID, error) {
	j, err := g.m.Typed(s)
	if err != nil {
		return j, errors.New("This is not an address. Onion addresses look like bob@….onion.")
	}
	onion, err := g.m.ToOnion(j)
	elsewhere := g.m.plain(j.Domainpart()) && !slices.Contains(g.m.Domains, j.Domainpart())
	switch {
	case err == nil && g.m.remote(onion.Domainpart()):
		return j, nil
	case g.m.Serves(j.Domainpart()) || err == nil && g.m.own(onion.Domainpart()) && !elsewhere:
		if here, err := g.m.ToHost(onion); err == nil {
			j = here
		}
		return j, fmt.Errorf("This is an address of this server: write to %s as it is.", j)
	case MistypedOnion(j.Domainpart()):
		return j, fmt.Errorf("%s is not the address of an onion service, though it looks like one: a letter must be wrong.", j)
	}
	return j, fmt.Errorf("%s is not the address of somebody at another onion service. It ends in 56 letters and digits and .onion; is it complete?", j)
}

// MistypedOnion tells of what looks like the name of an onion service, or one below it, and
// has the wrong checksum (Tor rend-spec-v3 §6).
func MistypedOnion(domain string) bool {
	name, ok := strings.CutSuffix(domain, ".onion")
	return ok && len(name[strings.LastIndexByte(name, '.')+1:]) == 56 && !IsOnion(domain)
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
		if plain, err := url.PathUnescape(s); err == nil && utf8.ValidString(plain) { // RFC 5122 §2.7.2
			s = plain
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
