package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
	checkReachTimeout  = 3 * time.Minute // a new descriptor has to get around
)

// Run tests each part. A part that stands on one that failed is not tested.
func (cmd checkCmd) Run(ctx context.Context, out output) error {
	r := &report{w: out.stdout}
	c, err := loadConfig(cmd.Config)
	if !r.step("configuration "+cmd.Config, err) {
		return r.result()
	}
	slog.SetDefault(quiet())
	unlock, err := c.lock()
	running := errors.Is(err, errRunning)
	if running {
		err = nil
	} else if err == nil {
		defer unlock()
	}
	r.step("state folder "+c.StateDir, err)
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
	if running {
		r.note("Allium is running: its own log tells about its link to the host")
	} else {
		cmd.host(ctx, c, id, r)
	}
	if c.Federation != nil && r.passed() {
		cmd.keys(ctx, c, id, running, r)
	}
	if !cmd.Offline && c.Federation != nil {
		cmd.tor(ctx, c, id, running, out.stderr, r)
	}
	return r.result()
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
			"with Prosody, load mod_allium on the component, as in examples/prosody/allium.cfg.lua; with ejabberd, set s2s_access as in examples/ejabberd/allium.yml")
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

// tor tests if Tor gets to the network, and if this server can be reached through it
// as others reach it.
func (cmd checkCmd) tor(ctx context.Context, c *config, id *onionroute.Identity, running bool, out io.Writer, r *report) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	settings := c.torSettings()
	settings.Log = newLogger(out, logConfig{}, new(slog.LevelVar)) // it can take minutes: show how far it is
	if running {
		// The one that runs holds the onion service: we go there as a stranger, by a
		// tor of our own.
		dir, err := os.MkdirTemp("", "allium-check")
		if err != nil {
			r.step("temporary folder", err)
			return
		}
		defer os.RemoveAll(dir)
		if settings.Control == "" {
			settings.Dir = dir
		}
	}
	tor := onionroute.NewTor(settings)
	if !running {
		// What waits is not sent by a check.
		dir, err := os.MkdirTemp("", "allium-check")
		if err != nil {
			r.step("temporary folder", err)
			return
		}
		defer os.RemoveAll(dir)
		gateway := c.gatewaySettings(id)
		gateway.Spool = filepath.Join(dir, "spool.sqlite")
		g, err := onionroute.NewGateway(gateway, tor, component.NewRouter())
		if err != nil {
			r.step("gateway", err)
			return
		}
		visitor, secret, err := onionroute.NewAuthKeys() // if the service is private, for us
		if err != nil {
			r.step("key of a visitor", err)
			return
		}
		c.useKeys(tor, id, g.Ports(), visitor)
		if len(c.Federation.Clients) > 0 {
			tor.Unlock(id.Name(), secret)
		}
		failed := make(chan error, 1)
		done := make(chan struct{})
		go func() { defer close(done); failed <- g.Run(ctx) }()
		defer func() { cancel(); <-done; g.Close() }()
		select {
		case err := <-failed:
			r.step("sockets in "+c.socketDir(), err)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	ended := make(chan struct{})
	go func() { defer close(ended); tor.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	select {
	case <-tor.Up():
		r.step("Tor", nil)
		if settings.Control != "" {
			r.step("tor at "+settings.Control+" keeps connections apart", tor.Shared())
		}
	case err := <-tor.Failed():
		r.step("Tor", err)
		return
	case <-time.After(checkTorTimeout):
		r.step("Tor", fmt.Errorf("not up after %v (is the clock right, and does the network let tor through? tor.torrc can name bridges)", checkTorTimeout))
		return
	case <-ctx.Done():
		r.note("interrupted")
		r.failed = true
		return
	}
	if running && len(c.Federation.Clients) > 0 {
		r.note("the onion service is private: only who has a key of federation.clients can tell if it is reachable")
		return
	}
	r.step("reachable from outside as "+id.Name(), reach(ctx, tor, id.Name()))
}

// reach connects to an onion service as a peer does, until it answers.
func reach(ctx context.Context, tor *onionroute.Tor, onion string) error {
	ctx, cancel := context.WithTimeout(ctx, checkReachTimeout)
	defer cancel()
	// Each try gets more time than the last: Tor may be on the way to where the
	// service no longer is.
	for patience := 10 * time.Second; ; patience *= 2 {
		try, cancel := context.WithTimeout(ctx, patience)
		err := greet(try, tor, onion)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		tor.Refresh(ctx, onion)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// greet opens a stream and reads the answer.
func greet(ctx context.Context, tor *onionroute.Tor, onion string) error {
	conn, err := tor.Dial(ctx, onion, 5269, "check", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Fprintf(conn, "<?xml version='1.0'?><stream:stream xmlns='%s' xmlns:stream='%s' to='%s' version='1.0'>",
		component.NSServer, component.NSStream, onion)
	h, err := component.NewDecoder(conn, component.Limits{}).Header()
	if err != nil {
		return fmt.Errorf("no stream: %w", err)
	}
	if from := h.AttrValue("from"); from != onion {
		return fmt.Errorf("it answers as %q", from)
	}
	return nil
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
