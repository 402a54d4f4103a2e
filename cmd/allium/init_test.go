package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// initPrints is what init prints for a host, with the secret of the examples.
func initPrints(t *testing.T, host string, more ...string) string {
	dir := t.TempDir()
	file := filepath.Join(dir, "allium.toml")
	printed, err := runAllium(t.Context(), append([]string{"init", "--config", file, "--state-dir", filepath.Join(dir, "state"),
		"--domain", "example.org", "--host", host}, more...)...)
	require.NoError(t, err)
	c, err := loadConfig(file)
	require.NoError(t, err)
	return strings.ReplaceAll(printed, c.Federation.Secret, "change-me")
}

// part is what is printed from one text to another.
func part(t *testing.T, printed, from, to string) string {
	t.Helper()
	_, rest, found := strings.Cut(printed, from)
	require.True(t, found, "%s: %s", from, printed)
	text, _, found := strings.Cut(rest, to)
	require.True(t, found, "%s: %s", to, rest)
	return from + text
}

func TestPrintedModule(t *testing.T) {
	out, err := runAllium(t.Context(), "init", "--print-module")
	require.NoError(t, err)
	assert.Equal(t, example(t, "prosody/mod_allium.lua"), out, "go generate ./cmd/allium")
}

// Who has the program alone finds all that Prosody needs in what init prints: the module, by
// the command that installs it, and the lines.
func TestInitProsody(t *testing.T) {
	printed := initPrints(t, "prosody")
	bin, modules := t.TempDir(), filepath.Join(t.TempDir(), "modules")
	self, err := os.Executable()
	require.NoError(t, err)
	for name, does := range map[string]string{"sudo": "", "allium": self} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nexec "+does+" \"$@\"\n"), 0o755))
	}
	command := exec.Command("sh", "-ec", strings.Replace(part(t, printed, "allium init --print-module", "\n"), "/usr/local/lib/prosody/modules", modules, 1))
	command.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	attachProsody(t, modules, part(t, printed, "Component", "\n\n"))
}

// And all that ejabberd needs, where it has rooms and where it has not.
func TestInitEjabberd(t *testing.T) {
	for _, more := range [][]string{nil, {"--rooms", "rooms.example.org"}} {
		lines := part(t, initPrints(t, "ejabberd", more...), "listen:", "\n\nThen ")
		assert.Contains(t, lines, "global_routes: false")
		attachEjabberd(t, lines)
	}
}
