package onionroute

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// Nobody makes others be forgotten: not who writes many addresses, and not who has many
// sessions or writes to many peers.
func TestMasksOfOthers(t *testing.T) {
	b := newBorder(t, Privacy{})
	alice, mallory := jid.MustParse("alice@example.org/laptop"), jid.MustParse("mallory@example.org")
	shown := b.masks.show(alice, alice, testX)
	addresses := component.NewElement("http://jabber.org/protocol/address", "addresses")
	for i := range 1400 {
		addresses.Add(component.NewElement(addresses.Name.Space, "address").With("jid", fmt.Sprintf("mallory@example.org/%d", i)))
	}
	for _, j := range []string{alice.String(), "alice@example.org/phone", "example.org", "example.org/x"} {
		addresses.Add(component.NewElement(addresses.Name.Space, "address").With("jid", j))
	}
	xml, err := b.out((&component.Stanza{Kind: component.Message, Type: "groupchat", From: jid.MustParse("r@rooms.example.org/nick"),
		To: jid.MustParse(hostSide.Replace("{B}"))}).Add(addresses))
	require.NoError(t, err)
	assert.Equal(t, 1, b.masks.lru.Len())
	assert.Equal(t, 1400, strings.Count(xml, "<address jid='mallory@"+testI+"'/>"))
	assert.Contains(t, xml, "<address jid='alice@"+testI+"/"+shown.Resourcepart()+"'/><address jid='alice@"+testI+"'/><address jid='"+testI+"'/><address jid='"+testI+"'/>", "known is what has sent")

	first, err := mallory.WithResource("first")
	require.NoError(t, err)
	b.masks.show(first, first, testX)
	used, err := mallory.WithResource("used")
	require.NoError(t, err)
	usedAs := b.masks.show(used, used, testX)
	for i := range maxOwn + 2 {
		b.masks.real(usedAs, testX)
		b.masks.show(used, used, fmt.Sprint(i))
	}
	assert.Equal(t, maxOwn+1, b.masks.lru.Len())
	assert.Equal(t, shown, b.masks.known(alice, alice, testX))
	assert.Equal(t, usedAs, b.masks.known(used, used, testX), "it was used")
	assert.Equal(t, mallory, b.masks.known(first, first, testX))
	_, ok := b.masks.real(usedAs, testX)
	assert.True(t, ok)
}
