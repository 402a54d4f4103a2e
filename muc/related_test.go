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

// Whom somebody made a member who may not have the room write to them is a stranger until
// they come: their server would be asked for keys.
func TestRelatedOutOfReach(t *testing.T) {
	const queen = "queen@hecate.lit/throne"
	w := newWorld(t, func(o *Options) {
		o.MayReach = func(by, whom jid.JID) bool { return by.String() != bare(hag) || whom.Domainpart() != "hecate.lit" }
	})
	related := func(b string) bool { return w.sv.Related(jid.MustParse(bare(hag)), jid.MustParse(b)) }
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_whois", "anyone", "muc#roomconfig_persistentroom", "1")
	w.admin(crone1, "coven", affiliationItem(bare(hag), "owner", ""))
	w.enter(hag, "coven", "thirdwitch")
	w.enter("duke@hecate.lit/x", "coven", "duke")
	w.admin(hag, "coven", affiliationItem("duke@hecate.lit", "member", ""))
	require.True(t, related("duke@hecate.lit"), "who is here")
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	w.admin(hag, "coven", affiliationItem(bare(queen), "member", ""))
	require.False(t, related(bare(queen)))
	w.admin(hag, "coven", affiliationItem(bare(queen), "admin", ""))
	w.invite(hag, "<invite to='king@hecate.lit'/>")
	// Whoever approves a registration can say whose it is.
	for _, s := range w.message(hag, "coven@"+domain, "", approval("jester@hecate.lit", "jester")) {
		require.NotEqual(t, "jester@hecate.lit", s.To.String())
	}
	w.restart()
	require.False(t, related(bare(queen)))
	require.False(t, related("king@hecate.lit"))
	require.False(t, related("jester@hecate.lit"))
	w.admin(crone1, "coven", affiliationItem("king@hecate.lit", "admin", ""))
	require.True(t, related("king@hecate.lit"), "made one by somebody who may")
	w.enter(queen, "coven", "queen")
	require.True(t, related(bare(queen)))
	w.restart()
	w.admin(hag, "coven", affiliationItem(bare(queen), "member", ""))
	require.True(t, related(bare(queen)), "who was here once is no stranger")
}
