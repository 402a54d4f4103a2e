package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// alliumRooms runs Allium with rooms alone. Its limits are where nobody gets who is
// measured; all else is as it comes.
func alliumRooms(t testing.TB, dir, server string) *exec.Cmd {
	file := filepath.Join(dir, "allium.toml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `state_dir = %q
[host]
server = %q
secret = %q
domains = ["host.example"]
[muc]
domain = %q
default_kind = "open"
create = "anyone"
max_occupants = 100000
rooms_per_user = 100000
max_rooms = 1000000
message_rate = 1000000
presence_rate = 1000000
`, filepath.Join(dir, "state"), server, roomsSecret, roomsDomain), 0o600))
	self, err := os.Executable()
	require.NoError(t, err)
	return exec.Command(self, "run", "--config", file)
}

// Forms that configure rooms of Allium.
const (
	alliumNoArchive = "<field var='muc#roomconfig_enablelogging'><value>0</value></field>"
	alliumArchive   = "<field var='muc#roomconfig_enablelogging'><value>1</value></field>"
)
