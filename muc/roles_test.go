package muc

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// XEP-0045 §5.1.2: the role that somebody enters with.
func TestRolesByAffiliation(t *testing.T) {
	for _, c := range []struct{ kind, affiliation, role string }{
		{"muc#roomconfig_moderatedroom", "none", "visitor"},
		{"muc#roomconfig_moderatedroom", "member", "participant"},
		{"muc#roomconfig_moderatedroom", "admin", "moderator"},
		{"muc#roomconfig_moderatedroom", "owner", "moderator"},
		{"muc#roomconfig_publicroom", "none", "participant"},
		{"muc#roomconfig_publicroom", "member", "participant"},
		{"muc#roomconfig_publicroom", "admin", "moderator"},
		{"muc#roomconfig_publicroom", "owner", "moderator"},
		{"muc#roomconfig_membersonly", "member", "participant"},
		{"muc#roomconfig_membersonly", "admin", "moderator"},
		{"muc#roomconfig_membersonly", "owner", "moderator"},
	} {
		t.Run(c.kind+" "+c.affiliation, func(t *testing.T) {
			w := newWorld(t)
			w.enter(crone1, "coven", "firstwitch")
			w.did(w.configure(crone1, "coven", c.kind, "1"), crone1)
			w.grant(bare(hag), c.affiliation)
			require.Equal(t, c.affiliation+"/"+c.role, seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"))
		})
	}
}

// XEP-0045 §5.1.3: an affiliation brings a role, for whom is there.
func TestRoleFollowsAffiliation(t *testing.T) {
	for _, c := range []struct{ moderated, from, to, before, after string }{
		{"1", "none", "member", "none/visitor", "member/participant"},
		{"1", "none", "admin", "none/visitor", "admin/moderator"},
		{"1", "none", "owner", "none/visitor", "owner/moderator"},
		{"1", "member", "none", "member/participant", "none/visitor"},
		{"1", "admin", "member", "admin/moderator", "member/participant"},
		{"1", "admin", "none", "admin/moderator", "none/visitor"},
		{"1", "owner", "admin", "owner/moderator", "admin/moderator"},
		{"0", "none", "member", "none/participant", "member/participant"},
		{"0", "member", "none", "member/participant", "none/participant"},
		{"0", "admin", "none", "admin/moderator", "none/participant"},
		{"0", "owner", "member", "owner/moderator", "member/participant"},
	} {
		t.Run(c.moderated+" "+c.from+" to "+c.to, func(t *testing.T) {
			w := newWorld(t)
			w.enter(crone1, "coven", "firstwitch")
			w.did(w.configure(crone1, "coven", "muc#roomconfig_moderatedroom", c.moderated), crone1)
			w.grant(bare(hag), c.from)
			require.Equal(t, c.before, seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"))
			out := w.grant(bare(hag), c.to)
			require.Equal(t, c.after, seen(out, crone1, "thirdwitch"))
			require.Equal(t, c.after+" 110", seen(out, hag, "thirdwitch"))
		})
	}
}

// XEP-0045 §5.1.3: a moderator or a silenced one stays that, where an affiliation does not
// say more.
func TestRoleThatAffiliationLeaves(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.did(w.admin(crone1, "coven", roleItem("secondwitch", "moderator", ""), roleItem("thirdwitch", "visitor", "")), crone1)
	require.Equal(t, "member/moderator", seen(w.grant(bare(crone2), "member"), hag, "secondwitch"))
	require.Equal(t, "none/moderator", seen(w.grant(bare(crone2), "none"), hag, "secondwitch"))
	require.Equal(t, "member/participant", seen(w.grant(bare(hag), "member"), crone1, "thirdwitch"))
	w.did(w.admin(crone1, "coven", roleItem("thirdwitch", "visitor", "")), crone1)
	require.Equal(t, "none/visitor", seen(w.grant(bare(hag), "none"), crone1, "thirdwitch"), "no voice by losing something")
}

// XEP-0045 §5.1: in a moderated room the roles that moderators gave outlast a visit.
func TestRolesOutlastVisits(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_moderatedroom", "1")
	w.did(w.admin(crone1, "coven", roleItem("thirdwitch", "participant", "")), crone1)
	again := func() string {
		w.send("<presence from='" + hag + "' to='coven@" + domain + "/thirdwitch' type='unavailable'/>")
		return seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch")
	}
	require.Equal(t, "none/participant", again())
	w.did(w.admin(crone1, "coven", roleItem("thirdwitch", "visitor", "")), crone1)
	require.Equal(t, "none/visitor", again())
	w.grant(bare(hag), "member")
	require.Equal(t, "member/participant", again(), "membership brings voice")
}

// XEP-0045 §5.2: affiliations belong to the bare JID: all sessions, all nicknames, all visits.
func TestAffiliationIsOfTheBareJID(t *testing.T) {
	w := newWorld(t)
	w.coven()
	tablet := bare(hag) + "/tablet"
	w.enter(tablet, "coven", "otherwitch")
	out := w.grant(tablet, "member")
	require.Equal(t, "member/participant", seen(out, crone1, "thirdwitch"))
	require.Equal(t, "member/participant", seen(out, crone1, "otherwitch"))
	require.Equal(t, []string{bare(hag)}, w.adminList(crone1, "coven", "affiliation", "member"))
	w.send("<presence from='" + hag + "' to='coven@" + domain + "/thirdwitch' type='unavailable'/>")
	require.Equal(t, "member/participant", seen(w.enter(hag, "coven", "fourthwitch"), crone1, "fourthwitch"))
}

// XEP-0045 §5.1.3, §5.2.3: a change is told to everybody once, and no change to nobody.
func TestOnlyChangesAreTold(t *testing.T) {
	w := newWorld(t)
	w.coven()
	out := w.grant(bare(hag), "none")
	require.Len(t, out, 1)
	out = w.admin(crone1, "coven", roleItem("thirdwitch", "participant", ""))
	require.Len(t, out, 1)
	w.did(out, crone1)
	out = w.grant(bare(hag), "member")
	require.Equal(t, "member/participant", seen(out, crone1, "thirdwitch"))
	require.Equal(t, "member/participant", seen(out, crone2, "thirdwitch"))
	require.Equal(t, "member/participant 110", seen(out, hag, "thirdwitch"))
	require.Len(t, out, 4)
}

// XEP-0045 §7.2.4, §8: who becomes a moderator in a semi-anonymous room sees the addresses.
func TestNewModeratorSeesAddresses(t *testing.T) {
	w := newWorld(t)
	w.coven()
	out := w.admin(crone1, "coven", roleItem("secondwitch", "moderator", ""))
	addresses := map[string]string{}
	for _, s := range to(out, crone2) {
		addresses[s.From.Resourcepart()] = item(s).AttrValue("jid")
	}
	require.Equal(t, map[string]string{"firstwitch": crone1, "secondwitch": crone2, "thirdwitch": hag}, addresses)
	for _, s := range to(out, hag) {
		if s.From.Resourcepart() != "thirdwitch" {
			require.Empty(t, item(s).AttrValue("jid"))
		}
	}
}

// XEP-0045 §5.2: a change about somebody who is not there is told to those who may know
// the address, before the answer; and to whom it is about (§18.1, status 101).
func TestAffiliationOfTheAbsent(t *testing.T) {
	w := newWorld(t)
	w.coven()
	out := w.admin(crone1, "coven", affiliationItem("macbeth@shakespeare.lit", "admin", "He shall be."))
	mine := to(out, crone1)
	require.Len(t, mine, 2)
	require.Equal(t, "coven@"+domain, mine[0].From.String())
	require.Equal(t, "admin", item(mine[0]).AttrValue("affiliation"))
	require.Equal(t, "macbeth@shakespeare.lit", item(mine[0]).AttrValue("jid"))
	require.Equal(t, "He shall be.", item(mine[0]).Child(NSUser, "reason").Text())
	require.Equal(t, "result", mine[1].Type)
	require.Empty(t, to(out, hag), "a participant here may not know addresses")
	note := w.only(out, "macbeth@shakespeare.lit")
	require.Equal(t, []string{"101"}, codes(note))
	require.Equal(t, "admin", item(note).AttrValue("affiliation"))

	out = w.grant("duncan@shakespeare.lit", "outcast")
	require.Equal(t, []string{"301"}, codes(to(out, crone1)[0]))
	require.Empty(t, to(out, "duncan@shakespeare.lit"), "a stranger is not told that he is banned")
	require.Len(t, w.grant("duncan@shakespeare.lit", "outcast"), 1, "nothing new")
	out = w.grant("macbeth@shakespeare.lit", "outcast")
	require.Equal(t, []string{"101"}, codes(w.only(out, "macbeth@shakespeare.lit")))
}

// XEP-0045 §9.2, §17.4: requests that are none change nothing.
func TestBadRequestsForRights(t *testing.T) {
	w := newWorld(t)
	w.coven()
	for items, want := range map[string]string{
		"":                           "modify/bad-request",
		"<item nick='thirdwitch'/>":  "modify/bad-request",
		"<item role='participant'/>": "modify/bad-request",
		"<item role='participant' jid='" + hag + "'/>":                                              "modify/bad-request",
		"<item nick='thirdwitch' role='king'/>":                                                     "modify/bad-request",
		"<item jid='hag66@shakespeare.lit' affiliation='king'/>":                                    "modify/bad-request",
		"<item jid='hag66@shakespeare.lit' affiliation=''/>":                                        "modify/bad-request",
		"<item affiliation='member'/>":                                                              "modify/bad-request",
		"<item affiliation='member' nick='nobody'/>":                                                "cancel/item-not-found",
		"<item jid='@' affiliation='member'/>":                                                      "modify/jid-malformed",
		"<item jid='a b@shakespeare.lit' affiliation='outcast'/>":                                   "modify/jid-malformed",
		"<item nick='nobody' role='none'/>":                                                         "cancel/item-not-found",
		"<item nick='thirdwitch' role='visitor' affiliation='member' jid='hag66@shakespeare.lit'/>": "modify/bad-request",
	} {
		t.Run(items, func(t *testing.T) {
			w.t = t
			w.refused(w.admin(crone1, "coven", items), crone1, want)
			// One bad item among good ones, behind and before: nothing is done (§9.2).
			w.refused(w.admin(crone1, "coven", roleItem("secondwitch", "none", ""), "<item/>", items), crone1, "modify/bad-request")
		})
	}
	require.Len(t, w.say(crone2, "coven", "m", "Still here."), 3)
}

// XEP-0045 §5.1: who lost voice does not have it again by entering anew, however many others
// a moderator has given or taken it.
func TestRoleOfVisitIsTaken(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_moderatedroom", "1")
	w.did(w.admin(crone1, "coven", roleItem("thirdwitch", "participant", "")), crone1)
	r := w.sv.awake("coven").room
	for i := range maxInvited {
		r.given[fmt.Sprint(i, "@example.org")] = Visitor
	}
	w.did(w.admin(crone1, "coven", roleItem("thirdwitch", "visitor", "")), crone1)
	w.presence(hag, witches+"/thirdwitch", "unavailable", "")
	require.Equal(t, "none/visitor", seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"))
}
