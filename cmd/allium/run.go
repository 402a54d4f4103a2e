package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/muc"
	"github.com/allium-xmpp/allium/omemo"
	"github.com/allium-xmpp/allium/onionroute"
)

type runCmd struct{ configFlag }

// Run runs all services that are configured, until ctx is done.
func (cmd runCmd) Run(ctx context.Context, out output) error {
	c, err := loadConfig(cmd.Config)
	if err != nil {
		return configError{err}
	}
	level := new(slog.LevelVar)
	log := newLogger(out.stderr, c.Log, level)
	slog.SetDefault(log)
	defer onHangup(func() { cmd.reload(level) })()
	unlock, err := c.lock()
	if err != nil {
		return configError{err}
	}
	defer unlock()
	var id *onionroute.Identity
	if c.Federation != nil {
		if id, err = c.identity(); err != nil {
			return configError{err}
		}
		if _, err := onionroute.NewAddressMap(c.gatewaySettings(id)); err != nil {
			return configError{fmt.Errorf("%s: %w", c.file, err)}
		}
		log.Info("allium starts", "version", version(), "onion", id.Name())
	} else {
		log.Info("allium starts", "version", version())
	}
	h, err := newHouse(c, id)
	if err != nil {
		return err
	}
	return h.run(ctx)
}

// reload takes up what can be while Allium runs, and says what cannot.
func (cmd runCmd) reload(level *slog.LevelVar) {
	c, err := loadConfig(cmd.Config)
	if err != nil {
		slog.Error("the configuration is not taken up", "error", err)
		return
	}
	level.Set(c.Log.level())
	slog.Info("log.level is taken up from the configuration; all else is when Allium is restarted")
}

// onHangup calls do for each SIGHUP, which would else end the program, until end is called.
func onHangup(do func()) (end func()) {
	hangups, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangups:
				do()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(done)
	}
}

// identity reads the onion key. A lost one is not replaced in silence: with it goes the
// address that all contacts know.
func (c *config) identity() (*onionroute.Identity, error) {
	id, err := onionroute.LoadIdentity(c.identityFile())
	switch {
	case errors.Is(err, os.ErrPermission):
		err = explainOwner(c.identityFile(), err)
	case errors.Is(err, onionroute.ErrNoIdentity):
		err = fmt.Errorf("%w (is state_dir right?): restore it from your backup; where there was none, allium init makes a new address", err)
	case errors.Is(err, onionroute.ErrDamaged):
		err = fmt.Errorf("%w: restore it from your backup; where there is none, move it away, and allium init makes a new address", err)
	}
	return id, err
}

// A house is all parts of a running Allium, wired together. What is not configured is nil.
type house struct {
	links   []*component.Link
	pool    *component.Pool // nil if the domains of peers are not attached
	tor     *onionroute.Tor
	gateway *onionroute.Gateway
	rooms   *muc.Service
	store   *muc.Store
	keys    *omemo.Directory
	device  *omemo.OwnDevice
	related func(a, b jid.JID) bool // who shares a room with a stranger; nil: nobody
	web     *web
}

// newHouse makes the parts; id is nil without federation.
func newHouse(c *config, id *onionroute.Identity) (*house, error) {
	router := component.NewRouter()
	h := &house{}
	ping := c.domains(id)[0]
	var metrics []prometheus.Collector
	if c.Federation != nil {
		if err := h.openGateway(router, c, id, ping); err != nil {
			return nil, err
		}
		metrics = append(metrics, gatewayMetrics(h.gateway)...)
	}
	if c.Muc != nil {
		if err := h.openRooms(router, c, id, ping); err != nil {
			return nil, err
		}
		metrics = append(metrics, roomMetrics(h.rooms)...)
	}
	if c.Web != nil {
		metrics = append(metrics, newMetric("allium_up", "1 where Tor, and the link to the host for each domain, are usable.", "what", prometheus.GaugeValue, h.ups))
		h.web = newWeb(c.Web.Listen, h.ready, metrics...)
	}
	return h, nil
}

// openGateway makes what federates with peers.
func (h *house) openGateway(router *component.Router, c *config, id *onionroute.Identity, ping string) error {
	h.tor = onionroute.NewTor(c.torSettings())
	settings := c.gatewaySettings(id)
	if c.Federation.Native && c.Federation.Domain == "" {
		if err := h.attachPeers(router, c, ping); err != nil {
			return err
		}
		settings.Attached = h.pool.Has
		settings.Wanted = func(domain string) {
			if err := h.pool.Want(domain); err != nil {
				slog.Warn("a domain cannot be attached to the host: are there too many?", "peer", domain)
				slog.Debug("a domain cannot be attached to the host", "error", err)
			}
		}
	}
	g, service, err := h.openKeys(c, id, settings, router)
	if err != nil {
		return err
	}
	c.useKeys(h.tor, id, g.Ports())
	h.tor.OnUp(g.TryAgain)
	for _, a := range c.Alias {
		if err := h.attach(router, c, a.Domain, a.Secret, ping, service); err != nil {
			return err
		}
	}
	link, err := component.NewLink(component.LinkConfig{Server: c.Host.Server, Domain: c.gateway(id), Secret: c.Federation.Secret, PingTo: ping,
		OnUp: func() { h.keys.Recheck(); g.Recheck() }}, router)
	if err != nil {
		return err
	}
	h.take(router, link, c.gateway(id), service)
	if c.Federation.Native {
		router.Otherwise(func(domain string) component.Handler {
			if g.Reaches(domain) {
				return service
			}
			return nil
		})
		if h.pool == nil {
			router.AttachOthers(link)
		}
	}
	return nil
}

// attachPeers makes the domain of each peer one that is attached to the host: those that
// are configured at once, and the others when they are heard of.
func (h *house) attachPeers(r *component.Router, c *config, ping string) (err error) {
	h.pool, err = component.NewPool(component.LinkConfig{Server: c.Host.Server, Secret: c.Federation.Secret, PingTo: ping, Label: "peer"}, r,
		filepath.Join(c.StateDir, "attached"))
	if err != nil {
		return err
	}
	r.AttachOthers(h.pool)
	for _, p := range c.Peer {
		if p.Allow != nil && !*p.Allow {
			continue
		}
		for _, domain := range []string{p.Onion, p.Domain} {
			if domain == "" {
				continue
			}
			if err := h.pool.Keep(domain); err != nil {
				return err
			}
		}
	}
	return nil
}

// attach makes a service the handler of a domain, and a link for the domain.
func (h *house) attach(r *component.Router, c *config, domain, secret, ping string, service component.Handler) error {
	link, err := component.NewLink(component.LinkConfig{Server: c.Host.Server, Domain: domain, Secret: secret, PingTo: ping}, r)
	if err != nil {
		return err
	}
	h.take(r, link, domain, service)
	return nil
}

func (h *house) take(r *component.Router, link *component.Link, domain string, service component.Handler) {
	r.Handle(domain, service)
	r.Attach(domain, link)
	h.links = append(h.links, link)
}

// run runs all parts. At the end they stop in the order in which data leaves the
// house: what the host sent still goes out to peers, what they answer to the host,
// and Tor ends last.
func (h *house) run(ctx context.Context) error {
	var failed error
	ctx, fail := context.WithCancelCause(ctx)
	rooms := newStage() // they say good-bye, and that still has to get out
	stages := []*stage{rooms, newStage(), newStage(), newStage()}
	start := func(s *stage, run func(context.Context) error) {
		s.wg.Go(func() {
			if err := run(s.ctx); err != nil {
				fail(err)
			}
		})
	}
	if h.gateway != nil {
		start(stages[3], h.tor.Run)
		start(stages[1], h.gateway.Run)
	}
	if h.rooms != nil {
		start(rooms, h.rooms.Run)
	}
	for _, l := range h.links {
		start(stages[2], l.Run)
	}
	if h.web != nil {
		start(stages[0], h.web.run)
	}
	if h.pool != nil {
		start(stages[2], h.pool.Run)
	}
	go h.announce(ctx)
	go giveBackMemory(ctx)
	go fitProcessors(ctx)

	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		failed = err
	}
	slog.Info("allium stops")
	for _, s := range stages {
		s.stop()
		s.wg.Wait()
	}
	return errors.Join(failed, h.close())
}

// close ends what keeps files open, when nothing comes in any more.
func (h *house) close() error {
	var errs []error
	if h.gateway != nil {
		errs = append(errs, h.gateway.Close())
	}
	if h.keys != nil {
		errs = append(errs, h.keys.Close())
	}
	if h.device != nil {
		errs = append(errs, h.device.Close())
	}
	if h.store != nil {
		errs = append(errs, h.store.Close())
	}
	return errors.Join(errs...)
}

// ready is nil if stanzas can go both ways, and otherwise why they cannot.
func (h *house) ready() error {
	var errs []error
	if h.tor != nil {
		errs = append(errs, h.tor.Err(), h.tor.Unpublished())
	}
	for _, l := range h.links {
		errs = append(errs, l.Err())
	}
	return errors.Join(errs...)
}

// ups is what is usable, and what is not.
func (h *house) ups() map[string]uint64 {
	ups := map[string]uint64{}
	note := func(what string, err error) {
		ups[what] = 0
		if err == nil {
			ups[what] = 1
		}
	}
	if h.tor != nil {
		note("tor", h.tor.Err())
	}
	for _, l := range h.links {
		note(l.Domain(), l.Err())
	}
	return ups
}

// announce says when all links are up, and Tor.
func (h *house) announce(ctx context.Context) {
	ups := []<-chan struct{}{}
	for _, l := range h.links {
		ups = append(ups, l.Up())
	}
	if h.tor != nil {
		ups = append(ups, h.tor.Up())
	}
	for _, up := range ups {
		select {
		case <-up:
		case <-ctx.Done():
			return
		}
	}
	slog.Info("ready: attached to the host" + map[bool]string{true: ", and Tor is up"}[h.tor != nil])
}

// A stage is what stops together.
type stage struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func newStage() *stage {
	s := &stage{}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}
