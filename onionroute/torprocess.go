package onionroute

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startProcess starts a tor of our own. When it ends by itself, gone is called.
func (t *Tor) startProcess(gone context.CancelCauseFunc) (stop func(), err error) {
	if err := os.MkdirAll(t.path("data"), 0o700); err != nil {
		return nil, fmt.Errorf("onionroute: tor's folder: %w", err)
	}
	if n := len(t.path("control")); n > 107 {
		return nil, fmt.Errorf("onionroute: %s is %d octets long, a socket's path can have 107: use a shorter state_dir", t.path("control"), n)
	}
	os.Remove(t.path("control"))
	torrc := t.c.Torrc
	if torrc == "" {
		// Not the one of a tor that runs for something else. An empty file, since tor
		// reads regular files only.
		torrc = t.path("torrc")
		if err := os.WriteFile(torrc, nil, 0o600); err != nil {
			return nil, fmt.Errorf("onionroute: tor's folder: %w", err)
		}
	}
	cmd := exec.Command(t.c.Binary, "-f", torrc, "--defaults-torrc", os.DevNull,
		"--DataDirectory", t.path("data"),
		"--ControlPort", "0", "--ControlSocket", t.path("control"), "--CookieAuthentication", "1",
		"--CookieAuthFile", t.path("cookie"),
		// The last line of defence: through this socket nothing but onion services
		// can be reached, whatever is asked of it.
		"--SocksPort", fmt.Sprintf("unix:%q OnionTrafficOnly IsolateSOCKSAuth ExtendedErrors", t.path("socks")),
		"--__OwningControllerProcess", strconv.Itoa(os.Getpid()),
		"--Log", "notice stdout", "--SafeLogging", "1", "--RunAsDaemon", "0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us; we end it
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("onionroute: start tor: %w", err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, t.cannotStart(err)
	}
	ended := make(chan struct{})
	go func() {
		said := t.relayLog(out)
		err := cmd.Wait()
		gone(fmt.Errorf("onionroute: tor ended: %v; it last said: %s", err, said))
		close(ended)
	}()
	return func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(torStopTimeout):
			cmd.Process.Kill()
			<-ended
		}
	}, nil
}

func (t *Tor) cannotStart(err error) error {
	return fmt.Errorf("onionroute: tor cannot be started: %s: %w: install the package tor, or say in tor.binary where it is", t.c.Binary, cause(err))
}

// CheckTor tells if there is the tor to start, and if it takes its configuration. It starts
// no Tor: nothing is connected to, or written.
func CheckTor(ctx context.Context, c TorConfig) error {
	t := NewTor(c)
	if _, err := exec.LookPath(t.c.Binary); err != nil {
		return t.cannotStart(err)
	}
	if t.c.Torrc == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, t.c.Binary, "--verify-config", "-f", t.c.Torrc, "--defaults-torrc", os.DevNull, "--DataDirectory", t.path("data"))
	said, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("onionroute: tor does not take %s: %s", t.c.Torrc, t.relayLog(bytes.NewReader(said)))
	}
	return nil
}

// cause is an error without what was done to which file.
func cause(err error) error {
	if e := new(os.PathError); errors.As(err, &e) {
		return e.Err
	}
	if e := new(exec.Error); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// relayLog relays what tor says to our log at debug level, and returns the end of it, from
// the first of the last warnings on: that is where tor says what is wrong with its
// configuration.
func (t *Tor) relayLog(r io.Reader) string {
	sc := bufio.NewScanner(r)
	var warnings []string
	last := ""
	for sc.Scan() {
		line := sc.Text()
		i := strings.IndexByte(line, '[')
		if i < 0 {
			continue
		}
		last = line[i:]
		t.log.Debug("tor", "says", last)
		if strings.HasPrefix(last, "[warn]") || strings.HasPrefix(last, "[err]") {
			warnings = append(warnings, last)
			warnings = warnings[max(0, len(warnings)-maxWarnings):]
			t.mu.Lock()
			t.warned = last
			t.mu.Unlock()
		}
	}
	io.Copy(io.Discard, r)
	if len(warnings) > 0 {
		return strings.Join(warnings, " ")
	}
	return last
}

const maxWarnings = 5 // of a tor that ended
