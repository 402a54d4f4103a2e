package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// checkedConfig is a configuration with its key, and with a lock as if Allium ran: so there
// is no question of the host.
func checkedConfig(t *testing.T, more string) (file string, c *config) {
	dir, err := os.MkdirTemp("", "check") // sockets have short names
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	file = filepath.Join(dir, "allium.toml")
	require.NoError(t, os.WriteFile(file, []byte(minimal+more), 0o600))
	c, err = loadConfig(file)
	require.NoError(t, err)
	_, _, err = c.makeIdentity()
	require.NoError(t, err)
	unlock, err := c.lock()
	require.NoError(t, err)
	t.Cleanup(unlock)
	return file, c
}

// Where nobody finds the onion service, check says what to do.
func TestCheckNobodyFinds(t *testing.T) {
	was := checkReachTimeout
	checkReachTimeout = 5 * time.Second
	defer func() { checkReachTimeout = was }()
	file, c := checkedConfig(t, "[tor]\ntorrc = \""+torNetwork(t).Torrc()+"\"\n")
	id, err := c.identity()
	require.NoError(t, err)
	out, err := runAllium(deadline(t, 2*time.Minute), "check", "--config", file)
	assert.ErrorIs(t, err, errTold)
	assert.Contains(t, out, "FAILED  reachable from outside as "+id.Name()+"\n        nobody finds the service (")
	assert.Contains(t, out, "the descriptor cannot be found", "and tor's own reason")
	assert.Contains(t, out, "Tor starts", "how far it is")
}

// What is wrong with tor, and with the pages, is found without the network too, and told once.
func TestCheckTorConfiguration(t *testing.T) {
	torrc := filepath.Join(t.TempDir(), "torrc")
	require.NoError(t, os.WriteFile(torrc, []byte("Brigde 127.0.0.1:1\n"), 0o600))
	file, _ := checkedConfig(t, "[tor]\ntorrc = \""+torrc+"\"\n")
	for _, more := range [][]string{{"--offline"}, nil} {
		out, err := runAllium(deadline(t, time.Minute), append([]string{"check", "--config", file}, more...)...)
		assert.ErrorIs(t, err, errTold)
		assert.Contains(t, out, "FAILED  tor's program and its configuration\n        onionroute: tor does not take "+torrc)
		assert.Equal(t, 1, strings.Count(out, "Unknown option 'Brigde'"), out)
	}
	file, _ = checkedConfig(t, "[tor]\nbinary = \"/none/tor\"\n")
	out, err := runAllium(deadline(t, time.Minute), "check", "--config", file, "--offline")
	assert.ErrorIs(t, err, errTold)
	assert.Contains(t, out, "/none/tor: no such file or directory: install the package tor, or say in tor.binary where it is")

	// It is right, and tor does not start all the same.
	program := filepath.Join(t.TempDir(), "tor")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho 'Jan 01 00:00:00.000 [err] no room on the moon'\nexit 1\n"), 0o755))
	file, _ = checkedConfig(t, "[tor]\nbinary = \""+program+"\"\n")
	out, err = runAllium(deadline(t, time.Minute), "check", "--config", file)
	assert.ErrorIs(t, err, errTold)
	assert.Equal(t, 1, strings.Count(out, "no room on the moon"), out)
}

// A port for the pages that is taken is told of before Allium runs.
func TestCheckPages(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	file := writeConfig(t, minimal+"[web]\nlisten = \""+l.Addr().String()+"\"\n")
	c, err := loadConfig(file)
	require.NoError(t, err)
	_, _, err = c.makeIdentity()
	require.NoError(t, err)
	check := func() string {
		out, err := runAllium(deadline(t, time.Minute), "check", "--config", file, "--offline")
		assert.ErrorIs(t, err, errTold, "there is no host")
		return out
	}
	out := check()
	assert.Contains(t, out, "FAILED  pages at "+l.Addr().String())
	assert.Contains(t, out, "choose another one in web.listen")
	require.NoError(t, l.Close())
	assert.Contains(t, check(), "ok      pages at "+l.Addr().String())
}

// A mistake in the configuration has the exit code that it has for run. A state folder that
// cannot be used is told of once, and not with all that is in it.
func TestCheckFirstThings(t *testing.T) {
	_, _, code := run(t, "check", "--config", writeConfig(t, "x = 1"))
	assert.Equal(t, exitConfig, code)

	state := t.TempDir()
	require.NoError(t, unix.Mount("state", state, "tmpfs", 0, "size=1m,mode=700"))
	defer unix.Unmount(state, 0)
	file := writeConfig(t, strings.Replace(minimal, `"state"`, `"`+state+`"`, 1))
	c, err := loadConfig(file)
	require.NoError(t, err)
	_, _, err = c.makeIdentity()
	require.NoError(t, err)
	require.NoError(t, unix.Mount("state", state, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "size=1m,mode=700"))
	none := writeConfig(t, strings.NewReplacer(`"state"`, `"/proc/none"`, "[federation]", "[muc]").Replace(minimal))
	wrong := writeConfig(t, minimal)
	for file, says := range map[string]string{file: "cannot be written to: read-only file system", none: "state_dir /proc/none cannot be made",
		wrong: "no key file: " + filepath.Join(filepath.Dir(wrong), "state")} {
		stdout, _, code := run(t, "check", "--config", file, "--offline")
		assert.Equal(t, 1, code)
		assert.Contains(t, stdout, says)
		assert.Equal(t, 1, strings.Count(stdout, "FAILED"), stdout)
		_, stderr, code := run(t, "run", "--config", file)
		assert.Equal(t, exitConfig, code)
		assert.Contains(t, stderr, says)
	}
	assert.NoDirExists(t, filepath.Join(filepath.Dir(wrong), "state"))
}

// What keeps check from passing would keep Allium from running, and the other way round: the
// mode of a file in a folder that is closed to others does not.
func TestCheckModes(t *testing.T) {
	file, c := checkedConfig(t, "")
	require.NoError(t, os.WriteFile(c.keysFile(), nil, 0o644))
	out, err := runAllium(deadline(t, time.Minute), "check", "--config", file, "--offline")
	require.NoError(t, err, out)
	assert.Contains(t, out, "note    "+c.keysFile()+" can be read by others (mode 0644)")
}
