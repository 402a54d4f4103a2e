package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// run runs the real program, and gives what it wrote and its exit code.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		exit := new(exec.ExitError)
		require.ErrorAs(t, err, &exit)
		code = exit.ExitCode()
	}
	return out.String(), errs.String(), code
}

// Who asks in the usual ways gets help, and who errs hears what there is.
func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args, stdout, stderr string
		code                 int
	}{
		{"", "Usage: allium <command>", "", 0},
		{"help", "Usage: allium <command>", "", 0},
		{"help run", "Usage: allium run", "", 0},
		{"--version", "allium ", "", 0},
		{"wrong", "", "unexpected argument wrong (allium has the commands init, check, run", exitUsage},
		{"onion", "", "allium onion has the commands key; see allium onion --help", exitUsage},
		{"run --wrong", "", "unknown flag --wrong (see allium run --help)", exitUsage},
		{"init -c /none", "", "init: say --domain with", exitUsage},
		{"init -c /none --native", "", "init: with --native, say --host", exitUsage},
		{"init -c /none --native --host prosody --rooms r.example", "", "--rooms has no use", exitUsage},
		{"init -c /none --native --host prosody --gateway g.example", "", "--gateway has no use", exitUsage},
		{"init -c /none --domain Example.org", "", "is not a domain name in lower case", exitUsage},
		{"init -c /etc/passwd --domain example.org", "", "/etc/passwd:1: ", exitConfig},
	} {
		stdout, stderr, code := run(t, strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, c.args)
		assert.Contains(t, stdout, c.stdout, c.args)
		assert.Contains(t, stderr, c.stderr, c.args)
		if c.code == 0 {
			assert.Empty(t, stderr, c.args)
		}
	}
}

// What another user made in the state folder, Allium's user could not read: it is refused
// before anything is made there.
func TestStateOfAnotherUser(t *testing.T) {
	dir := "/etc" // root's, where the tests are not root's
	if st, err := os.Stat(dir); err != nil || owner(st) == os.Geteuid() {
		dir = t.TempDir()
		require.NoError(t, os.Chmod(dir, 0o700))
		require.NoError(t, os.Chown(dir, 54321, -1))
	}
	file := writeConfig(t, strings.Replace(minimal, `"state"`, `"`+dir+`"`, 1))
	before, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, command := range []string{"run", "check"} {
		stdout, stderr, code := run(t, command, "--config", file)
		assert.NotZero(t, code)
		assert.Contains(t, stdout+stderr, "run it as that user: sudo -u ")
	}
	assert.Equal(t, "chown -R "+userName(os.Geteuid())+" /state", asOwner(0, "chown -R", "/state"), "nobody should run it as root")
	after, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Equal(t, len(before), len(after))
}

// A second one says which is the first.
func TestSecondAllium(t *testing.T) {
	file := writeConfig(t, minimal)
	c, err := loadConfig(file)
	require.NoError(t, err)
	_, _, err = c.makeIdentity()
	require.NoError(t, err)
	unlock, err := c.lock()
	require.NoError(t, err)
	defer unlock()
	_, stderr, code := run(t, "run", "--config", file)
	assert.Equal(t, exitConfig, code)
	assert.Contains(t, stderr, c.StateDir)
	assert.Contains(t, stderr, "its process is "+strings.TrimSpace(readFile(t, filepath.Join(c.StateDir, "lock"))))
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// init makes nothing of what would be refused later, and tells of what it does not look at.
func TestInitRefuses(t *testing.T) {
	dir := t.TempDir()
	file, state := filepath.Join(dir, "allium.toml"), filepath.Join(dir, "state")
	_, err := runAllium(context.Background(), "init", "--config", file, "--state-dir", state, "--domain", "example.org", "--server", "localhost:5347")
	require.ErrorContains(t, err, `"localhost:5347" is not an address and a port`)
	require.NoFileExists(t, file)
	require.NoDirExists(t, state)
	full := filepath.Join(dir, "full")
	require.NoError(t, os.Mkdir(full, 0o700))
	require.NoError(t, unix.Mount("full", full, "tmpfs", 0, "size=4k")) // less than it needs
	defer unix.Unmount(full, 0)
	_, err = runAllium(context.Background(), "init", "--config", filepath.Join(full, "allium.toml"), "--state-dir", state, "--domain", "example.org")
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoFileExists(t, filepath.Join(full, "allium.toml"), "half of it")
	require.NoError(t, os.RemoveAll(state))
	first, err := runAllium(context.Background(), "init", "--config", file, "--state-dir", state, "--domain", "example.org")
	require.NoError(t, err)
	require.Contains(t, first, "a new key in ")
	second, err := runAllium(context.Background(), "init", "--config", file, "--host", "prosody", "--rooms", "rooms.example.org")
	require.NoError(t, err, "all is known")
	require.Contains(t, second, "--rooms changes nothing: it is in "+file)
	require.Contains(t, second, "the key that was in ")
	require.NotContains(t, second, `Component "rooms.example.org"`)
}

// SIGHUP does not end Allium: the log's level is taken up, and the rest is told of.
func TestHangup(t *testing.T) {
	file := writeConfig(t, strings.Replace(minimal, "[federation]", "[muc]", 1))
	ctx, stop := context.WithCancel(context.Background())
	out, done := &lockedBuffer{}, make(chan error, 1)
	go func() { done <- allium(ctx, []string{"run", "--config", file}, out, out) }()
	says := func(what string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(out.String(), what) }, 10*time.Second, 10*time.Millisecond, "%s", out)
	}
	says("allium starts")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	says("log.level is taken up")
	require.NoError(t, os.WriteFile(file, []byte("nonsense"), 0o600))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	says("the configuration is not taken up")
	stop()
	require.NoError(t, <-done)
}

// Allium goes on when nobody reads its log any more: that the journal is restarted is no reason
// to end, and systemd does not start again what ends by SIGPIPE.
func TestNobodyReadsLog(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(self, "run", "--config", writeConfig(t, strings.Replace(minimal, "[federation]", "[muc]", 1)))
	cmd.Stderr = w
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	w.Close()
	_, err = r.Read(make([]byte, 1000)) // it hears signals
	require.NoError(t, err)
	r.Close()
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP)) // it has something to say
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
}

// A key that is lost, one that is damaged and one that others can read want different things
// done: who moves away one that is good has lost the address. One wrong bit makes it another's.
func TestKeyTrouble(t *testing.T) {
	c, err := loadConfig(writeConfig(t, minimal))
	require.NoError(t, err)
	_, err = c.identity()
	assert.ErrorContains(t, err, "(is state_dir right?): restore it from your backup")
	assert.NotContains(t, err.Error(), "move it away")
	id, _, err := c.makeIdentity()
	require.NoError(t, err)
	key := []byte(readFile(t, c.identityFile()))
	key[40] ^= 1
	require.NoError(t, os.WriteFile(c.identityFile(), key, 0o600))
	_, err = c.identity()
	assert.ErrorContains(t, err, `.onion, and not of "`+id.Name()+`", as `+filepath.Dir(c.identityFile())+"/hostname says: if it was not exchanged it is damaged, restore it from your backup")
	name := filepath.Join(filepath.Dir(c.identityFile()), "hostname")
	require.NoError(t, os.Remove(name))
	other, err := c.identity()
	require.NoError(t, err, "an exchanged one")
	assert.NotEqual(t, id.Name(), other.Name())
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	_, err = c.identity()
	require.NoError(t, err, "a power failure can leave it empty")
	require.NoError(t, os.Remove(c.identityFile()))
	require.NoError(t, os.WriteFile(name, []byte(id.Name()), 0o600))
	_, _, err = c.makeIdentity()
	require.NoError(t, err)
	_, err = c.identity()
	require.NoError(t, err, "a new one")
	require.NoError(t, os.Chmod(c.identityFile(), 0o640))
	_, err = c.identity()
	assert.ErrorContains(t, err, "chmod 600 it")
	assert.NotContains(t, err.Error(), "move it away")
	require.NoError(t, os.Chmod(c.identityFile(), 0o600))
	require.NoError(t, os.Truncate(c.identityFile(), 50))
	_, err = c.identity()
	assert.ErrorContains(t, err, "(50 octets): restore it from your backup; where there is none, move it away")
}

// Who closes the terminal leaves nothing running, and nothing behind.
func TestTerminalCloses(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out := &lockedBuffer{}
	cmd.Stdout = out
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "alice is logged in") }, time.Minute, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	require.Error(t, cmd.Wait())
	assert.Contains(t, out.String(), "stopping")
	left, err := os.ReadDir(strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "TMPDIR="))
	require.NoError(t, err)
	assert.Empty(t, left)
}
