package muc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// occupantIDIn is the occupant id of a stanza, which has one.
func occupantIDIn(t *testing.T, s *component.Stanza) string {
	t.Helper()
	id := s.Child(NSOccupantID, "occupant-id").AttrValue("id")
	require.NotEmpty(t, id, "%v", s)
	return id
}

// XEP-0045 §4.2, XEP-0203 §4: where addresses are not shown, a message does not tell either
// by which server it was late.
func TestDelayTellsNoServer(t *testing.T) {
	for whois, want := range map[string][]string{"moderators": {"", "stamp"}, "anyone": {"shakespeare.lit", "stamp"}} {
		w := newWorld(t)
		w.gather("muc#roomconfig_whois", whois)
		late := "<body>late</body><delay xmlns='urn:xmpp:delay' from='shakespeare.lit' stamp='2004-09-29T01:54:37Z'/>"
		for _, out := range [][]*component.Stanza{w.message(hag, witches, "groupchat", late), w.message(hag, second, "chat", late)} {
			delay := w.only(out, crone2).Child(NSDelay, "delay")
			require.Equal(t, want[0], delay.AttrValue("from"))
			require.Equal(t, "2004-09-29T01:54:37Z", delay.AttrValue("stamp"))
		}
	}
}

// XEP-0421 §3.1: every message and presence of an occupant has the id, also the subject for
// who enters, and the presence of members who are not there.
func TestOccupantIDEverywhere(t *testing.T) {
	w := newWorld(t)
	w.gather("{urn:xmpp:allium:0}show_members", "1", "muc#roomconfig_changesubject", "1")
	w.did(w.register(hag, "coven", "thirdwitch"), hag)
	id := occupantIDIn(t, w.only(w.message(hag, witches, "groupchat", "<subject>Fire Burn</subject>"), crone1))
	w.presence(hag, third, "unavailable", "")
	for _, restart := range []bool{false, true} {
		if restart {
			w.restart()
		}
		subject, absent := false, false
		for _, s := range to(w.enter(hecate, "coven", "fourth"), hecate) {
			if s.Child(component.NSClient, "subject") != nil {
				require.Equal(t, id, occupantIDIn(t, s))
				subject = true
			}
			if s.Type == string(stanza.UnavailablePresence) && s.From.String() == third {
				require.Equal(t, id, occupantIDIn(t, s))
				absent = true
			}
		}
		require.True(t, subject)
		require.True(t, absent)
	}
}

// XEP-0421 §3.3: a room that gets the name of one that is gone does not have its ids: who
// makes it learns nothing of who was in that. They stay while the room is there.
func TestOccupantIDOfAnotherRoom(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_persistentroom", "1")
	said := func() string {
		return occupantIDIn(t, w.only(w.message(hag, witches, "groupchat", "<body>hail</body>"), hag))
	}
	id := said()
	w.restart()
	w.enter(hag, "coven", "thirdwitch")
	require.Equal(t, id, said())
	w.did(w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>"), crone1)
	w.gather()
	require.NotEqual(t, id, said())
}

// XEP-0045 §10.9: in a room that is destroyed nobody has an affiliation any more.
func TestDestroyedAffiliation(t *testing.T) {
	w := newWorld(t)
	w.gather()
	out := w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>")
	item := to(out, crone1)[0].Child(NSUser, "x").Child(NSUser, "item")
	require.Equal(t, "none none", item.AttrValue("affiliation")+" "+item.AttrValue("role"))
}

// XEP-0045 §10.1.3: a locked room is there until its creator leaves: who else leaves is not
// told that it is gone.
func TestAdminLeavesALockedRoom(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Admins = append(o.Admins, jid.MustParse(bare(hag))) })
	w.enter(crone1, "coven", "firstwitch")
	require.Empty(t, condition(to(w.enter(hag, "coven", "thirdwitch"), hag)[0]))
	for _, s := range w.presence(hag, third, "unavailable", "") {
		require.NotContains(t, s.String(), "<destroy")
	}
	w.did(w.configure(crone1, "coven"), crone1)
}

// XEP-0045 §7.10: who registers gets the rights of a member, and keeps none that all of the
// server had once.
func TestRegisterUnderADomain(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.grant("x.lit", "owner")
	require.Equal(t, "cancel/not-allowed", condition(answerTo(w.register("eve@x.lit/a", "coven", "eve"), "eve@x.lit/a")))
	w.grant("x.lit", "member")
	w.did(w.register("eve@x.lit/a", "coven", "eve"), "eve@x.lit/a")
	w.grant("x.lit", "none")
	require.Equal(t, []string{"eve@x.lit eve"}, w.adminList(crone1, "coven", "affiliation", "member"))
	require.Len(t, w.adminList(crone1, "coven", "affiliation", "owner"), 1)
}

// Issue point 3: a server, which may never make rooms, learns no more than its users.
func TestHiddenFromServers(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.DefaultKind = "encrypted" })
	w.open(crone1, "coven", "firstwitch")
	for _, xml := range append(probes, entries...) {
		xml = strings.ReplaceAll(xml, "stranger@x.lit/a", "x.lit")
		require.Equal(t, answered(w, xml, "none"), answered(w, xml, "coven"), xml)
	}
}
