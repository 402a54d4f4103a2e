package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const macbeth = "macbeth@shakespeare.lit/throne"

// XEP-0045 §9.1: who is banned goes, and does not come back.
func TestBan(t *testing.T) {
	w := newWorld(t)
	w.coven()
	out := w.admin(crone1, "coven", affiliationItem(hag, "outcast", "Treason"))
	require.Equal(t, hag, out[0].To.String())
	require.Equal(t, "result", out[1].Type)
	require.Equal(t, "gone outcast/none 301 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, "gone outcast/none 301", seen(out, crone1, "thirdwitch"))
	require.Equal(t, "gone outcast/none 301", seen(out, crone2, "thirdwitch"))
	for _, i := range []int{0, 2, 3} {
		require.Equal(t, "Treason", item(out[i]).Child(NSUser, "reason").Text())
		require.Equal(t, "firstwitch", item(out[i]).Child(NSUser, "actor").AttrValue("nick"))
	}
	require.Equal(t, "auth/forbidden", condition(w.only(w.enter(bare(hag)+"/other", "coven", "fourthwitch"), bare(hag)+"/other")))
	require.Equal(t, []string{bare(hag)}, w.adminList(crone1, "coven", "affiliation", "outcast"), "by the bare JID")
	w.grant(bare(hag), "none")
	require.Equal(t, []string{}, w.adminList(crone1, "coven", "affiliation", "outcast"))
	require.Equal(t, "none/participant", seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"))
}

// XEP-0045 §9.1: an occupant can be named by nickname, and one never seen by JID.
func TestBanByNickAndOfStrangers(t *testing.T) {
	w := newWorld(t)
	w.coven()
	out := w.admin(crone1, "coven", "<item nick='thirdwitch' affiliation='outcast'/>")
	require.Equal(t, "gone outcast/none 301 110", seen(out, hag, "thirdwitch"))
	w.grant("stranger@example.org", "outcast")
	require.Equal(t, []string{bare(hag), "stranger@example.org"}, w.adminList(crone1, "coven", "affiliation", "outcast"))
}

// XEP-0045 §9.2: a domain stands for all its users, but for those who are named.
func TestBanOfADomain(t *testing.T) {
	w := newWorld(t)
	w.coven()
	const banquo, fleance = "banquo@forres.lit/a", "fleance@forres.lit/a"
	w.enter(banquo, "coven", "banquo")
	w.enter(fleance, "coven", "fleance")
	w.grant(bare(fleance), "member")
	out := w.grant("forres.lit", "outcast")
	require.Equal(t, "gone outcast/none 301 110", seen(out, banquo, "banquo"))
	require.Empty(t, seen(out, crone2, "fleance"), "who is a member by name stays")
	require.Equal(t, "auth/forbidden", condition(w.only(w.enter("ross@forres.lit/a", "coven", "ross"), "ross@forres.lit/a")))
	require.Len(t, w.say(fleance, "coven", "m", "Fly!"), 4)
	w.grant("forres.lit", "none")
	require.Equal(t, "none/participant", seen(w.enter(banquo, "coven", "banquo"), crone1, "banquo"))
	w.refused(w.admin(crone1, "coven", affiliationItem("shakespeare.lit", "outcast", "")), crone1, "cancel/conflict")
}

// XEP-0045 §9.2: the ban list, with reasons, without roles; a set is a delta.
func TestBanList(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant(bare(crone2), "admin")
	out := w.admin(crone2, "coven", "<item affiliation='outcast' jid='lordscroop@shakespeare.lit' nick='x'><actor nick='y'/><reason>Treason</reason></item>",
		affiliationItem("sirthomasgrey@shakespeare.lit/tower", "outcast", ""))
	w.did(out, crone2)
	w.did(w.admin(crone2, "coven", affiliationItem("macbeth@shakespeare.lit", "outcast", "")), crone2)
	s := w.get(crone2, "coven", "<query xmlns='"+NSAdmin+"'><item affiliation='outcast'/></query>")
	items := itemsOf(s)
	require.Len(t, items, 3)
	require.Equal(t, "<item xmlns='http://jabber.org/protocol/muc#admin' affiliation='outcast' jid='lordscroop@shakespeare.lit'><reason>Treason</reason></item>", items[0].String())
	require.Equal(t, "macbeth@shakespeare.lit", items[1].AttrValue("jid"))
	require.Equal(t, "sirthomasgrey@shakespeare.lit", items[2].AttrValue("jid"))
	require.Equal(t, []string{"auth/forbidden"}, w.adminList(hag, "coven", "affiliation", "outcast"))
	require.Equal(t, []string{"auth/forbidden"}, w.adminList(macbeth, "coven", "affiliation", "outcast"))

	// One that is not permitted, and nothing is done.
	for bad, want := range map[string]string{bare(crone1): "cancel/not-allowed", bare(crone2): "cancel/conflict"} {
		w.refused(w.admin(crone2, "coven", affiliationItem(bare(hag), "outcast", ""), affiliationItem(bad, "outcast", "")), crone2, want)
	}
	require.Len(t, w.adminList(crone2, "coven", "affiliation", "outcast"), 3)
	require.Len(t, w.say(hag, "coven", "m", "Still here."), 3)
	w.did(w.admin(crone2, "coven", affiliationItem("macbeth@shakespeare.lit", "none", ""), affiliationItem(bare(hag), "outcast", "")), crone2)
	require.Equal(t, []string{bare(hag), "lordscroop@shakespeare.lit", "sirthomasgrey@shakespeare.lit"}, w.adminList(crone2, "coven", "affiliation", "outcast"))
}

// XEP-0045 §9.1, §9.2: a ban frees the reserved nickname, of one and of many.
func TestBanFreesNickname(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.did(w.admin(crone1, "coven", "<item affiliation='member' jid='macbeth@shakespeare.lit' nick='king'/>",
		"<item affiliation='member' jid='duncan@shakespeare.lit' nick='old king'/>"), crone1)
	require.Equal(t, "cancel/conflict", condition(w.only(w.enter("x@example.org/y", "coven", "king"), "x@example.org/y")))
	w.grant("macbeth@shakespeare.lit", "outcast", "duncan@shakespeare.lit", "outcast")
	require.Equal(t, []string{}, w.adminList(crone1, "coven", "affiliation", "member"))
	require.Equal(t, []string{"duncan@shakespeare.lit", "macbeth@shakespeare.lit"}, w.adminList(crone1, "coven", "affiliation", "outcast"))
	require.Equal(t, "none/participant", seen(w.enter("x@example.org/y", "coven", "king"), crone1, "king"))
	w.grant("macbeth@shakespeare.lit", "member")
	require.Equal(t, []string{"macbeth@shakespeare.lit"}, w.adminList(crone1, "coven", "affiliation", "member"), "it does not come back")
}
