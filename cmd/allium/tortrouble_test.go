package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/onionroute"
)

// A tor that does not come up says why in the log, once, and where readiness is asked for.
func TestTorTrouble(t *testing.T) {
	net := torNetwork(t)
	program := func(t *testing.T, text string) string {
		file := filepath.Join(t.TempDir(), "tor")
		require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
		return file
	}
	broken := filepath.Join(t.TempDir(), "torrc")
	require.NoError(t, os.WriteFile(broken, []byte("Bridge nonsense\nUseBridges 1\n"), 0o600))
	for _, c := range []struct {
		name   string
		config onionroute.TorConfig
		says   []string
	}{
		{"no program", onionroute.TorConfig{Binary: "/none/tor"}, []string{"/none/tor: no such file or directory: install the package tor, or say in tor.binary where it is"}},
		{"configuration", onionroute.TorConfig{Torrc: broken}, []string{"Too few items to Bridge line", "Failed to parse/validate config"}},
		{"clock", onionroute.TorConfig{Binary: program(t, `exec faketime -f -5d tor "$@"`), Torrc: net.Torrc()}, []string{"the clock of this machine is wrong", "by_about="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "tor")
			require.NoError(t, err)
			defer os.RemoveAll(dir)
			log := &lockedBuffer{}
			c.config.Dir, c.config.Log = dir, slog.New(slog.NewTextHandler(log, nil))
			tor := onionroute.NewTor(c.config)
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- tor.Run(ctx) }()
			for _, what := range c.says {
				require.Eventually(t, func() bool { return strings.Contains(log.String(), what) }, 2*time.Minute, 50*time.Millisecond, "%s: %s", what, log)
			}
			require.Error(t, tor.Err())
			time.Sleep(3 * time.Second) // it tries again
			stop()
			require.NoError(t, <-ended)
			require.Equal(t, 1, strings.Count(log.String(), c.says[0]), "%s", log)
			t.Log(log)
		})
	}
}

// A tor that hangs is noticed, though it closes nothing: ours is started again, and another
// one is used again when it goes on.
func TestTorHangs(t *testing.T) {
	net := torNetwork(t)
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprintf("own=%t", own), func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "tor")
			require.NoError(t, err)
			defer os.RemoveAll(dir)
			log := &lockedBuffer{}
			config := onionroute.TorConfig{Dir: dir, Patience: 2 * time.Second, Log: slog.New(slog.NewTextHandler(log, nil))}
			data := filepath.Join(dir, "data")
			if own {
				config.Torrc = net.Torrc()
			} else {
				n := &node{dir: dir}
				n.runTor(t, net)
				config.Control, data = "unix:"+n.control, filepath.Join(dir, "tor", "data")
			}
			tor := onionroute.NewTor(config)
			runUp(t, tor)
			pid := processWith(t, data)
			require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
			defer syscall.Kill(pid, syscall.SIGCONT)
			require.Eventually(t, func() bool { return tor.Err() != nil }, time.Minute, 10*time.Millisecond)
			require.ErrorContains(t, tor.Err(), "tor runs, and has not answered for 2s")
			require.Contains(t, log.String(), "no Tor, will keep trying")
			if !own {
				require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
			}
			require.Eventually(t, func() bool { return tor.Err() == nil }, time.Minute, 10*time.Millisecond, "%s", log)
		})
	}
}
