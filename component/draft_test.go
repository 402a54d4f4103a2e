package component

import (
	"strconv"
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

// A copy can be read whatever it is of: what is read from a stream with declarations on the root
// of the stanza has them further down then, and what comes from an archive is in something else.
func TestCopyOfWhatIsAtTheLimits(t *testing.T) {
	const deep = 61 // in message, x and y
	outer, inner, used := "", "", ""
	for i := range 127 {
		n := strconv.Itoa(i)
		inner += " xmlns:q" + n + "='urn:q:" + n + "'"
		if i < 126 { // as many as there can be in all
			outer, used = outer+" xmlns:p"+n+"='urn:p:"+n+"'", used+" p"+n+":a='1'"
		}
	}
	in := "<message" + outer + "><q0:x" + inner + "><y" + used + ">" + strings.Repeat("<i>", deep) + strings.Repeat("</i>", deep) + "</y></q0:x></message>"
	e, err := NewContentDecoder(strings.NewReader(in), NSAccept, Limits{}).Next()
	require.NoError(t, err)
	s, err := ParseStanza(e)
	require.NoError(t, err)
	s.From = jid.MustParse("chat.shakespeare.lit")
	d := NewDraft(s, nil, nil, nil)
	archived := NewDraft(&Stanza{Kind: Message, From: s.From}, append(append([]byte("<forwarded>"), d.XML()...), "</forwarded>"...), nil, nil)
	for _, d := range []*Draft{d, archived} {
		read, err := d.Stanza(jid.MustParse("shakespeare.lit"), true)
		require.NoError(t, err)
		require.Equal(t, deep, strings.Count(read.String(), "</i>")+1)
		require.Contains(t, read.String(), used)
	}
}
