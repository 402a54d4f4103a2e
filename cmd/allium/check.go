package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/muc"
	"github.com/allium-xmpp/allium/onionroute"
)

type checkCmd struct {
	configFlag
	Offline bool `help:"Do not start Tor: check only what is on this machine."`
}

// The times of a check.
const (
	checkHostTimeout   = 30 * time.Second
	checkTorTimeout    = 3 * time.Minute // a first start of tor on a slow line
	checkNativeTimeout = 10 * time.Second
)

// Run tests each part. A part that stands on one that failed is not tested.
func (cmd checkCmd) Run(ctx context.Context, out output) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // the terminal is closed
	defer stop()
	r := &report{w: out.stdout}
	c, err := loadConfig(cmd.Config)
	if !r.step("configuration "+cmd.Config, err) {
		return configError{errTold}
	}
	slog.SetDefault(quiet())
	unlock, err := c.lock()
	running := errors.Is(err, errRunning)
	if running {
		err = nil
	} else if err == nil {
		defer unlock()
	}
	if !r.step("state folder "+c.StateDir, err) {
		return r.result()
	}
	var id *onionroute.Identity // nil without federation
	if c.Federation != nil {
		id, err = c.identity()
		if !r.step("onion key "+c.identityFile(), err) {
			return r.result()
		}
		r.step("spool "+c.spoolFile(), onionroute.CheckSpool(c.spoolFile()))
		cmd.keyFiles(c, r)
		if _, err := onionroute.NewAddressMap(c.gatewaySettings(id)); !r.step("addresses of peers", err) {
			return r.result()
		}
	}
	if c.Muc != nil {
		r.step("rooms "+c.roomsFile(), muc.CheckStore(c.roomsFile()))
	}
	if c.Web != nil && !running {
		r.step("pages at "+c.Web.Listen, c.Web.free())
	}
	torStarts := true
	if c.Federation != nil && c.Tor.Control == "" {
		torStarts = r.step("tor's program and its configuration", onionroute.CheckTor(ctx, c.torSettings()))
	}
	if running {
		r.note("Allium is running: its own log tells about its link to the host")
	} else {
		cmd.host(ctx, c, id, r)
	}
	if c.Federation != nil && r.passed() {
		cmd.keys(ctx, c, id, running, r)
	}
	if !cmd.Offline && c.Federation != nil && torStarts {
		cmd.tor(ctx, c, id, running, out.stderr, r)
	}
	return r.result()
}

// free tells if the pages can be served.
func (c *webConfig) free() error {
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("%w: free the port, or choose another one in web.listen", err)
	}
	return l.Close()
}

// host tests if the host takes the components, and answers.
func (cmd checkCmd) host(ctx context.Context, c *config, id *onionroute.Identity, r *report) {
	if c.Federation == nil {
		cmd.attaches(ctx, c, c.Muc.Domain, c.Muc.Secret, r)
		return
	}
	gateway := c.gateway(id)
	conn, err := component.Connect(ctx, c.Host.Server, gateway, c.Federation.Secret)
	if !r.step("host at "+c.Host.Server+" takes "+gateway, err) {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(checkHostTimeout))
	d := component.NewContentDecoder(conn, component.NSAccept, component.Limits{})
	for _, domain := range c.domains(id) {
		r.step("host serves "+domain, serves(conn, d, gateway, domain))
	}
	if !c.Federation.Native && r.passed() && looksUp(conn, d, gateway) {
		r.note("the host looks .onion names up in DNS when a user writes to one without the gateway, which tells the name server about it: " +
			"with Prosody, load mod_allium on the component; with ejabberd, set s2s_access; allium init prints how")
	}
	if c.Federation.Native && r.passed() {
		r.step("host lets Allium speak for onion services", c.speaksForOthers(ctx, conn, d, id))
	}
	io.WriteString(conn, "</stream:stream>")
	for _, a := range c.Alias {
		cmd.attaches(ctx, c, a.Domain, a.Secret, r)
	}
	if c.Muc != nil {
		cmd.attaches(ctx, c, c.Muc.Domain, c.Muc.Secret, r)
	}
}

// attaches tests if the host takes a component.
func (checkCmd) attaches(ctx context.Context, c *config, domain, secret string, r *report) {
	conn, err := component.Connect(ctx, c.Host.Server, domain, secret)
	if r.step("host at "+c.Host.Server+" takes "+domain, err) {
		io.WriteString(conn, "</stream:stream>")
		conn.Close()
	}
}

// serves asks the host for one of its domains. A host that does not have it says so, or
// looks for it elsewhere and finds nothing.
func serves(conn io.Writer, d *component.Decoder, from, domain string) error {
	fmt.Fprintf(conn, "<iq type='get' id='%s' from='%s' to='%[1]s'><query xmlns='%[3]s'/></iq>", domain, from, component.NSDiscoInfo)
	for {
		e, err := d.Next()
		if err != nil {
			return fmt.Errorf("no answer from %s (host.domains: is it right?): %w", domain, err)
		}
		s, err := component.ParseStanza(e)
		if err != nil || s.ID != domain {
			continue
		}
		if s.Type != string(stanza.ResultIQ) {
			if s.Type != "error" { // the request itself: a native host hands over what it does not have
				return errors.New("the host does not have it: correct host.domains, or add it to the host's configuration")
			}
			return fmt.Errorf("the host does not have it (%s): what is for its users would be sent into the open network; correct host.domains", s.StanzaError().Condition)
		}
		return nil
	}
}

// looksUp tells if the host would look the name of an onion service up in DNS. It is tried
// with one that is too long for a question to DNS (RFC 1035 §2.3.4), so nothing is asked.
func looksUp(conn io.Writer, d *component.Decoder, from string) bool {
	fmt.Fprintf(conn, "<message id='onion' from='%s' to='check@%s.onion'/>", from, strings.Repeat("a", 64))
	for {
		e, err := d.Next()
		if err != nil {
			return false
		}
		s, _ := component.ParseStanza(e)
		if s != nil && s.ID == "onion" && s.Type == "error" {
			c := s.StanzaError().Condition // other ones tell that it was refused
			return c == stanza.RemoteServerNotFound || c == stanza.RemoteServerTimeout
		}
	}
}

// A report prints what was tested.
type report struct {
	w      io.Writer
	failed bool
}

func (r *report) step(what string, err error) bool {
	if err == nil {
		fmt.Fprintf(r.w, "ok      %s\n", what)
		return true
	}
	r.failed = true
	fmt.Fprintf(r.w, "FAILED  %s\n        %v\n", what, err)
	return false
}

func (r *report) passed() bool { return !r.failed }

func (r *report) note(text string) { fmt.Fprintf(r.w, "note    %s\n", text) }

func (r *report) result() error {
	if r.failed {
		return errTold
	}
	return nil
}
