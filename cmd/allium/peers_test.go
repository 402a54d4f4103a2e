package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Whom the configuration does not want is not connected to, and gets nothing through, nor
// does what is for them: their users and ours are told so. Others are talked with.
func TestPeerLists(t *testing.T) {
	b, c, d := alliumNode(t, "beta", "prosody"), alliumNode(t, "alpha", "prosody"), modOnionsNode(t, "onions")
	denied := fmt.Sprintf("[[peer]]\nonion = %q\nallow = false\n", b.onion)
	a := alliumNode(t, "picky", "prosody", denied)
	ctx, tor := deadline(t, 3*time.Minute), a.watch(t)
	isRefused(t, a, b, stanza.PolicyViolation)
	isRefused(t, b, a, stanza.NotAllowed)
	assert.Zero(t, tor.count().streams)
	says(t, ctx, a, d, "not you")
	says(t, ctx, d, a, "nor me")

	a.stopAllium()
	config, err := os.ReadFile(a.config)
	require.NoError(t, err)
	listed := strings.Replace(string(config), denied, fmt.Sprintf("peers = \"listed\"\n[[peer]]\nonion = %q\n", c.onion), 1)
	require.NoError(t, os.WriteFile(a.config, []byte(listed), 0o600))
	from := a.logged()
	a.startAllium(t)
	chill(d.watch(t)) // a tor asks no directory again within a minute, and mod_onions does not try again
	says(t, ctx, a, c, "you")
	says(t, ctx, c, a, "me")
	isRefused(t, a, b, stanza.PolicyViolation)
	isRefused(t, a, d, stanza.PolicyViolation)
	isRefused(t, d, a, stanza.RemoteServerNotFound)

	says(t, ctx, c, a, "last")
	for _, n := range []*node{a, b, d} {
		for _, s := range n.client.Received() {
			assert.NotEqual(t, unwanted, s.Body(), "%s: %s", n.domain, s)
		}
	}
	log, err := os.ReadFile(a.log)
	require.NoError(t, err)
	const connecting = `msg="connecting to the peer" peer=`
	assert.Contains(t, string(log[from:]), connecting+c.onion)
	assert.NotContains(t, string(log[from:]), connecting+d.onion)
	assert.NotContains(t, string(log), connecting+b.onion)
}

const unwanted = "unwanted"

// isRefused asserts that a message comes back with an error.
func isRefused(t *testing.T, from, to *node, want stanza.Condition) {
	t.Helper()
	m := from.send(t, from.to(t, to, component.Message, "chat", body(unwanted)))
	got := from.expect(t, deadline(t, 40*time.Second), "refusal", to, isError(m.ID))
	assert.Equal(t, want, got.StanzaError().Condition, got)
	if from.allium != nil {
		assert.NotEmpty(t, got.StanzaError().Text, got)
	}
}
