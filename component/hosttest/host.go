package hosttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	startTimeout = time.Minute           // for a start whose context has no deadline
	pollInterval = 10 * time.Millisecond // between two looks at a starting server
)

// Host is a running server. Its methods are safe for concurrent use; Start,
// Stop and Kill wait for each other.
//
// When the process that started a server dies without stopping it, Linux kills
// the server.
type Host struct {
	kind    string
	dir     string
	argv    []string
	env     []string // added to the environment of this process
	logFile string

	domain          string // one that is served, to ask for in probes
	componentDomain string
	client          *port
	component, s2s  *port // nil when not served

	// readyFile is written by the server when all is set up. It is "" for a
	// server whose open ports say that already.
	readyFile string

	stopTimeout time.Duration // from SIGTERM to SIGKILL

	op       sync.Mutex // held by Start, Stop and Kill
	proc     atomic.Pointer[process]
	logStart int64 // size of the log when the process was started
}

// newHost makes a Host with fresh ports for what c asks for; c is checked.
func newHost(kind, dir string, c Config) (*Host, error) {
	h := &Host{
		kind:        kind,
		dir:         dir,
		logFile:     filepath.Join(dir, "server.log"),
		domain:      c.Domains[0],
		stopTimeout: 10 * time.Second,
	}
	var err error
	if h.client, err = freePort(); err != nil {
		return nil, err
	}
	for h.componentDomain = range c.Components {
		if h.component, err = freePort(); err != nil {
			return nil, err
		}
		break // any of them will do for probes
	}
	if c.S2S {
		if h.s2s, err = freePort(); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// ClientAddr is the address for XMPP clients (RFC 6120), as 127.0.0.1:port.
// TLS is not offered; SCRAM and PLAIN are.
func (h *Host) ClientAddr() string { return h.client.addr() }

// ComponentAddr is the address for external components (XEP-0114), as
// 127.0.0.1:port. It is "" if Config.Components is empty.
func (h *Host) ComponentAddr() string { return h.component.addr() }

// S2SAddr is the address for other servers, as 127.0.0.1:port. It is "" unless
// Config.S2S is set.
func (h *Host) S2SAddr() string { return h.s2s.addr() }

// Kind is "prosody" or "ejabberd".
func (h *Host) Kind() string { return h.kind }

// LogFile is the path of the server's log. Later starts append to it.
func (h *Host) LogFile() string { return h.logFile }

// PID is the process id of the server, 0 while it is not running.
func (h *Host) PID() int {
	if p := h.proc.Load(); p != nil && !p.ended() {
		return p.pid
	}
	return 0
}

// Start starts the server again after Stop or Kill, with the same ports, data
// and accounts. It returns when clients and components are accepted. ctx
// bounds the start (one minute if it has no deadline), not the life of the
// server. If Start fails, no process is left behind. Starting a server that
// runs is an error.
func (h *Host) Start(ctx context.Context) error {
	h.op.Lock()
	defer h.op.Unlock()
	if p := h.proc.Load(); p != nil && !p.ended() {
		return fmt.Errorf("hosttest: %s is running already", h.kind)
	}
	if err := h.start(ctx); err != nil {
		return fmt.Errorf("hosttest: start %s: %w", h.kind, err)
	}
	return nil
}

func (h *Host) start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if h.readyFile != "" {
		if err := os.Remove(h.readyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// What the server prints, such as a mistake in its configuration, belongs
	// into the log as well.
	out, err := os.OpenFile(h.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	h.logStart = fileSize(h.logFile)
	cmd := exec.Command(h.argv[0], h.argv[1:]...)
	cmd.Dir = h.dir
	// No tries are left to the resolver of the C library: it reads /etc/hosts,
	// but sends no DNS query. ejabberd would use it to look up the name of the
	// machine, and of other servers.
	cmd.Env = append(os.Environ(), "RES_OPTIONS=attempts:0")
	cmd.Env = append(cmd.Env, h.env...)
	cmd.Stdout, cmd.Stderr = out, out
	p, err := spawn(cmd)
	if err != nil {
		return err
	}
	h.proc.Store(p)
	if err := h.await(ctx, p); err != nil {
		_ = p.signal(syscall.SIGKILL)
		<-p.done
		h.proc.Store(nil)
		return h.withLog(err)
	}
	return nil
}

// await returns when the server is ready, has ended, or ctx is done.
func (h *Host) await(ctx context.Context, p *process) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, startTimeout)
		defer cancel()
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := h.ready(ctx)
		switch {
		case p.ended():
			return fmt.Errorf("the server ended: %v", p.state)
		case err == nil:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last try: %w", ctx.Err(), err)
		case <-p.done:
		case <-tick.C:
		}
	}
}

// ready returns nil if the server accepts connections on all its ports.
func (h *Host) ready(ctx context.Context) error {
	if h.readyFile != "" {
		if _, err := os.Stat(h.readyFile); err != nil {
			return err
		}
	}
	if err := probeClient(ctx, h.ClientAddr(), h.domain); err != nil {
		return err
	}
	if h.component != nil {
		if err := probeComponent(ctx, h.ComponentAddr(), h.componentDomain); err != nil {
			return err
		}
	}
	if h.s2s != nil {
		return probePort(ctx, h.S2SAddr())
	}
	return nil
}

// Stop stops the server cleanly with SIGTERM and waits for its end. After 10
// seconds it uses SIGKILL and says so in its error. Stopping a server that is
// stopped does nothing; if the server ended without being asked to, the first
// call returns an error.
func (h *Host) Stop() error { return h.end(syscall.SIGTERM) }

// Kill ends the server with SIGKILL, as a crash would, and waits for its end.
// What the server had not yet written to its data folder is lost. Otherwise
// Kill is like Stop.
func (h *Host) Kill() error { return h.end(syscall.SIGKILL) }

func (h *Host) end(sig syscall.Signal) error {
	h.op.Lock()
	defer h.op.Unlock()
	p := h.proc.Swap(nil)
	if p == nil {
		return nil
	}
	if p.ended() {
		return fmt.Errorf("hosttest: %w", h.withLog(fmt.Errorf("%s ended by itself: %v", h.kind, p.state)))
	}
	if err := p.signal(sig); err != nil {
		h.proc.Store(p)
		return fmt.Errorf("hosttest: stop %s: %w", h.kind, err)
	}
	for range 2 {
		select {
		case <-p.done:
			return nil
		case <-time.After(h.stopTimeout / 2):
			p.signal(sig) // an error of its own can keep Prosody 0.12 from ending when it is told for the first time
		}
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		h.proc.Store(p)
		return fmt.Errorf("hosttest: kill %s: %w", h.kind, err)
	}
	<-p.done
	return fmt.Errorf("hosttest: %w", h.withLog(fmt.Errorf("%s did not stop within %v and was killed", h.kind, h.stopTimeout)))
}

// withLog adds the place and the last errors of the log to err.
func (h *Host) withLog(err error) error {
	return fmt.Errorf("%w; log %s:\n%s", err, h.logFile, lastErrors(h.logFile, h.logStart))
}

// lookPath finds a program, or says which Debian package has it.
func lookPath(program, debianPackage string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%w (install the Debian package %q)", err, debianPackage)
	}
	return path, nil
}
