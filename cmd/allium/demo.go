package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/onionroute"
	"github.com/allium-xmpp/allium/onionroute/tornet"
)

type demoCmd struct {
	Keep    bool          `help:"Leave all running until Ctrl-C, and say how to connect with your own client."`
	Dir     string        `placeholder:"DIR" help:"Keep files in this folder (a temporary one, removed at the end)."`
	Timeout time.Duration `default:"5m" help:"Give up after this time (${default})."`
}

// A demo is two servers with all that belongs to them.
type demo struct {
	out   io.Writer
	began time.Time
	dir   string

	mu   sync.Mutex
	stop []func() // in the order of starting
}

// A side is one of the two servers: a Prosody, an Allium, and somebody logged in.
type side struct {
	domain, user, password string
	host                   *hosttest.Host
	onion                  string
	client                 *hosttest.Client
	config                 string
}

// Run shows the main job on real parts: Tor, Prosody, Allium, clients.
func (cmd demoCmd) Run(ctx context.Context, out output) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // the terminal is closed
	defer stop()
	d := &demo{out: out.stdout, began: time.Now(), dir: cmd.Dir}
	if d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "allium"); err != nil {
			return err
		}
	}
	defer func() { cmd.end(ctx, d, err) }()
	defer d.close()
	work, cancel := context.WithTimeoutCause(ctx, cmd.Timeout, fmt.Errorf("the demo took more than %v", cmd.Timeout))
	defer cancel()
	a := &side{domain: "alpha.example", user: "alice", password: rand.Text()}
	b := &side{domain: "beta.example", user: "bob", password: rand.Text()}
	if err := d.show(work, a, b); err != nil {
		if work.Err() != nil {
			err = fmt.Errorf("%w (%v)", context.Cause(work), err)
		}
		return err
	}
	if cmd.Keep {
		d.explain(a, b)
		<-ctx.Done()
	}
	return nil
}

// end says how it went, when all has stopped. A temporary folder stays if what is in it may
// tell why the demo failed.
func (cmd demoCmd) end(ctx context.Context, d *demo, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, exec.ErrNotFound) {
		d.say("it failed; the logs are in %s", d.dir)
		return
	}
	if cmd.Dir == "" {
		os.RemoveAll(d.dir)
	}
	if err == nil && !cmd.Keep {
		d.say("it worked, and all has stopped; with --keep it stays, and you can connect with your own client")
	}
}

// show is the demo from its begin to its end.
func (d *demo) show(ctx context.Context, a, b *side) error {
	// The network takes longest: the servers are started meanwhile.
	booting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var net *tornet.Network
	starting := make(chan error, 1)
	go func() {
		var err error
		net, err = tornet.Start(booting, filepath.Join(d.dir, "tor"), tornet.Options{Progress: d.progress})
		if err == nil {
			d.later(func() { net.Close() })
		}
		starting <- err
	}()
	err := d.startHost(ctx, a)
	if err == nil {
		err = d.startHost(ctx, b)
	}
	if err != nil {
		giveUp()
		<-starting
		return err
	}
	if err := <-starting; err != nil {
		return err
	}
	d.say("the private Tor network is up: 7 relays on loopback")
	for _, s := range []*side{a, b} {
		if err := d.startAllium(s, net); err != nil {
			return err
		}
	}
	if err := d.reachable(ctx, net, a, b); err != nil {
		return err
	}
	if err := d.talk(ctx, a, b); err != nil {
		return err
	}
	return d.meet(ctx, a, b)
}

func (d *demo) startHost(ctx context.Context, s *side) (err error) {
	secret := rand.Text()
	gateway := "onion." + s.domain
	s.host, err = hosttest.StartProsody(ctx, filepath.Join(d.dir, s.domain), hosttest.Config{
		Domains:    []string{s.domain},
		Users:      map[string]string{s.user + "@" + s.domain: s.password},
		Components: map[string]string{gateway: secret, "rooms." + s.domain: secret}})
	if err != nil {
		return err
	}
	d.later(func() { s.host.Stop() })
	s.config = filepath.Join(d.dir, s.domain+".toml")
	state := filepath.Join(d.dir, s.user)
	text := fmt.Sprintf("state_dir = %q\n\n[host]\nserver = %q\nsecret = %q\ndomains = [%q]\n\n[federation]\ndomain = %q\n\n[muc]\ndomain = %q\n\n[tor]\ntorrc = %q\n",
		state, s.host.ComponentAddr(), secret, s.domain, gateway, "rooms."+s.domain, filepath.Join(d.dir, "torrc"))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return err
	}
	c, err := loadConfig(s.config)
	if err != nil {
		return err
	}
	if err := c.stateDir(); err != nil {
		return err
	}
	id, err := onionroute.CreateIdentity(c.identityFile())
	if err != nil {
		return err
	}
	s.onion = id.Name()
	if s.client, err = hosttest.Login(ctx, s.host.ClientAddr(), s.user+"@"+s.domain, s.password); err != nil {
		return err
	}
	d.later(func() { s.client.Close() })
	d.say("Prosody for %s is up, and %s is logged in", s.domain, s.user)
	// Only who has asked for the roster is told of approvals (RFC 6121 §3.1.6).
	if err := s.client.SendXML("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>"); err != nil {
		return err
	}
	return s.client.Send(&component.Stanza{Kind: component.Presence})
}

// startAllium runs this program as an admin would.
func (d *demo) startAllium(s *side, net *tornet.Network) error {
	torrc, err := os.ReadFile(net.Torrc())
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, "torrc"), torrc, 0o600)
	}
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(d.dir, s.domain+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, "run", "--config", s.config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us; we end it
	if err := cmd.Start(); err != nil {
		return err
	}
	d.later(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	return nil
}

// reachable waits until both onion services answer, as they answer to strangers.
func (d *demo) reachable(ctx context.Context, net *tornet.Network, sides ...*side) error {
	dir := filepath.Join(d.dir, "visitor")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tor := onionroute.NewTor(onionroute.TorConfig{Dir: dir, Torrc: net.Torrc(), Log: quiet()})
	vctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); tor.Run(vctx) }()
	defer func() { cancel(); <-ended }()
	select {
	case <-tor.Up():
	case <-ctx.Done():
		return tor.Err()
	}
	var wg sync.WaitGroup
	errs := make([]error, len(sides))
	for i, s := range sides {
		wg.Go(func() {
			if errs[i] = reach(ctx, tor, s.onion); errs[i] == nil {
				d.say("%s is published and reachable: %s", s.domain, s.onion)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// talk is what the users do.
func (d *demo) talk(ctx context.Context, a, b *side) error {
	toB, err := a.contact(b)
	if err != nil {
		return err
	}
	toA, err := b.contact(a)
	if err != nil {
		return err
	}
	presence := func(from jid.JID, typ string) func(*component.Stanza) bool {
		return func(s *component.Stanza) bool {
			return s.Kind == component.Presence && s.Type == typ && s.From.Bare().Equal(from)
		}
	}
	subscribe := func(from, to *side, addrTo, addrFrom jid.JID) error {
		if err := from.client.Send(&component.Stanza{Kind: component.Presence, Type: "subscribe", To: addrTo}); err != nil {
			return err
		}
		if _, err := to.client.Expect(ctx, "a subscription request", presence(addrFrom, "subscribe")); err != nil {
			return err
		}
		if err := to.client.Send(&component.Stanza{Kind: component.Presence, Type: "subscribed", To: addrFrom}); err != nil {
			return err
		}
		if _, err := from.client.Expect(ctx, "the approval", presence(addrTo, "subscribed")); err != nil {
			return err
		}
		d.say("%s asked to see %s, who agreed", from.user, to.user)
		if _, err := from.client.Expect(ctx, "presence", presence(addrTo, "")); err != nil {
			return err
		}
		d.say("%s sees %s on-line as %s", from.user, to.user, addrTo)
		return nil
	}
	message := func(from, to *side, addrTo, addrFrom jid.JID, body string) error {
		began := time.Now()
		m := &component.Stanza{Kind: component.Message, Type: "chat", ID: rand.Text(), To: addrTo}
		m.Add(component.NewElement(component.NSClient, "body", component.Text(body)))
		if err := from.client.Send(m); err != nil {
			return err
		}
		_, err := to.client.Expect(ctx, "the message", func(s *component.Stanza) bool {
			return s.Kind == component.Message && s.ID == m.ID && s.Body() == body && s.From.Bare().Equal(addrFrom)
		})
		if err == nil {
			d.say("%s → %s: %q, after %v", from.user, to.user, body, time.Since(began).Round(time.Millisecond))
		}
		return err
	}
	for _, step := range []func() error{
		func() error { return subscribe(a, b, toB, toA) },
		func() error { return subscribe(b, a, toA, toB) },
		func() error { return message(a, b, toB, toA, "Hello through Tor!") },
		func() error { return message(b, a, toA, toB, "Hello back!") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// contact is the address of the other side's user for this side's.
func (s *side) contact(other *side) (jid.JID, error) {
	return jid.New(other.user+`\40`+other.onion, "onion."+s.domain, "")
}

func (d *demo) explain(a, b *side) {
	fmt.Fprintln(d.out, "\nConnect with your own client (no TLS; it does not leave this machine):")
	for _, p := range [][2]*side{{a, b}, {b, a}} {
		s, other := p[0], p[1]
		contact, _ := s.contact(other)
		fmt.Fprintf(d.out, "\n  account   %s@%s\n  password  %s\n  server    %s\n  contact   %s\n  log       %s\n",
			s.user, s.domain, s.password, s.host.ClientAddr(), contact, filepath.Join(d.dir, s.domain+".log"))
	}
	fmt.Fprintln(d.out, "\nCtrl-C ends it.")
}

func (d *demo) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, "%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) progress(done float64, what string) { d.say("Tor network %3.0f%%: %s", done*100, what) }

func (d *demo) later(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop = append(d.stop, f)
}

// close stops everything, what was started last first.
func (d *demo) close() {
	d.say("stopping")
	for len(d.stop) > 0 {
		f := d.stop[len(d.stop)-1]
		d.stop = d.stop[:len(d.stop)-1]
		f()
	}
}
