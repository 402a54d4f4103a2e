package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// XEP-0045 §8.2: the kicked first, then the answer, then the others.
func TestKick(t *testing.T) {
	w := newWorld(t)
	w.coven()
	out := w.admin(crone1, "coven", roleItem("thirdwitch", "none", "Avaunt, you cullion!"))
	require.Len(t, out, 4)
	require.Equal(t, hag, out[0].To.String())
	require.Equal(t, "result", out[1].Type)
	require.Equal(t, "gone none/none 307 110", seen(out, hag, "thirdwitch"))
	for _, who := range []string{crone1, crone2} {
		require.Equal(t, "gone none/none 307", seen(out, who, "thirdwitch"))
	}
	for _, s := range []int{0, 2, 3} {
		require.Equal(t, "Avaunt, you cullion!", item(out[s]).Child(NSUser, "reason").Text())
		require.Equal(t, "firstwitch", item(out[s]).Child(NSUser, "actor").AttrValue("nick"))
		require.NotNil(t, out[s].Child(NSOccupantID, "occupant-id"))
	}
	require.Equal(t, hag, item(to(out, crone1)[1]).AttrValue("jid"))
	require.Empty(t, item(w.only(out, crone2)).AttrValue("jid"), "semi-anonymous")
	require.Equal(t, "modify/not-acceptable", condition(w.only(w.say(hag, "coven", "m", "Me?"), hag)))
	require.Equal(t, "none/participant", seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"), "a kick is no ban")
}

// XEP-0045 §8.2: all sessions of a nickname go, and each is told.
func TestKickOfSeveralSessions(t *testing.T) {
	w := newWorld(t)
	w.coven()
	tablet := bare(hag) + "/tablet"
	w.enter(tablet, "coven", "thirdwitch")
	out := w.admin(crone1, "coven", roleItem("thirdwitch", "none", ""))
	for _, who := range []string{hag, tablet} {
		require.Equal(t, "gone none/none 307 110", seen(out, who, "thirdwitch"))
	}
	require.Equal(t, "gone none/none 307", seen(out, crone2, "thirdwitch"))
}

// XEP-0045 §8.2: who kicks oneself out of an empty temporary room ends it.
func TestKickOfTheLast(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	out := w.admin(crone1, "coven", roleItem("firstwitch", "none", ""))
	require.Equal(t, "gone owner/none 307 110", seen(out, crone1, "firstwitch"))
	w.did(out, crone1)
	require.Contains(t, codes(w.enter(hag, "coven", "thirdwitch")[0]), "201")
}

// XEP-0045 §8.3, §8.4: voice is given and taken, and everybody sees that.
func TestVoice(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_moderatedroom", "1")
	require.Equal(t, "auth/forbidden", condition(w.only(w.say(hag, "coven", "m1", "Hear me!"), hag)))
	out := w.admin(crone1, "coven", roleItem("thirdwitch", "participant", "A worthy witch indeed!"))
	require.Equal(t, "result", out[0].Type, "the answer comes first")
	for _, who := range []string{crone1, crone2} {
		require.Equal(t, "none/participant", seen(out, who, "thirdwitch"))
	}
	require.Equal(t, "none/participant 110", seen(out, hag, "thirdwitch"))
	for _, s := range out[1:] {
		require.Equal(t, "A worthy witch indeed!", item(s).Child(NSUser, "reason").Text())
		require.Equal(t, "firstwitch", item(s).Child(NSUser, "actor").AttrValue("nick"))
	}
	require.Len(t, w.say(hag, "coven", "m2", "Hear me!"), 3)
	out = w.admin(crone1, "coven", roleItem("thirdwitch", "visitor", "Not so worthy after all!"))
	require.Equal(t, "none/visitor", seen(out, crone2, "thirdwitch"))
	require.Equal(t, "auth/forbidden", condition(w.only(w.say(hag, "coven", "m3", "Hear me!"), hag)))
}

// XEP-0045 §8.4: voice can be taken in an unmoderated room too.
func TestVoiceTakenWhereAllHaveIt(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.did(w.admin(crone1, "coven", roleItem("thirdwitch", "visitor", "")), crone1)
	require.Equal(t, "auth/forbidden", condition(w.only(w.say(hag, "coven", "m", "Hear me!"), hag)))
	require.Len(t, w.say(crone2, "coven", "m", "I may."), 3)
}

// XEP-0045 §8.5: the voice list, for moderators; a set is a delta, and all or nothing.
func TestVoiceList(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_moderatedroom", "1")
	require.Equal(t, []string{}, w.adminList(crone1, "coven", "role", "participant"))
	w.did(w.admin(crone1, "coven", roleItem("secondwitch", "participant", ""), roleItem("thirdwitch", "participant", "A worthy fellow.")), crone1)
	require.ElementsMatch(t, []string{"secondwitch none " + crone2, "thirdwitch none " + hag}, w.adminList(crone1, "coven", "role", "participant"))
	out := w.admin(crone1, "coven", roleItem("secondwitch", "visitor", ""), roleItem("firstwitch", "visitor", ""))
	w.refused(out, crone1, "cancel/not-allowed")
	items := itemsOf(out[0])
	require.Len(t, items, 1, "§8.4: the offending one")
	require.Equal(t, "firstwitch", items[0].AttrValue("nick"))
	require.Len(t, w.adminList(crone1, "coven", "role", "participant"), 2)
	w.did(w.admin(crone1, "coven", roleItem("secondwitch", "visitor", "")), crone1)
	require.Equal(t, []string{"thirdwitch none " + hag}, w.adminList(crone1, "coven", "role", "participant"))
	require.Equal(t, []string{"secondwitch none " + crone2}, w.adminList(crone1, "coven", "role", "visitor"))

	require.Equal(t, []string{"auth/forbidden"}, w.adminList(hag, "coven", "role", "participant"))
	require.Equal(t, []string{"auth/forbidden"}, w.adminList("macbeth@shakespeare.lit/a", "coven", "role", "visitor"))
	require.Equal(t, []string{"modify/bad-request"}, w.adminList(crone1, "coven", "role", "king"))
	require.Equal(t, []string{"modify/bad-request"}, w.adminList(crone1, "coven", "role", "none"))
	w.did(w.admin(crone1, "coven", roleItem("thirdwitch", "moderator", "")), crone1)
	require.Equal(t, []string{}, w.adminList(hag, "coven", "role", "participant"), "a moderator without affiliation")
}

// XEP-0045 §9.6, §9.7: moderators are made and unmade by admins.
func TestModeratorStatus(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant(bare(crone2), "admin")
	out := w.admin(crone2, "coven", roleItem("thirdwitch", "moderator", "A worthy witch indeed!"))
	require.Equal(t, "result", answerTo(out, crone2).Type)
	require.Equal(t, "none/moderator 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, "none/moderator", seen(out, crone1, "thirdwitch"))
	out = w.admin(crone2, "coven", roleItem("thirdwitch", "participant", "Not so worthy after all!"))
	require.Equal(t, "none/participant", seen(out, crone2, "thirdwitch"))
	require.Equal(t, "none/participant 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, "Not so worthy after all!", item(to(out, hag)[0]).Child(NSUser, "reason").Text())
}

// XEP-0045 §9.8: the moderator list, for admins; a set is a delta, and all or nothing.
func TestModeratorList(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant(bare(crone2), "admin")
	all := []string{"firstwitch owner " + crone1, "secondwitch admin " + crone2}
	require.ElementsMatch(t, all, w.adminList(crone2, "coven", "role", "moderator"))
	// Who is a moderator already is no obstacle to the rest.
	out := w.admin(crone2, "coven", roleItem("thirdwitch", "moderator", ""), roleItem("firstwitch", "moderator", ""))
	w.did(out, crone2)
	require.Equal(t, "none/moderator", seen(out, crone1, "thirdwitch"))
	require.Empty(t, seen(out, crone2, "firstwitch"), "nothing changed")
	require.ElementsMatch(t, append(all, "thirdwitch none "+hag), w.adminList(crone2, "coven", "role", "moderator"))
	require.Equal(t, []string{"auth/forbidden"}, w.adminList(hag, "coven", "role", "moderator"), "a moderator is no admin")
	w.refused(w.admin(crone2, "coven", roleItem("thirdwitch", "participant", ""), roleItem("firstwitch", "participant", "")), crone2, "cancel/not-allowed")
	require.Len(t, w.adminList(crone2, "coven", "role", "moderator"), 3)
	w.did(w.admin(crone2, "coven", roleItem("thirdwitch", "participant", "")), crone2)
	require.ElementsMatch(t, all, w.adminList(crone2, "coven", "role", "moderator"))
	w.send("<presence from='" + crone2 + "' to='coven@" + domain + "/secondwitch' type='unavailable'/>")
	require.Equal(t, all[:1], w.adminList(crone2, "coven", "role", "moderator"), "an admin who is not there")
}

// XEP-0045 §17.1: a nickname in a request is the one that it is prepared to.
func TestNicknameInRequestIsPrepared(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.enter("duncan@shakespeare.lit/a", "coven", "e\u0301tat") // a letter and an accent
	out := w.admin(crone1, "coven", roleItem("\u00e9tat", "visitor", ""))
	require.Equal(t, "none/visitor", seen(out, crone2, "\u00e9tat"))
}

// Issue point 6: reasons are bounded.
func TestLongReason(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Subject = 10 })
	w.coven()
	w.refused(w.admin(crone1, "coven", roleItem("thirdwitch", "none", "01234567890")), crone1, "modify/policy-violation")
	w.did(w.admin(crone1, "coven", roleItem("thirdwitch", "none", "0123456789")), crone1)
}
