package tornet

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// node is one relay with its tor process.
type node struct {
	name string
	dir  string

	// orPort is where others connect to. It is 0 if tor is to pick it.
	orPort, dirPort int
	door            *delayer // that orPort belongs to; nil if it is tor's own
	// held keeps the ports from other programs until tor takes them.
	held []net.Listener

	// An authority has all of these, other nodes none.
	authority   bool
	fingerprint string // of the identity as relay, in hex
	v3ident     string // of the identity as authority, in hex

	cmd      *exec.Cmd
	exited   chan struct{} // closed when the process has ended; nil before start
	reloaded time.Time     // when reload was last called
}

func (n *node) logFile() string { return filepath.Join(n.dir, "tor.log") }

// start starts the node's tor process. The file defaults holds the options that
// all nodes have in common.
func (n *node) start(tor, defaults string) error {
	log, err := os.Create(n.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	// Paths are given here because they need no quoting, unlike in a torrc.
	cmd := exec.Command(tor,
		"--defaults-torrc", defaults,
		"-f", filepath.Join(n.dir, "torrc"),
		"--DataDirectory", n.dir,
		"--Log", "notice stdout",
		// Tor ends by itself, within 15 seconds, when this process is gone.
		"--__OwningControllerProcess", fmt.Sprint(os.Getpid()))
	cmd.Dir = n.dir
	cmd.Stdout, cmd.Stderr = log, log
	detach(cmd)
	n.release()
	if err := cmd.Start(); err != nil {
		return err
	}
	n.cmd, n.exited = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(n.exited)
	}()
	return nil
}

// release gives up the ports that are held for the node.
func (n *node) release() {
	for _, l := range n.held {
		_ = l.Close()
	}
	n.held = nil
}

// signal sends a signal to the node's process. A process that has ended is no
// error; hasExited tells of it.
func (n *node) signal(sig os.Signal) error {
	if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	return nil
}

// reload makes the node read its configuration again, and forget that it asked
// for a consensus in vain and wait ever longer between two attempts: it asks
// again at once.
func (n *node) reload() error {
	n.reloaded = time.Now()
	return n.signal(syscall.SIGHUP)
}

func (n *node) hasExited() bool {
	select {
	case <-n.exited:
		return true
	default:
		return false
	}
}

// logTail names the log file and quotes the last warnings and errors in it, or
// the last lines if there are none.
func (n *node) logTail() string {
	const lines = 3
	data, err := os.ReadFile(n.logFile())
	if err != nil {
		return err.Error()
	}
	var all, bad []string
	for line := range bytes.Lines(data) {
		s := string(bytes.TrimSpace(line))
		if s == "" {
			continue
		}
		all = append(all, s)
		if strings.Contains(s, "[warn]") || strings.Contains(s, "[err]") {
			bad = append(bad, s)
		}
	}
	if len(bad) == 0 {
		bad = all
	}
	return n.logFile() + ": " + strings.Join(bad[max(0, len(bad)-lines):], " | ")
}

// stop ends the processes of nodes, all at once, and waits for them.
func stop(nodes []*node) error {
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for _, n := range nodes {
		n.release()
		if n.door != nil {
			wg.Go(n.door.close)
		}
		if n.exited == nil {
			continue
		}
		wg.Go(func() {
			if err := n.stop(); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stop ends the node's process and waits for it.
func (n *node) stop() error {
	err := n.signal(syscall.SIGTERM)
	select {
	case <-n.exited:
		return err
	case <-time.After(stopGrace):
	}
	err = errors.Join(err, n.signal(syscall.SIGKILL))
	<-n.exited
	return err
}
