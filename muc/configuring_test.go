package muc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// XEP-0045 §10.2.1: what a change is told by: privacy by its own code, all else by 104, and
// no change not at all.
func TestCodesOfChanges(t *testing.T) {
	w := newCoven(t)
	w.grant(bare(crone2), "member")
	for _, c := range []struct {
		name, value string
		want        []string
	}{
		{"muc#roomconfig_roomname", "A Dark Cave", []string{"104"}},
		{"muc#roomconfig_roomname", "A Dark Cave", nil},
		{"muc#roomconfig_enablelogging", "0", []string{"171"}},
		{"muc#roomconfig_enablelogging", "false", nil},
		{"muc#roomconfig_enablelogging", "1", []string{"170"}},
		{"muc#roomconfig_whois", "anyone", []string{"172"}},
		{"muc#roomconfig_whois", "moderators", []string{"173"}},
		{"{urn:xmpp:allium:0}show_members", "1", []string{"102"}},
		{"{urn:xmpp:allium:0}show_members", "0", []string{"103"}},
		{"muc#roomconfig_roomsecret", "cauldron", []string{"104"}},
		{"muc#roomconfig_publicroom", "0", []string{"104"}},
		{"muc#roomconfig_changesubject", "1", []string{"104"}},
		{"muc#roomconfig_maxusers", "30", []string{"104"}},
		{nsKind, "public", []string{"104"}},
		{nsKind, "encrypted", []string{"172 104"}},
	} {
		out := w.configure(crone1, "coven", c.name, c.value)
		require.Equal(t, "result", out[0].Type, "the answer comes first")
		for _, who := range []string{crone1, crone2} {
			require.Equal(t, c.want, notices(out, who), "%s %s", c.name, c.value)
		}
		for _, s := range to(out, crone2) {
			if s.Type == "groupchat" {
				require.Len(t, s.Nodes, 1, "nothing but the codes")
			}
		}
	}
	require.Equal(t, []string{"172 104"}, notices(newCoven(t).configure(crone1, "coven", "muc#roomconfig_whois", "anyone", "muc#roomconfig_roomname", "X"), hag))
}

func newCoven(t *testing.T) *world {
	w := newWorld(t)
	w.coven()
	return w
}

// XEP-0045 §10.2: who is no member goes when the room becomes members-only.
func TestTurnedMembersOnly(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant(bare(crone2), "member")
	out := w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	require.Equal(t, "result", out[0].Type)
	require.Equal(t, "gone none/none 322 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, "gone none/none 322", seen(out, crone1, "thirdwitch"))
	require.Equal(t, "gone none/none 322", seen(out, crone2, "thirdwitch"))
	require.Empty(t, seen(out, crone2, "secondwitch"))
	require.Equal(t, []string{"104"}, notices(out, crone2))
	require.Empty(t, notices(out, hag))
	require.Equal(t, "auth/registration-required", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)))
}

// XEP-0045 §10.2: an owner outside who empties a temporary room has ended it.
func TestTurnedMembersOnlyWithNobodyLeft(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.send("<presence type='unavailable' from='" + crone1 + "' to='coven@" + domain + "/firstwitch'/>")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1"), crone1)
	require.Equal(t, "cancel/item-not-found", condition(w.get(crone1, "coven", ownerQuery)))
}

// XEP-0045 §10.2.1, §7.2.3: who is known from now on is shown, to those who did not know.
func TestTurnedNonAnonymous(t *testing.T) {
	w := newWorld(t)
	w.coven()
	out := w.configure(crone1, "coven", "muc#roomconfig_whois", "anyone")
	known := map[string]string{}
	for _, s := range to(out, hag) {
		if s.Kind == component.Presence {
			known[s.From.Resourcepart()] = item(s).AttrValue("jid")
		}
	}
	require.Equal(t, map[string]string{"firstwitch": crone1, "secondwitch": crone2}, known)
	require.Len(t, to(out, crone1), 2, "a moderator knew")
}

// XEP-0045 §16.5.3: presence of roles that are not shown any more goes, and comes back.
func TestPresenceBroadcastOption(t *testing.T) {
	w := newWorld(t)
	w.coven()
	out := w.configure(crone1, "coven", "muc#roomconfig_presencebroadcast", "moderator")
	require.Equal(t, "gone none/none", seen(out, crone2, "thirdwitch"))
	require.Empty(t, seen(out, crone2, "firstwitch"))
	require.Empty(t, seen(out, crone1, "thirdwitch"), "moderators see all")
	require.Empty(t, seen(out, hag, "thirdwitch"), "one sees oneself")
	out = w.admin(crone1, "coven", roleItem("thirdwitch", "moderator", ""))
	require.Equal(t, "none/moderator", seen(out, crone2, "thirdwitch"))
	require.Equal(t, "none/participant", seen(out, hag, "secondwitch"))
	out = w.admin(crone1, "coven", roleItem("thirdwitch", "participant", ""))
	require.Contains(t, seen(out, crone2, "thirdwitch"), "gone ")
	require.Contains(t, seen(out, hag, "secondwitch"), "gone ")
	form := *w.form(crone1, "coven")
	for i := range form.Fields {
		if form.Fields[i].Var == "muc#roomconfig_presencebroadcast" {
			form.Fields[i].Values = []string{"moderator", "participant", "visitor"}
		}
	}
	require.Equal(t, "none/participant", seen(w.submit(crone1, "coven", form), crone2, "thirdwitch"))
}

// XEP-0045 §10.2: a new kind of moderation leaves the roles that people have.
func TestModeratedTurnedOff(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_moderatedroom", "1")
	out := w.configure(crone1, "coven", "muc#roomconfig_moderatedroom", "0")
	require.Empty(t, seen(out, crone1, "thirdwitch"))
	require.Equal(t, "auth/forbidden", condition(w.only(w.say(hag, "coven", "m", "May I?"), hag)))
	require.Equal(t, "none/participant", seen(w.enter("x@example.org/y", "coven", "x"), crone1, "x"))
}
