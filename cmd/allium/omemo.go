package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/omemo"
	"github.com/allium-xmpp/allium/onionroute"
)

type omemoCmd struct {
	Audit omemoAuditCmd `cmd:"" help:"List the devices whose keys are kept, and what is wrong with them."`
}

type omemoAuditCmd struct {
	configFlag
	JIDs []string `arg:"" optional:"" name:"jid" help:"Whose devices; default: everybody's. A peer's user is bob@….onion, or as the host's users write it."`
}

// Help is what --help says more.
func (omemoAuditCmd) Help() string {
	return `Keys are those of the host's users and of people at peers, as far as somebody has asked for them or was told of them.
Allium may be running. The exit code is 0 if nothing is wrong, 1 if something is, and 78 if the configuration is wrong.`
}

// Run prints a table.
func (cmd omemoAuditCmd) Run(ctx context.Context, out output) error {
	c, err := loadConfig(cmd.Config)
	if err != nil {
		return configError{err}
	}
	typed, hosts, err := c.typed()
	if err != nil {
		return err
	}
	var owners []jid.JID
	for _, a := range cmd.JIDs {
		j, err := typed(a)
		if err != nil {
			return fmt.Errorf("%q is not an address: %w", a, err)
		}
		owners = append(owners, j)
	}
	all, err := omemo.Audit(ctx, c.keysFile(), func(j jid.JID) bool { return slices.Contains(hosts, j.Domainpart()) }, owners...)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(omemo.AuditColumns, "\t")))
	wrong := false
	for i := range all {
		fmt.Fprintln(w, strings.Join(all[i].Columns(), "\t"))
		wrong = wrong || len(all[i].Faults) > 0
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out.stdout, omemo.AuditSummary(all))
	if wrong {
		return errTold
	}
	return nil
}

// typed is what reads addresses as people type them, and the domains of the host's users.
func (c *config) typed() (func(string) (jid.JID, error), []string, error) {
	if c.Federation == nil {
		return jid.Parse, c.Host.Domains, nil
	}
	id, err := c.identity()
	if err != nil {
		return nil, nil, err
	}
	m, err := onionroute.NewAddressMap(c.gatewaySettings(id))
	if err != nil {
		return nil, nil, err
	}
	return m.Typed, c.domains(id), nil
}

// deviceFile is where the secrets of Allium's own OMEMO device are.
func (c *config) deviceFile() string { return filepath.Join(c.StateDir, "device.sqlite") }

// openOMEMO adds what is about OMEMO to what the gateway itself answers.
func (h *house) openOMEMO(c *config, hosts []string, typed func(string) (jid.JID, error), service *component.Service,
	out component.Sender) (err error) {
	service.Command(h.keys.AuditCommand(func(from jid.JID) bool {
		return slices.ContainsFunc(c.Admins, func(a string) bool { return jid.MustParse(a).Equal(from.Bare()) })
	}, typed))
	if h.device, err = omemo.OpenOwnDevice(c.deviceFile()); err != nil {
		return err
	}
	h.device.Publish(service)
	h.device.Report(service, out, func(from jid.JID) bool { return slices.Contains(hosts, from.Domainpart()) }, h.report)
	return nil
}

// report tells a user how things are.
func (h *house) report() string {
	if h.ready() != nil {
		return "But something is wrong with Allium at the moment, and its log says what: what you write to other servers may have to wait."
	}
	return "Allium is attached to this server and to Tor."
}
