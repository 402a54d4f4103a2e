package onionroute

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/cretz/bine/control"
)

// The times of a Tor.
var (
	torStartTimeout = 20 * time.Second // until the control socket answers
	torPollInterval = 300 * time.Millisecond
	torStopTimeout  = 5 * time.Second
	torRetryMin     = time.Second
	torRetryMax     = time.Minute
	torRetryRunning = time.Second      // with a tor that others start: to look for it costs nothing
	publishTimeout  = 20 * time.Second // first upload of a descriptor; it goes on without
	fetchTimeout    = 10 * time.Second // one HSFETCH
	fetchNext       = time.Second      // until tor asks the next directory, which it does at once
	torStallTold    = time.Minute      // without progress of its start
)

// TorConfig says which tor is used.
type TorConfig struct {
	// Dir is a folder for a tor of our own: its data, its sockets. The path of a
	// Unix socket has at most 107 octets, so it must not be long.
	Dir string
	// Binary is the tor to start; default "tor" from PATH.
	Binary string
	// Torrc is a file with more configuration for it, such as bridges.
	Torrc string
	// Control is the control socket of a running tor, which is then used instead:
	// unix:/path or host:port. Authentication is by cookie or none, or by Password.
	Control  string
	Password string
	// Patience is how often tor is asked if it is there, and how long it may take for an
	// answer; default 30 s.
	Patience time.Duration

	Log *slog.Logger // default slog.Default()
}

// A Tor is the one way to the network. Run starts a tor or attaches to a running one,
// notices when it is gone, and mends that; what was published is published again.
// All methods are safe for concurrent use.
type Tor struct {
	c   TorConfig
	log *slog.Logger

	mu       sync.Mutex
	up       chan struct{} // closed while Tor is usable
	isUp     bool
	upload   chan struct{} // closed when a descriptor is not waited for any more; nil: it is not
	err      error
	ctl      *controlConn
	socks    net.Addr
	shared   error // see Shared
	services []service
	keys     map[string]AuthKey              // private onion service → our key for it
	failed   chan error                      // has room for one
	uploaded map[string]bool                 // onion name → a descriptor was uploaded
	starting string                          // how far tor is with its start, for Err
	warned   string                          // what tor said last that may be why it does not go on
	skewed   bool                            // a wrong clock has been told of
	fetches  map[string]map[chan string]bool // onion name → who wants its descriptor, and is told what becomes of it
	wake     []func()
}

// NewTor makes a Tor. It does nothing until Run.
func NewTor(c TorConfig) *Tor {
	if c.Binary == "" {
		c.Binary = "tor"
	}
	if c.Patience == 0 {
		c.Patience = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Tor{c: c, log: c.Log, up: make(chan struct{}), failed: make(chan error, 1), keys: map[string]AuthKey{}, uploaded: map[string]bool{},
		fetches: map[string]map[chan string]bool{}}
}

// OnUp makes f be called each time that Tor becomes usable: when onion services can be
// connected to, and once more when ours can be found. Call it before Run.
func (t *Tor) OnUp(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wake = append(t.wake, f)
}

// Up is closed while Tor is usable. After Tor was down it is another channel.
func (t *Tor) Up() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.up
}

// Err is nil while Tor is usable, and otherwise why it is not.
func (t *Tor) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isUp {
		return nil
	}
	if t.err == nil {
		return fmt.Errorf("onionroute: tor is not ready yet%s", t.starting)
	}
	return t.err
}

// Unpublished is an error while Tor is usable, and no descriptor of an onion service of
// ours has been uploaded since: nobody finds it then.
func (t *Tor) Unpublished() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isUp {
		return nil
	}
	for _, s := range t.services {
		if !t.uploaded[s.id.Name()] {
			return errUnpublished
		}
	}
	return nil
}

var errUnpublished = errors.New("onionroute: the onion service is not published yet, and nobody can reach this server: is the clock right, and is the same key used by another Allium or tor?")

// Failed gives the first error that made Tor unusable, for those who do not want to wait
// until it is mended.
func (t *Tor) Failed() <-chan error { return t.failed }

// Published tells if a descriptor of the onion service has been uploaded since Tor
// is up.
func (t *Tor) Published(onion string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.uploaded[onion]
}

// Run keeps Tor usable until ctx is done, then ends a tor of our own, and returns
// nil.
func (t *Tor) Run(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = torRetryMin, torRetryMax
	if t.c.Control != "" {
		retry.MaxInterval = torRetryRunning
	}
	told := ""
	for {
		began := time.Now()
		err := t.session(ctx)
		wasUp := t.Err() == nil
		t.setDown(err)
		if ctx.Err() != nil {
			return nil
		}
		select {
		case t.failed <- err:
		default:
		}
		if wasUp {
			told = ""
		}
		if time.Since(began) > torRetryMax {
			retry.Reset()
		}
		wait := retry.NextBackOff()
		if text := err.Error(); text != told {
			told = text
			t.log.Warn("no Tor, will keep trying", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// session is the time from the start of a tor to its end.
func (t *Tor) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	network, addr := "unix", t.c.Control
	if t.c.Control == "" {
		stop, err := t.startProcess(cancel)
		if err != nil {
			return err
		}
		defer stop()
		addr = t.path("control")
	} else if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		addr = path
	} else {
		network = "tcp"
	}

	// One connection is for commands, and holds the onion services; the other is for
	// events, since bine cannot wait for an event and send a command on the same one.
	ctl, err := t.control(ctx, network, addr)
	if err != nil {
		return err
	}
	events, err := t.control(ctx, network, addr)
	if err != nil {
		return err
	}
	if err := t.watch(events, cancel); err != nil {
		return err
	}
	if t.c.Control == "" {
		// It ends when this connection does, even if we are killed.
		if err := ctl.do(func(c *control.Conn) error { _, err := c.SendRequest("TAKEOWNERSHIP"); return err }); err != nil {
			return err
		}
	}
	socks, shared, err := t.findSocks(ctl)
	if err != nil {
		return err
	}
	if shared != nil {
		t.log.Warn("Tor does not keep connections apart", "error", shared)
	}
	if err := t.bootstrap(ctx, ctl); err != nil {
		return err
	}
	if err := t.publish(ctl); err != nil {
		return err
	}
	// Who knows us by our chain does not have to find us, and is connected to meanwhile.
	t.setConnected(ctl, socks, shared)
	if err := t.awaitPublished(ctx); err != nil {
		return err
	}
	t.setUp()
	t.log.Info("Tor is up")
	if err := t.Unpublished(); err != nil {
		t.log.Warn("Tor is up, and goes on trying", "error", err)
	}
	return t.attend(ctx, ctl)
}

func (t *Tor) path(name string) string { return filepath.Join(t.c.Dir, name) }

// bootstrap waits until tor can use the network, and logs how far it is.
func (t *Tor) bootstrap(ctx context.Context, ctl *controlConn) error {
	last, since, told := -1, time.Now(), false
	for {
		v, err := ctl.getInfo("status/bootstrap-phase")
		if err != nil {
			return err
		}
		progress, summary := 0, ""
		if _, rest, ok := strings.Cut(v, "PROGRESS="); ok {
			fmt.Sscanf(rest, "%d", &progress)
		}
		if _, rest, ok := strings.Cut(v, `SUMMARY="`); ok {
			summary, _, _ = strings.Cut(rest, `"`)
		}
		if progress != last {
			last, since, told = progress, time.Now(), false
			t.log.Info("Tor starts", "percent", progress, "doing", summary)
			t.mu.Lock()
			t.starting = fmt.Sprintf(": it is at %d %%, %s", progress, summary)
			t.mu.Unlock()
		}
		if !told && time.Since(since) > torStallTold {
			told = true
			t.stalled(progress, summary)
		}
		if progress == 100 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(torPollInterval):
		}
	}
}

// stalled tells that tor does not go on with its start.
func (t *Tor) stalled(progress int, summary string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log.Warn("Tor does not get further: is this machine connected, and its clock right? Where Tor is blocked, tor.torrc has bridges",
		"percent", progress, "doing", summary, "tor_said", t.warned)
}

// watch reads events, and calls gone when the connection ends.
func (t *Tor) watch(cc *controlConn, gone context.CancelCauseFunc) error {
	ch := make(chan control.Event, 100)
	if err := cc.do(func(c *control.Conn) error {
		return c.AddEventListener(ch, control.EventCodeHSDesc, control.EventCodeStatusGeneral)
	}); err != nil {
		return err
	}
	go func() {
		// Not HandleEvents: its goroutine goes on when it has returned.
		var err error
		for err == nil {
			err = cc.c.HandleNextEvent()
		}
		gone(fmt.Errorf("onionroute: lost the connection to tor: %w", err))
		close(ch)
	}()
	go func() {
		for e := range ch {
			switch e := e.(type) {
			case *control.HSDescEvent:
				t.descriptor(e.Address+".onion", e.Action)
			case *control.StatusEvent:
				t.status(e)
			}
		}
	}()
	return nil
}

// status takes note of what tor tells of its own state (Tor's control-spec §4.1.10).
func (t *Tor) status(e *control.StatusEvent) {
	if e.Action != "CLOCK_SKEW" || e.Severity == "NOTICE" {
		return
	}
	seconds, _ := strconv.Atoi(e.Arguments["SKEW"])
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.skewed {
		t.skewed = true
		t.log.Warn("the clock of this machine is wrong, and Tor may not work until it is set", "by_about", (time.Duration(seconds) * time.Second).Abs())
	}
}

func (t *Tor) setConnected(ctl *controlConn, socks net.Addr, shared error) {
	t.mu.Lock()
	t.endUpload()
	t.ctl, t.socks, t.shared, t.upload = ctl, socks, shared, make(chan struct{})
	t.mu.Unlock()
	t.wakeAll()
}

func (t *Tor) setUp() {
	t.mu.Lock()
	t.isUp, t.err = true, nil
	t.endUpload()
	t.starting, t.warned, t.skewed = "", "", false
	close(t.up)
	t.mu.Unlock()
	t.wakeAll()
}

func (t *Tor) wakeAll() {
	t.mu.Lock()
	wake := t.wake
	t.mu.Unlock()
	for _, f := range wake {
		f()
	}
}

// Findable waits until a descriptor of our onion service has been uploaded, unless that
// takes too long, or there is no Tor to do it.
func (t *Tor) Findable(ctx context.Context) {
	t.mu.Lock()
	upload := t.upload
	t.mu.Unlock()
	if upload == nil {
		return
	}
	select {
	case <-upload:
	case <-ctx.Done():
	}
}

// endUpload ends the wait for the upload of a descriptor. t.mu is held.
func (t *Tor) endUpload() {
	if t.upload != nil {
		close(t.upload)
		t.upload = nil
	}
}

func (t *Tor) setDown(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isUp {
		t.up = make(chan struct{})
	}
	t.endUpload()
	clear(t.uploaded)
	t.isUp, t.err, t.ctl, t.socks = false, err, nil, nil
}
