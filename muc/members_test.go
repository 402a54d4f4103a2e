package muc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// XEP-0045 §9.3: membership with nickname and reason, seen by everybody.
func TestGrantMembership(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant(bare(crone2), "admin")
	out := w.admin(crone2, "coven", "<item affiliation='member' jid='"+bare(hag)+"' nick='thirdwitch'><reason>A worthy witch indeed!</reason></item>")
	require.Equal(t, "result", out[0].Type)
	require.Equal(t, "member/participant", seen(out, crone1, "thirdwitch"))
	require.Equal(t, "member/participant 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, "A worthy witch indeed!", item(to(out, hag)[0]).Child(NSUser, "reason").Text())
	require.Equal(t, "secondwitch", item(to(out, hag)[0]).Child(NSUser, "actor").AttrValue("nick"))
	require.Equal(t, []string{bare(hag) + " thirdwitch"}, w.adminList(crone2, "coven", "affiliation", "member"))
}

// XEP-0045 §9.4: without membership one stays in an open room, and not in a members-only
// one, where one is shown to go, and nothing else before.
func TestRevokeMembership(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant(bare(hag), "member", bare(crone2), "member")
	require.Equal(t, "none/participant 110", seen(w.grant(bare(hag), "none"), hag, "thirdwitch"))
	w.grant(bare(hag), "member")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1"), crone1)
	out := w.admin(crone1, "coven", affiliationItem(bare(hag), "none", "Not so worthy after all!"))
	require.Equal(t, "gone none/none 321 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, "gone none/none 321", seen(out, crone1, "thirdwitch"))
	require.Equal(t, "gone none/none 321", seen(out, crone2, "thirdwitch"))
	require.Equal(t, "Not so worthy after all!", item(to(out, hag)[0]).Child(NSUser, "reason").Text())
	refusal := w.only(w.enter(hag, "coven", "thirdwitch"), hag)
	require.Equal(t, "auth/registration-required", condition(refusal))
	require.Contains(t, refusal.StanzaError().Text["en"], "ask for an invitation")
}

// XEP-0045 §9.5: the member list; a set is a delta of any length, all or nothing.
func TestMemberList(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant("hecate@shakespeare.lit", "member", "macbeth@shakespeare.lit", "member")
	w.grant(bare(crone2), "admin")
	w.did(w.admin(crone2, "coven", affiliationItem("hecate@shakespeare.lit", "none", ""), affiliationItem(bare(hag), "member", ""),
		affiliationItem("duncan@example.org", "member", "")), crone2)
	all := []string{"duncan@example.org", bare(hag), "macbeth@shakespeare.lit"}
	require.Equal(t, all, w.adminList(crone2, "coven", "affiliation", "member"))
	w.refused(w.admin(crone2, "coven", affiliationItem(bare(hag), "none", ""), affiliationItem(bare(crone1), "member", "")), crone2, "auth/forbidden")
	w.refused(w.admin(crone2, "coven", affiliationItem(bare(hag), "none", ""), affiliationItem("@", "member", "")), crone2, "modify/jid-malformed")
	require.Equal(t, all, w.adminList(crone2, "coven", "affiliation", "member"))
	w.refused(w.admin(hag, "coven", affiliationItem("x@example.org", "member", "")), hag, "auth/forbidden")
}

// XEP-0045 §9.5: 'nick' sets, keeps and unsets a reserved nickname.
func TestNickInMemberList(t *testing.T) {
	w := newWorld(t)
	w.coven()
	set := func(nick string) {
		w.did(w.admin(crone1, "coven", "<item affiliation='member' jid='macbeth@shakespeare.lit'"+nick+"/>"), crone1)
	}
	list := func() []string { return w.adminList(crone1, "coven", "affiliation", "member") }
	set(" nick='king'")
	require.Equal(t, []string{"macbeth@shakespeare.lit king"}, list())
	set("")
	require.Equal(t, []string{"macbeth@shakespeare.lit king"}, list())
	w.refused(w.admin(crone1, "coven", "<item affiliation='member' jid='duncan@shakespeare.lit' nick='king'/>"), crone1, "cancel/conflict")
	w.refused(w.admin(crone1, "coven", "<item affiliation='member' jid='duncan@shakespeare.lit' nick='   '/>"), crone1, "modify/jid-malformed")
	set(" nick=''")
	require.Equal(t, []string{"macbeth@shakespeare.lit"}, list())
}

// XEP-0045 §7.11, §9.5, §10.5, §10.8: who may read the lists.
func TestWhoReadsLists(t *testing.T) {
	const outside = "duncan@shakespeare.lit/a"
	for _, c := range []struct {
		whois, membersOnly string
		lists              string
		may                map[string]bool // an affiliation; with a bang who is not there
	}{
		{"moderators", "0", "owner admin", map[string]bool{"owner": true}},
		{"moderators", "0", "member outcast", map[string]bool{"owner": true, "admin": true}},
		{"moderators", "1", "member", map[string]bool{"owner": true, "admin": true}},
		{"anyone", "0", "owner admin member", map[string]bool{"owner": true, "admin": true, "member": true, "none": true, "member!": true}},
		{"anyone", "0", "outcast", map[string]bool{"owner": true, "admin": true}},
		{"anyone", "1", "owner admin member", map[string]bool{"owner": true, "admin": true, "member": true, "member!": true}},
	} {
		t.Run(c.whois+" "+c.membersOnly+" "+c.lists, func(t *testing.T) {
			w := newWorld(t)
			w.coven("muc#roomconfig_whois", c.whois)
			w.grant(bare(crone2), "admin", bare(outside), "member")
			if c.membersOnly == "1" {
				w.grant(bare(hag), "member")
				w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1"), crone1)
			}
			who := map[string]string{"owner": crone1, "admin": crone2, "member!": outside, "none": hag, "none!": macbeth}
			if c.membersOnly == "1" {
				who["member"] = hag
				delete(who, "none")
			}
			for _, list := range strings.Fields(c.lists) {
				for name, j := range who {
					got := w.adminList(j, "coven", "affiliation", list)
					require.Equal(t, c.may[name], len(got) == 0 || got[0] != "auth/forbidden", "%s reads %s: %v", name, list, got)
				}
			}
		})
	}
}

// XEP-0045 §9.5: a request for a list names one.
func TestBadListRequests(t *testing.T) {
	w := newCoven(t)
	for _, items := range []string{"", "<item/>", "<item affiliation='king'/>", "<item affiliation='none'/>", "<item affiliation='member'/><item affiliation='owner'/>"} {
		require.Equal(t, "modify/bad-request", condition(w.get(crone1, "coven", "<query xmlns='"+NSAdmin+"'>"+items+"</query>")), items)
	}
}

// XEP-0045 §16.5.3: muc#roomconfig_getmemberlist says which roles read it, admins apart.
func TestMemberListReaders(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_whois", "anyone", "muc#roomconfig_getmemberlist", "moderator")
	require.Equal(t, []string{"auth/forbidden"}, w.adminList(hag, "coven", "affiliation", "member"))
	require.Equal(t, []string{}, w.adminList(crone1, "coven", "affiliation", "member"))
	w.did(w.admin(crone1, "coven", roleItem("thirdwitch", "moderator", "")), crone1)
	require.Equal(t, []string{}, w.adminList(hag, "coven", "affiliation", "member"))
}

// XEP-0045 §9.5: who becomes a member of a members-only room is invited, once.
func TestNewMemberIsInvited(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_passwordprotectedroom", "0", "muc#roomconfig_whois", "anyone")
	note := w.only(w.grant("macbeth@shakespeare.lit", "member"), "macbeth@shakespeare.lit")
	require.Equal(t, []string{"101"}, codes(note), "in an open room it is merely told")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1", "muc#roomconfig_roomsecret", "cauldronburn"), crone1)
	out := w.admin(crone1, "coven", affiliationItem("hecate@shakespeare.lit", "member", "Come!"))
	m := w.only(out, "hecate@shakespeare.lit")
	require.Equal(t, "coven@"+domain, m.From.String())
	require.Empty(t, m.Type)
	x := m.Child(NSUser, "x")
	require.Equal(t, bare(crone1), x.Child(NSUser, "invite").AttrValue("from"))
	require.Equal(t, "Come!", x.Child(NSUser, "invite").Child(NSUser, "reason").Text())
	require.Equal(t, "cauldronburn", x.Child(NSUser, "password").Text())
	require.Equal(t, "coven@"+domain, m.Child(NSConference, "x").AttrValue("jid"))
	require.Empty(t, to(w.admin(crone1, "coven", affiliationItem("hecate@shakespeare.lit", "member", "Again.")), "hecate@shakespeare.lit"))
	note = w.only(w.grant("hecate@shakespeare.lit", "none"), "hecate@shakespeare.lit")
	require.Equal(t, []string{"101"}, codes(note))
	require.Equal(t, "none", item(note).AttrValue("affiliation"))
}

// XEP-0045 §5.2.2: an outcast who is made a member may enter again.
func TestOutcastBecomesMember(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant(bare(hag), "outcast")
	w.grant(bare(hag), "member")
	require.Equal(t, []string{}, w.adminList(crone1, "coven", "affiliation", "outcast"))
	require.Equal(t, "member/participant", seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"))
}
