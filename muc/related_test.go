package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// Who belongs to one room where all see each other's addresses may ask for each other's keys.
func TestRelated(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	related := func(a, b string) bool { return w.sv.Related(jid.MustParse(a), jid.MustParse(b)) }
	require.False(t, related(crone1, hag))
	w.admin(crone1, "coven", "<item affiliation='member' jid='hag66@shakespeare.lit'/>")
	require.False(t, related(crone1, hag), "addresses are hidden")
	w.configure(crone1, "coven", "muc#roomconfig_whois", "anyone")
	require.True(t, related(crone1, hag))
	require.True(t, related(hag, crone1))
	require.False(t, related(crone2, hag))
	w.restart()
	require.True(t, related(hag, crone1))
	w.admin(crone1, "coven", "<item affiliation='outcast' jid='hag66@shakespeare.lit'/>")
	require.False(t, related(crone1, hag))
}
