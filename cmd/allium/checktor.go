package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/onionroute"
)

// tor tests if Tor gets to the network, and if this server can be reached through it
// as others reach it.
func (cmd checkCmd) tor(ctx context.Context, c *config, id *onionroute.Identity, running bool, out io.Writer, r *report) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	settings := c.torSettings()
	// It can take minutes: show how far it is.
	settings.Log = slog.New(progress{newLogger(out, logConfig{}, new(slog.LevelVar)).Handler()})
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
	if !r.step("reachable from outside as "+id.Name(), reach(ctx, tor, id.Name())) && settings.Control != "" {
		r.note("can the running tor reach into " + c.socketDir() + "? With a tor of another user, set tor.sockets to a folder that both can")
	}
}

// progress is a log of how something goes on. What goes wrong has its place in the report.
type progress struct{ slog.Handler }

// Handle leaves out what has an error.
func (p progress) Handle(ctx context.Context, r slog.Record) error {
	wrong := false
	r.Attrs(func(a slog.Attr) bool {
		wrong = a.Key == "error"
		return !wrong
	})
	if wrong {
		return nil
	}
	return p.Handler.Handle(ctx, r)
}

var checkReachTimeout = 3 * time.Minute // a new descriptor has to get around

// reach connects to an onion service as a peer does, until it answers.
func reach(ctx context.Context, tor *onionroute.Tor, onion string) error {
	ctx, cancel := context.WithTimeout(ctx, checkReachTimeout)
	defer cancel()
	var last error
	// Each try gets more time than the last: Tor may be on the way to where the
	// service no longer is.
	for patience := 10 * time.Second; ; patience *= 2 {
		try, cancel := context.WithTimeout(ctx, patience)
		err := greet(try, tor, onion)
		cancel()
		if err == nil || errors.Is(ctx.Err(), context.Canceled) {
			return err
		}
		if ctx.Err() == nil || last == nil { // else this try had no time
			last = err
		}
		tor.Refresh(ctx, onion)
		select {
		case <-ctx.Done():
			return explainReach(last)
		case <-time.After(time.Second):
		}
	}
}

// explainReach says what to do if Tor does not get to an onion service of ours.
func explainReach(err error) error {
	if !errors.As(err, new(*onionroute.SOCKSError)) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("nobody finds the service (%w): if another Allium or tor has the same key, stop one of them; "+
		"is the clock of this machine right? if it was wrong before, restart Allium; then try again in some minutes", err)
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
