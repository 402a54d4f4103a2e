package muc

import (
	"crypto/sha1"
	"encoding/binary"
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

// XEP-0392 §5.1, §6.2: a colour is made of the octets of a nickname, so these are the same for
// everybody, in all that comes of it, however its owner wrote it.
func TestNicknameIsOneText(t *testing.T) {
	const written, prepared = "Cafe\u0301 \u212b", "Caf\u00e9 \u00c5"
	w := newWorld(t)
	w.gather()
	angle := func(j jid.JID) float64 {
		sum := sha1.Sum([]byte(j.Resourcepart()))
		return float64(binary.LittleEndian.Uint16(sum[:])) / 65536 * 360
	}
	want := angle(jid.MustParse(witches + "/" + prepared))
	n := 0
	same := func(out []*component.Stanza, who string) {
		t.Helper()
		for _, s := range to(out, who) {
			if strings.HasPrefix(s.From.Resourcepart(), "Caf") {
				require.Equal(t, want, angle(s.From), "%v", s)
				n++
			}
		}
	}
	for _, who := range []string{crone1, crone2, hecate} {
		if who == crone1 {
			out := w.enter(hecate, "coven", written)
			same(out, hecate)
			same(out, crone1)
		}
		same(w.say(hecate, "coven", "m", "hi"), who)
		same(w.presence(hecate, witches+"/"+written, "", "<show>away</show>"), who)
	}
	require.Equal(t, 8, n)
	same(w.enter(macbeth, "coven", "king"), macbeth)
	require.Equal(t, 12, n, "presence and three messages of the history")
	for _, m := range w.query(macbeth, "coven", "").messages {
		require.Equal(t, want, angle(jid.MustParse(m.AttrValue("from"))))
	}
	require.Contains(t, itemJIDs(w.get(crone1, "coven", discoItems)), witches+"/"+prepared)
}

// XEP-0172 §4.2, §6: the name that somebody brings along reaches the others as it was written,
// and is nobody's nickname in the room.
func TestUserNickname(t *testing.T) {
	const nick = "<nick xmlns='http://jabber.org/protocol/nick'>firstwitch</nick>"
	w := newWorld(t)
	w.gather()
	outs := [][]*component.Stanza{
		w.message(hag, witches, "groupchat", "<body>Hail</body>"+nick),
		w.message(hag, second, "chat", "<body>Hail</body>"+nick),
		w.presence(hag, third, "", nick),
	}
	for _, out := range outs {
		s := w.only(out, crone2)
		require.Equal(t, "firstwitch", s.Child("http://jabber.org/protocol/nick", "nick").Text())
		require.Equal(t, third, s.From.String())
		require.Len(t, ids(s), 1)
	}
	require.Equal(t, []string{first1, second, third}, itemJIDs(w.get(crone1, "coven", discoItems)))
}
