package muc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// XEP-0045 §10.3, §10.4, §10.6, §10.7: owners and admins are made and unmade, seen by all.
func TestGrantAndRevokeOwnersAndAdmins(t *testing.T) {
	for _, c := range []struct{ from, to, before, after string }{
		{"none", "owner", "none/participant", "owner/moderator"},
		{"member", "owner", "member/participant", "owner/moderator"},
		{"none", "admin", "none/participant", "admin/moderator"},
		{"member", "admin", "member/participant", "admin/moderator"},
		{"owner", "admin", "owner/moderator", "admin/moderator"},
		{"owner", "member", "owner/moderator", "member/participant"},
		{"owner", "none", "owner/moderator", "none/participant"},
		{"admin", "member", "admin/moderator", "member/participant"},
		{"admin", "none", "admin/moderator", "none/participant"},
		{"admin", "owner", "admin/moderator", "owner/moderator"},
	} {
		t.Run(c.from+" "+c.to, func(t *testing.T) {
			w := newWorld(t)
			w.coven()
			w.grant(bare(hag), c.from)
			out := w.admin(crone1, "coven", affiliationItem(hag, c.to, "Well."))
			require.Equal(t, "result", out[0].Type)
			require.Equal(t, c.after, seen(out, crone1, "thirdwitch"))
			require.Equal(t, c.after, seen(out, crone2, "thirdwitch"))
			require.Equal(t, c.after+" 110", seen(out, hag, "thirdwitch"))
			require.Equal(t, "Well.", item(to(out, hag)[0]).Child(NSUser, "reason").Text())
			if c.to != "none" {
				require.Contains(t, w.adminList(crone1, "coven", "affiliation", c.to), bare(hag))
			}
			if c.from != "none" {
				require.NotContains(t, w.adminList(crone1, "coven", "affiliation", c.from), bare(hag))
			}
		})
	}
}

// XEP-0045 §10: a room never loses its last owner, by whatever way.
func TestLastOwner(t *testing.T) {
	w := newWorld(t)
	w.coven()
	for _, affiliation := range []string{"none", "member", "admin"} {
		w.refused(w.admin(crone1, "coven", affiliationItem(bare(crone1), affiliation, "")), crone1, "cancel/conflict")
	}
	w.refused(w.admin(crone1, "coven", affiliationItem(bare(hag), "owner", ""), affiliationItem(bare(crone1), "none", ""),
		affiliationItem(bare(hag), "admin", "")), crone1, "cancel/conflict")
	w.refused(w.configure(crone1, "coven", "muc#roomconfig_roomowners", ""), crone1, "cancel/conflict")
	w.refused(w.submit(crone1, "coven", component.Form{FormType: NSRoomConfig, Fields: []component.Field{
		{Var: "muc#roomconfig_roomowners"}, {Var: "muc#roomconfig_roomname", Values: []string{"Nobody's"}}}}), crone1, "cancel/conflict")
	require.Empty(t, w.form(crone1, "coven").Value("muc#roomconfig_roomname"))
	require.Equal(t, []string{bare(crone1)}, w.adminList(crone1, "coven", "affiliation", "owner"))
	// With another one it can be done, in one request too.
	w.did(w.admin(crone1, "coven", affiliationItem(bare(crone1), "admin", ""), affiliationItem(bare(hag), "owner", "")), crone1)
	require.Equal(t, []string{bare(hag)}, w.adminList(hag, "coven", "affiliation", "owner"))
	w.did(w.configure(hag, "coven", "muc#roomconfig_roomowners", bare(crone2)), hag)
	require.Equal(t, []string{bare(crone2)}, w.adminList(crone2, "coven", "affiliation", "owner"))
}

// XEP-0045 §10.5, §10.8: the lists of owners and admins; a set is a delta, all or nothing.
func TestOwnerAndAdminLists(t *testing.T) {
	for _, list := range []string{"owner", "admin"} {
		t.Run(list, func(t *testing.T) {
			w := newWorld(t)
			w.coven()
			first := w.adminList(crone1, "coven", "affiliation", list)
			w.grant("hecate@shakespeare.lit", list)
			out := w.grant(bare(hag), list, "hecate@shakespeare.lit", "none", "duncan@example.org", list)
			require.Equal(t, list+"/moderator", seen(out, crone2, "thirdwitch"))
			require.ElementsMatch(t, append(first, bare(hag), "duncan@example.org"), w.adminList(crone1, "coven", "affiliation", list))
			w.grant(bare(crone2), "admin")
			all := w.adminList(crone1, "coven", "affiliation", list)
			for _, who := range []string{crone2, macbeth} {
				w.refused(w.admin(who, "coven", affiliationItem("x@example.org", list, "")), who, "auth/forbidden")
				w.refused(w.admin(who, "coven", affiliationItem("duncan@example.org", "none", "")), who, "auth/forbidden")
			}
			w.refused(w.admin(crone1, "coven", affiliationItem("duncan@example.org", "none", ""), affiliationItem("@", list, "")), crone1, "modify/jid-malformed")
			require.Equal(t, all, w.adminList(crone1, "coven", "affiliation", list))
		})
	}
}

// XEP-0045 §10.2: roomadmins and roomowners are the full lists.
func TestListsInTheForm(t *testing.T) {
	const admins, owners = "muc#roomconfig_roomadmins", "muc#roomconfig_roomowners"
	fields := func(all ...string) component.Form {
		f := component.Form{FormType: NSRoomConfig}
		for i := 0; i < len(all); i += 2 {
			f.Fields = append(f.Fields, component.Field{Var: all[i], Values: strings.Fields(all[i+1])})
		}
		return f
	}
	w := newWorld(t)
	w.coven()
	out := w.submit(crone1, "coven", fields(admins, bare(crone2)+" "+hag))
	require.Equal(t, "result", out[0].Type)
	require.Equal(t, "admin/moderator", seen(out, crone1, "secondwitch"))
	require.Equal(t, "admin/moderator 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, []string{bare(hag), bare(crone2)}, w.adminList(crone1, "coven", "affiliation", "admin"))

	out = w.submit(crone1, "coven", fields(admins, bare(hag), owners, bare(crone1)+" "+bare(crone2)))
	require.Equal(t, "owner/moderator", seen(out, hag, "secondwitch"))
	require.Empty(t, seen(out, hag, "thirdwitch"))

	out = w.submit(crone1, "coven", fields(owners, bare(crone1)))
	require.Equal(t, "admin/moderator", seen(out, hag, "secondwitch"), "no word of admins")
	w.did(w.submit(crone1, "coven", fields(owners, bare(crone1)+" "+bare(crone2))), crone1)
	out = w.submit(crone1, "coven", fields(owners, bare(crone1), admins, ""))
	require.Equal(t, "member/participant", seen(out, hag, "secondwitch"), "no admin either")
	require.Equal(t, "member/participant 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, []string{}, w.adminList(crone1, "coven", "affiliation", "admin"))

	out = w.submit(crone1, "coven", fields(owners, bare(crone1)+" "+bare(hag), admins, bare(hag)+" "+bare(crone1)))
	require.Equal(t, "owner/moderator", seen(out, crone1, "thirdwitch"), "the greater counts")
	out = w.submit(crone1, "coven", fields(owners, bare(hag), admins, bare(crone1)))
	require.Equal(t, "admin/moderator", seen(out, hag, "firstwitch"), "in one step")
	w.refused(w.submit(crone1, "coven", fields(admins, "")), crone1, "auth/forbidden")
	w.did(w.submit(hag, "coven", fields(admins, bare(hag))), hag)
	require.Equal(t, []string{bare(hag)}, w.adminList(hag, "coven", "affiliation", "owner"), "an owner is no less")
}

// XEP-0045 §11, issue point 1: admins of the service are owners everywhere.
func TestServiceAdmin(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Admins = []jid.JID{jid.MustParse(bare(macbeth))}; o.DefaultKind = "encrypted" })
	w.open(crone1, "coven", "firstwitch")
	w.did(w.configure(macbeth, "coven", "muc#roomconfig_roomname", "The King's"), macbeth)
	require.Equal(t, []string{bare(crone1)}, w.adminList(macbeth, "coven", "affiliation", "owner"))
	w.refused(w.admin(crone1, "coven", affiliationItem(bare(macbeth), "outcast", "")), crone1, "cancel/not-allowed")
	require.Equal(t, "owner/moderator", seen(w.enter(macbeth, "coven", "king"), crone1, "king"), "a members-only room")
	w.refused(w.admin(crone1, "coven", roleItem("king", "visitor", "")), crone1, "cancel/not-allowed")
	w.did(w.set(macbeth, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>"), macbeth)
	require.Equal(t, "cancel/item-not-found", condition(w.get(crone1, "coven", ownerQuery)))
}
