package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
