package muc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// XEP-0045 §7.2.1: a nickname is needed; §17.1: one that can be seen.
func TestNicknameNeeded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Nick = 20 })
	w.gather()
	got := w.only(w.presence(hecate, witches, "", "<x xmlns='"+NSMUC+"'/>"), hecate)
	require.Equal(t, "modify/jid-malformed", condition(got))
	require.Equal(t, "p", got.ID)
	require.Equal(t, "presence error room modify/jid-malformed", summary(w.presence(crone1, witches, "", "<x xmlns='"+NSMUC+"'/>"), crone1))
	require.Equal(t, "modify/jid-malformed", condition(w.only(w.enter(hecate, "coven", "  "), hecate)))
	require.Equal(t, "modify/not-acceptable", condition(w.only(w.enter(hecate, "coven", strings.Repeat("n", 21)), hecate)))
	require.Equal(t, "modify/not-acceptable", condition(w.only(w.presence(hag, witches+"/"+strings.Repeat("n", 21), "", ""), hag)))
}

// XEP-0045 §17.1: names of rooms and nicknames are compared after they are prepared.
func TestNamesArePrepared(t *testing.T) {
	w := newWorld(t)
	w.gather()
	require.Contains(t, summary(w.enter(hecate, "COVEN", "fourth"), hecate), "presence fourth participant 110")
	composed, decomposed := "caf\u00e9", "cafe\u0301"
	require.Contains(t, summary(w.enter("a@x.lit/1", "coven", composed), "a@x.lit/1"), "110")
	require.Equal(t, "presence error "+composed+" cancel/conflict", summary(w.enter("b@x.lit/1", "coven", decomposed), "b@x.lit/1"))
	require.Contains(t, summary(w.enter("b@x.lit/1", "coven", "FirstWitch"), "b@x.lit/1"), "presence FirstWitch participant 110")
}

// XEP-0045 §7.2.2, §7.2.4: everybody gets presence of everybody, once; real JIDs are for
// moderators.
func TestPresenceBroadcast(t *testing.T) {
	w := newWorld(t)
	w.gather()
	out := w.enter(hecate, "coven", "fourth")
	require.Equal(t, "presence firstwitch moderator\npresence secondwitch participant\npresence thirdwitch participant\npresence fourth participant 110 170\nmessage groupchat room subject \"\"", summary(out, hecate))
	for who, jid := range map[string]string{crone1: hecate, crone2: "", hag: "", hecate: hecate} {
		got := to(out, who)[max(0, len(to(out, who))-2)]
		require.Equal(t, "none", item(got).AttrValue("affiliation"))
		require.Equal(t, jid, item(got).AttrValue("jid"), who)
	}
	require.Equal(t, "owner", item(to(out, hecate)[0]).AttrValue("affiliation"))
	require.Equal(t, "", item(to(out, hecate)[0]).AttrValue("jid"))
}

// XEP-0045 §7.2.3: in a non-anonymous room everybody sees real JIDs, and is told so.
func TestNonAnonymous(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_whois", "anyone", "muc#roomconfig_enablelogging", "0")
	out := w.enter(hecate, "coven", "fourth")
	require.Contains(t, summary(out, hecate), "presence fourth participant 110 100")
	require.NotContains(t, summary(out, hecate), "170") // §7.2.12
	for _, who := range []string{crone1, crone2, hag} {
		require.Equal(t, hecate, item(w.only(out, who)).AttrValue("jid"))
		require.NotContains(t, codes(w.only(out, who)), "110")
	}
	require.Equal(t, crone2, item(to(out, hecate)[1]).AttrValue("jid"))
}

// XEP-0045 §7.2.1, RFC 6120 §8.3.1: an error of the room says that it is the room's; that of
// a client behind an occupant's address goes through as it is.
func TestErrorsSayWhoseTheyAre(t *testing.T) {
	w := newWorld(t)
	w.gather()
	by := func(s *component.Stanza) string {
		require.Equal(t, "error", s.Type)
		return s.Child(component.NSClient, "error").AttrValue("by")
	}
	for _, room := range []string{"coven", "heath"} { // which is not there
		require.Equal(t, room+"@"+domain, by(w.get(hecate, room+"/"+"firstwitch", "<ping xmlns='urn:xmpp:ping'/>")))
		require.Equal(t, room+"@"+domain, by(w.get(hecate, room, ownerQuery)))
		require.Equal(t, room+"@"+domain, by(w.only(w.presence(hecate, room+"@"+domain, "", "<x xmlns='"+NSMUC+"'/>"), hecate)))
	}
	require.Equal(t, witches, by(w.only(w.enter(hecate, "coven", "firstwitch"), hecate)))
	require.Equal(t, witches, by(w.only(w.admin(hag, "coven", roleItem("firstwitch", "none", "")), hag)))
	asked := w.only(w.send("<iq type='get' id='v' from='"+hag+"' to='"+witches+"/firstwitch'><query xmlns='jabber:iq:version'/></iq>"), crone1)
	out := w.send("<iq type='error' id='" + asked.ID + "' from='" + crone1 + "' to='" + asked.From.String() + "'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
	require.Empty(t, by(w.only(out, hag)))
}

// XEP-0045 §7.2.5 to §7.2.10: who is not let in, and why.
func TestNotLetIn(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", "cauldronburn")
	at := witches + "/fourth"
	refused := func(want string, out []*component.Stanza) {
		t.Helper()
		got := w.only(out, hecate)
		require.Len(t, out, 1)
		require.Equal(t, want, condition(got))
		require.Equal(t, "p", got.ID)
		require.Equal(t, got.To.String(), hecate)
	}
	refused("auth/not-authorized", w.join(hecate, at, ""))
	refused("auth/not-authorized", w.join(hecate, at, "<password>wrong</password>"))
	require.Contains(t, summary(w.join(hecate, at, "<password>cauldronburn</password>"), hecate), "110")
	w.presence(hecate, at, "unavailable", "")
	w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "0", "muc#roomconfig_maxusers", "3")
	refused("wait/service-unavailable", w.join(hecate, at, ""))
	w.admin(crone1, "coven", "<item jid='hecate@shakespeare.lit' affiliation='member'/>")
	refused("wait/service-unavailable", w.join(hecate, at, ""))
	w.admin(crone1, "coven", "<item jid='hecate@shakespeare.lit' affiliation='admin'/>")
	require.Contains(t, summary(w.join(hecate, at, ""), hecate), "presence fourth moderator 110")
	w.presence(hecate, at, "unavailable", "")
	w.admin(crone1, "coven", "<item jid='hecate@shakespeare.lit' affiliation='none'/>")
	w.configure(crone1, "coven", "muc#roomconfig_maxusers", "none")
	refused("cancel/conflict", w.join(hecate, first1, ""))
	w.admin(crone1, "coven", "<item jid='other@shakespeare.lit' affiliation='member' nick='fourth'/>")
	refused("cancel/conflict", w.join(hecate, at, ""))
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	refused("auth/registration-required", w.join(hecate, at, ""))
	w.admin(crone1, "coven", "<item jid='hecate@shakespeare.lit' affiliation='outcast'/>")
	refused("auth/forbidden", w.join(hecate, at, ""))
	w.admin(crone1, "coven", "<item jid='hecate@shakespeare.lit' affiliation='none'/>")
	w.enter(crone1, "locked", "n")
	refused("cancel/item-not-found", w.join(hecate, "locked@"+domain+"/n2", ""))
}

// XEP-0045 §5.1.2: the role that somebody begins with.
func TestRoleOfWhoEnters(t *testing.T) {
	for moderated, want := range map[string]map[string]string{
		"0": {"none": "participant", "member": "participant", "admin": "moderator", "owner": "moderator"},
		"1": {"none": "visitor", "member": "participant", "admin": "moderator", "owner": "moderator"},
	} {
		w := newWorld(t)
		w.gather("muc#roomconfig_moderatedroom", moderated)
		for affiliation, role := range want {
			w.admin(crone1, "coven", "<item jid='hecate@shakespeare.lit' affiliation='"+affiliation+"'/>")
			require.Contains(t, summary(w.enter(hecate, "coven", "fourth"), hecate), "presence fourth "+role+" 110", affiliation)
			w.presence(hecate, witches+"/fourth", "unavailable", "")
		}
	}
}

// XEP-0045 §5.1: what a moderator gave holds for the next visit of a moderated room.
func TestRolesStay(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_moderatedroom", "1")
	w.admin(crone1, "coven", "<item nick='thirdwitch' role='participant'/>")
	w.presence(hag, third, "unavailable", "")
	require.Contains(t, summary(w.enter(hag, "coven", "thirdwitch"), hag), "thirdwitch participant 110")
}

// XEP-0045 §7.2.8: one user, one nickname, two clients: each gets everything.
func TestSessions(t *testing.T) {
	w := newWorld(t)
	w.gather()
	hag2 := "hag66@shakespeare.lit/laptop"
	out := w.enter(hag2, "coven", "thirdwitch")
	require.Equal(t, "presence firstwitch moderator\npresence secondwitch participant\npresence thirdwitch participant 110 170\nmessage groupchat room subject \"\"", summary(out, hag2))
	require.Equal(t, "presence thirdwitch participant 110", summary(out, hag))
	require.Equal(t, "presence thirdwitch participant", summary(out, crone1))
	require.Contains(t, w.only(out, crone1).String(), hag)
	require.Contains(t, w.only(out, crone1).String(), hag2)
	out = w.say(hag2, "coven", "m1", "hi")
	require.Equal(t, "message groupchat thirdwitch hi", summary(out, hag))
	require.Equal(t, "message groupchat thirdwitch hi", summary(out, hag2))
	out = w.message(crone1, third, "chat", "<body>psst</body>")
	require.Equal(t, "message chat thirdwitch psst", strings.ReplaceAll(summary(out, hag2), "firstwitch", "thirdwitch"))
	require.Equal(t, summary(out, hag2), summary(out, hag))
	// One goes: the others are not told that the occupant left.
	out = w.presence(hag, third, "unavailable", "")
	require.Equal(t, "presence unavailable thirdwitch none 110", summary(out, hag))
	require.Equal(t, "presence thirdwitch participant 110", summary(out, hag2))
	require.Equal(t, "presence thirdwitch participant", summary(out, crone1))
	require.NotContains(t, w.only(out, crone1).String(), hag)
	out = w.presence(hag2, third, "unavailable", "")
	require.Equal(t, "presence unavailable thirdwitch none", summary(out, crone1))
	require.Equal(t, "presence error firstwitch cancel/conflict", summary(w.enter(hag, "coven", "firstwitch"), hag))
}

// XEP-0045 §7.2.1, §17.3: who enters again gets all again, and is no second occupant; the
// others are told only if something is new.
func TestSynchronise(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.say(crone1, "coven", "m1", "before")
	again := "presence firstwitch moderator\npresence secondwitch participant\npresence thirdwitch participant 110 170\nmessage groupchat firstwitch before\nmessage groupchat room subject \"\""
	out := w.enter(hag, "coven", "thirdwitch")
	require.Equal(t, again, summary(out, hag))
	require.Len(t, out, 5)
	out = w.presence(hag, third, "", "<x xmlns='"+NSMUC+"'/><show>away</show>")
	require.Equal(t, again, summary(out, hag))
	require.Equal(t, "presence thirdwitch participant", summary(out, crone1))
	require.Len(t, itemJIDs(w.get(crone1, "coven", discoItems)), 3)
	// With another nickname it is renamed, and gets all too.
	out = w.enter(hag, "coven", "oldhag")
	require.Equal(t, "presence unavailable thirdwitch participant 303\npresence oldhag participant", summary(out, crone1))
	require.Equal(t, "presence unavailable thirdwitch participant 303 110\n"+strings.ReplaceAll(again, "thirdwitch", "oldhag"), summary(out, hag))
}

// XEP-0045 §7.2.18, §7.7: presence without x is no entry, whoever has left before.
func TestNotInRoomPresence(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.presence(hag, third, "unavailable", "")
	out := w.presence(hag, third, "", "<show>away</show>")
	require.Len(t, out, 1)
	require.Equal(t, "presence unavailable thirdwitch none 110 307 333", summary(out, hag))
	require.Empty(t, w.presence(hag, third, "unavailable", "")) // §17.3
	require.Equal(t, "presence unavailable n none 110 307 333", summary(w.presence(hag, "nowhere@"+domain+"/n", "", ""), hag))
}

// XEP-0045 §7.2.2, XEP-0421 §4: what clients put into presence passes, but for what only
// the room may say.
func TestPresencePasses(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_whois", "anyone")
	payload := "<show>away</show><priority>3</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/><x xmlns='vcard-temp:x:update'><photo/></x>"
	forged := "<x xmlns='" + NSUser + "'><item affiliation='owner' role='moderator'/><status code='110'/></x><hats xmlns='" + NSHats + "'><hat title='Queen' uri='urn:q'/></hats>" +
		"<occupant-id xmlns='" + NSOccupantID + "' id='1'/><occupant-id xmlns='" + NSOccupantID + "' id='2'/>"
	for _, x := range []string{"", "<x xmlns='" + NSMUC + "'><password>secret</password></x>"} {
		out := w.send(fmt.Sprintf("<presence id='p' xml:lang='cy' from='%s' to='%s'>%s%s%s</presence>", hag, third, forged, payload, x))
		got := w.only(out, crone2)
		require.Equal(t, "cy", got.Lang)
		for _, name := range []string{"show", "priority", "c", "x xmlns='vcard-temp:x:update'"} {
			require.Equal(t, x == "" || len(to(out, crone2)) == 1, strings.Contains(got.String(), "<"+name), got)
		}
		require.Len(t, ids(got), 1)
		require.Equal(t, 1, strings.Count(got.String(), NSUser))
		require.NotContains(t, got.String(), "Queen")
		require.NotContains(t, got.String(), "secret")
		require.Equal(t, "participant", item(got).AttrValue("role"))
		w.presence(hag, third, "", "") // so that the next one is another
	}
}
