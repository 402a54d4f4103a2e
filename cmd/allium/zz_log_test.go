package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/onionroute"
)

// Of all that the tests above made Allium log at info and above, nothing names a peer or a
// user, but for the attributes that newLogger hides; and nothing does in a log as it is by
// default. It comes behind all that can fail.
func TestZLog(t *testing.T) {
	a := alliumNode(t, "alpha", "prosody")
	a.stopAllium()
	config, err := os.ReadFile(a.config)
	require.NoError(t, err)
	section := strings.Index(string(config), "[log]")
	require.Positive(t, section)
	require.NoError(t, os.WriteFile(a.config, config[:section], 0o600))
	from := a.logged()
	a.startAllium(t)
	peer, err := onionroute.NewName() // that nobody has
	require.NoError(t, err)
	require.NoError(t, a.client.SendXML("<message to='nobody%"+peer+"@onion."+a.domain+"' type='chat'><body>hi</body></message>"))
	a.logs(t, from, "peer cannot be reached", 2*time.Minute)
	text, err := os.ReadFile(a.log)
	require.NoError(t, err)
	assert.NotRegexp(t, somebody, strings.ReplaceAll(string(text[from:]), a.onion, ""))

	for _, n := range shared.nodes {
		if n.allium == nil {
			continue
		}
		text, err := os.ReadFile(n.log)
		require.NoError(t, err)
		lines := logLine.FindAllString(string(text), -1)
		assert.NotEmpty(t, lines, n.log)
		for _, l := range lines {
			assert.NotRegexp(t, somebody, strings.ReplaceAll(hidden.ReplaceAllString(l, ""), n.onion, ""), n.domain)
		}
	}
}

var (
	somebody = regexp.MustCompile(`[a-z2-7]{40}|\.onion|[^\s"=]@[^\s"=]`)
	logLine  = regexp.MustCompile(`(?m)^time=\S+ level=(?:INFO|WARN|ERROR) .*$`)
	hidden   = regexp.MustCompile(` (?:peer|user)=\S+`)
)
