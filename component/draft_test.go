package component

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// What a draft is, and who it is from, can be known without reading all that is in it, which
// may be more than a stranger's stanza can have (RFC 6120 §8.1).
func TestHeadOfDraft(t *testing.T) {
	to := jid.MustParse("crone1@shakespeare.lit/desktop")
	for _, s := range []*Stanza{
		{Kind: IQ, Type: "result", ID: "a>'\"<&\n", From: jid.MustParse("coven@chat.shakespeare.lit/a>b")},
		{Kind: Message, From: jid.MustParse("chat.shakespeare.lit"), Lang: "en"},
		{Kind: Presence, From: jid.MustParse("coven@chat.shakespeare.lit/x"), Nodes: []Node{NewElement("urn:x", "x").Node()}},
	} {
		want := *s
		want.To, want.Nodes = to, nil
		head, err := NewDraft(s, nil, nil, nil).Head(to)
		require.NoError(t, err)
		require.Equal(t, want.String(), head.String())
		again, err := ParseDraft([]byte(s.String()), s.From).Head(to)
		require.NoError(t, err)
		require.Equal(t, want.String(), again.String())
	}
	many := NewDraft(&Stanza{Kind: IQ, Type: "result", ID: "1", From: to}, []byte("<q>"+strings.Repeat("<i/>", 20_000)+"</q>"), nil, nil)
	s, err := many.Stanza(to, true)
	require.NoError(t, err)
	require.Len(t, s.Payload().Nodes, 20_000)
}
