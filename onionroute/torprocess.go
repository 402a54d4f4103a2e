package onionroute

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
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
		return nil, fmt.Errorf("onionroute: start tor: %w (is the package tor installed?)", err)
	}
	ended := make(chan struct{})
	go func() {
		last := t.relayLog(out)
		err := cmd.Wait()
		gone(fmt.Errorf("onionroute: tor ended: %v; it last said: %s", err, last))
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

// relayLog logs what tor says, errors as warnings, and returns the last of it, with the
// last warning: that is where tor says what is wrong with its configuration.
func (t *Tor) relayLog(r io.Reader) (last string) {
	sc, warning := bufio.NewScanner(r), ""
	for sc.Scan() {
		line := sc.Text()
		i := strings.IndexByte(line, '[')
		if i < 0 {
			continue
		}
		last = line[i:]
		level := slog.LevelDebug
		switch {
		case strings.HasPrefix(last, "[err]"):
			level = slog.LevelWarn
		case strings.HasPrefix(last, "[warn]"):
			warning = last
		}
		t.log.Log(context.Background(), level, "tor", "says", last)
	}
	io.Copy(io.Discard, r)
	if warning != "" && warning != last {
		return warning + " " + last
	}
	return last
}
