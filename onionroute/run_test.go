package onionroute

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A tor of another user can connect to the sockets, whatever umask Allium has; who comes
// as far as there the folder decides.
func TestSocketsOfAnotherUser(t *testing.T) {
	a := startServer(t, newWire(), "a.example")
	for port, path := range a.Ports() {
		st, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o666), st.Mode().Perm(), "port %d", port)
	}
}
