package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/omemo"
	"github.com/allium-xmpp/allium/onionroute"
)

// keyFiles tests the files with OMEMO keys. One that others could read if the state folder
// were not closed to them does not keep Allium from running.
func (checkCmd) keyFiles(c *config, r *report) {
	check := func(what, file, why string, usable func(string) error) {
		r.step(what+" "+file, usable(file))
		if err := private(file, why); err != nil && !errors.Is(err, fs.ErrNotExist) { // it is made when Allium runs
			r.note(err.Error())
		}
	}
	check("keys", c.keysFile(), "it tells who talks with whom", omemo.CheckFile)
	check("own OMEMO device", c.deviceFile(), "it has secrets in it", omemo.CheckOwnDevice)
}

// keys tests if peers can read the keys of the host's users: what the running Allium has
// found, or what the host says now.
func (cmd checkCmd) keys(ctx context.Context, c *config, id *onionroute.Identity, running bool, r *report) {
	const what = "host lets peers read OMEMO keys"
	if running {
		if err := omemo.Refused(c.keysFile()); err != nil { // it may be the choice of that user's client
			r.note(fmt.Sprintf("%s: %v", what, err))
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkHostTimeout)
	defer cancel()
	p, err := cmd.probe(ctx, c, id)
	switch {
	case err != nil:
		r.step(what, err)
	case len(p.Refused) > 0:
		r.step(what, fmt.Errorf("it refuses those of %s: %s", names(p.Refused), omemo.HostSettings))
	case len(p.Gave) > 0:
		r.step(what, nil)
	case len(p.Unclear) > 0:
		r.note(fmt.Sprintf("%s: not known; it refuses those of %s, or there are none. If there are, %s", what, names(p.Unclear), omemo.HostSettings))
	default:
		r.note(what + ": not tested, since no user is known who has any: set admins to somebody who uses OMEMO, and this is tested")
	}
}

// names are some of the addresses.
func names(of []jid.JID) string {
	s := of[0].String()
	if n := len(of) - 1; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// probe asks the host, attached to it as the gateway.
func (checkCmd) probe(ctx context.Context, c *config, id *onionroute.Identity) (*omemo.Probe, error) {
	router := component.NewRouter()
	hosts := c.domains(id)
	link, err := component.NewLink(component.LinkConfig{Server: c.Host.Server, Domain: c.gateway(id), Secret: c.Federation.Secret, PingTo: hosts[0],
		Log: slog.New(slog.DiscardHandler)}, router)
	if err != nil {
		return nil, err
	}
	router.Attach(c.gateway(id), link)
	address, err := jid.New("", c.gateway(id), "")
	if err != nil {
		return nil, err
	}
	var admins []jid.JID
	for _, a := range c.Admins {
		admins = append(admins, jid.MustParse(a))
	}
	running, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() { stop(); wg.Wait() }()
	attach := func() error {
		wg.Go(func() { link.Run(running) })
		select {
		case <-link.Up():
			return nil
		case <-ctx.Done():
			return link.Err()
		}
	}
	return omemo.NewProbe(ctx, c.keysFile(), omemo.Options{Address: address,
		Local: func(j jid.JID) bool { return slices.Contains(hosts, j.Domainpart()) }}, router, attach, admins...)
}
