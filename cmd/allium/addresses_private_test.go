package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A private onion service is reached by who has a key for it, and by nobody else, who is
// told so.
func TestPrivateService(t *testing.T) {
	keys, err := runAllium(t.Context(), "onion", "key")
	require.NoError(t, err)
	words := strings.Fields(keys)
	public, secret := words[1], words[3]
	keeper := alliumNode(t, "keeper", "prosody", fmt.Sprintf("clients = [%q]", public))
	friend := alliumNode(t, "friend", "prosody", fmt.Sprintf("[[peer]]\nonion = %q\nauth_key = %q", keeper.onion, secret))
	ctx := deadline(t, 2*time.Minute)
	says(t, ctx, friend, keeper, "let me in")
	says(t, ctx, keeper, friend, "come in")

	stranger := alliumNode(t, "alpha", "prosody")
	m := stranger.send(t, stranger.to(t, keeper, component.Message, "chat", body("let me in")))
	got, err := stranger.client.Expect(ctx, "refusal", isError(m.ID))
	require.NoError(t, err)
	assert.Equal(t, stanza.NotAuthorized, got.StanzaError().Condition, got)

	// A new tor is given the key too.
	from := friend.logged()
	require.NoError(t, syscall.Kill(friend.torPID(t), syscall.SIGKILL))
	friend.logs(t, from, "Tor is up", time.Minute)
	says(t, ctx, friend, keeper, "once more")
	keeper.stopAllium()
	out, err := runAllium(deadline(t, 3*time.Minute), "check", "--config", keeper.config)
	require.NoError(t, err, out)
	assert.Contains(t, out, "ok      reachable from outside as "+keeper.onion)
	keeper.startAllium(t)
}

// A server with mod_onions that calls itself by an ordinary name is talked with by that
// name, at the onion service that the configuration says.
func TestOrdinaryName(t *testing.T) {
	friends := modOnionsNode(t, "friends", "friends.example")
	peer := func(domain string) string {
		return fmt.Sprintf("[[peer]]\nonion = %q\ndomain = %q", friends.onion, domain)
	}
	a := alliumNode(t, "mapper", "prosody", peer("friends.example"), peer("rooms.friends.example"))
	acquaint(t, a, friends)
	converse(t, a, friends)
	visits(t, a, `talk\40rooms.friends.example@onion.mapper.example`, friends, "talk@rooms.friends.example")

}
