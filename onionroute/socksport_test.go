package onionroute

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Which lines of a torrc let streams share circuits at a listener.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		line, at string
		want     bool
	}{
		{"", "127.0.0.1:9050", false}, // nothing is configured
		{"9050", "127.0.0.1:9050", false},
		{"9050 IsolateDestAddr", "127.0.0.1:9050", false},
		{"9050 NoIsolateSOCKSAuth", "127.0.0.1:9050", true},
		{"9051 NoIsolateSOCKSAuth", "127.0.0.1:9050", false},
		{"localhost:9050 OnionTrafficOnly noisolatesocksauth", "127.0.0.1:9050", true},
		{"[::1]:9050 NoIsolateSOCKSAuth", "[::1]:9050", true},
		{"auto NoIsolateSOCKSAuth", "127.0.0.1:40000", true},
		{"auto NoIsolateSOCKSAuth", "unix:/run/tor/socks", false},
		{"unix:/run/tor/socks WorldWritable NoIsolateSOCKSAuth", "unix:/run/tor/socks", true},
		{"unix:/run/tor/socks NoIsolateSOCKSAuth", "unix:/run/tor/socks2", false},
		{`unix:"/run/tor/my socks" NoIsolateSOCKSAuth`, "unix:/run/tor/my socks", true},
		{`unix:"/run/tor/my socks"`, "unix:/run/tor/my socks", false},
		{"unix:/run/tor/NoIsolateSOCKSAuth", "unix:/run/tor/NoIsolateSOCKSAuth", false},
	} {
		assert.Equal(t, c.want, shares(c.line, listener(c.at)), c.line)
	}
	for _, s := range []string{"", "localhost:9050", "127.0.0.1", "127.0.0.1:socks"} {
		assert.Nil(t, listener(s), s)
	}
}
