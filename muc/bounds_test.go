package muc

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Issue point 6, XEP-0045 §10.1.1: who may make rooms.
func TestWhoMayCreate(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.MayCreate = func(bare jid.JID) bool { return bare.Domainpart() == "shakespeare.lit" }
		o.Admins = []jid.JID{jid.MustParse("king@example.org")}
	})
	const stranger = "stranger@example.org/a"
	s := w.only(w.enter(stranger, "coven", "x"), stranger)
	require.Equal(t, "cancel/not-allowed", condition(s))
	require.Equal(t, "coven@"+domain+"/x", s.From.String())
	require.Equal(t, "enter", s.ID)
	require.Contains(t, codes(w.enter("king@example.org/a", "castle", "king")[0]), "201")
	w.open(crone1, "coven", "firstwitch")
	require.Equal(t, "none/participant", seen(w.enter(stranger, "coven", "x"), crone1, "x"), "entering is another matter")
}

// XEP-0045 §5.2, §9.2: an affiliation of a domain is that of all its users, so a domain that
// enters makes no room, and gets no affiliation but by its address.
func TestDomainsAsUsers(t *testing.T) {
	w := newWorld(t)
	for _, who := range []string{"gateway.example.org", "gateway.example.org/bot"} {
		require.Equal(t, "cancel/not-allowed", condition(w.only(w.enter(who, "coven", "bot"), who)))
	}
	w.coven()
	require.Equal(t, "none/participant", seen(w.enter("gateway.example.org/bot", "coven", "bot"), crone1, "bot"))
	for _, affiliation := range []string{"owner", "member", "outcast"} {
		w.refused(w.admin(crone1, "coven", "<item nick='bot' affiliation='"+affiliation+"'/>"), crone1, "cancel/not-allowed")
	}
	w.grant("gateway.example.org", "member")
	require.Equal(t, []string{"gateway.example.org"}, w.adminList(crone1, "coven", "affiliation", "member"))
}

// Issue point 6: rooms of one creator, and in all; destroyed ones do not count.
func TestNumberOfRooms(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Limits.RoomsPerUser, o.Limits.Rooms = 2, 4
		o.Admins = []jid.JID{jid.MustParse(bare(macbeth))}
	})
	made := func(who string, n int) string {
		s := w.enter(who, fmt.Sprint("room", n), "x")[0]
		return condition(s)
	}
	require.Empty(t, made(crone1, 1))
	require.Empty(t, made(crone1, 2))
	require.Equal(t, "wait/resource-constraint", made(crone1, 3))
	require.NotEmpty(t, w.only(w.enter(crone1, "room3", "x"), crone1).StanzaError().Text, "it says why")
	w.restart()
	require.Equal(t, "wait/resource-constraint", made(crone1, 3), "also after a restart")
	w.did(w.set(crone1, "room1", "<query xmlns='"+NSOwner+"'><destroy/></query>"), crone1)
	require.Empty(t, made(crone1, 3))
	require.Empty(t, made(macbeth, 4))
	require.Empty(t, made(macbeth, 5))
	require.Equal(t, "wait/resource-constraint", made(hag, 6), "in all")
	require.Equal(t, map[string]int{bare(crone1): 2, bare(macbeth): 2}, w.sv.made, "counted without looking through all rooms")
	w = newWorld(t, func(o *Options) {
		o.Limits.RoomsPerUser = 1
		o.Admins = []jid.JID{jid.MustParse(bare(macbeth))}
	})
	require.Empty(t, made(macbeth, 1))
	require.Empty(t, made(macbeth, 2), "admins of the service may")
}

// Issue point 6, XEP-0045 §17.1: names of rooms and nicknames.
func TestNames(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Name, o.Limits.Nick = 8, 8 })
	require.Equal(t, "modify/policy-violation", condition(w.only(w.enter(crone1, "ninechars", "x"), crone1)))
	require.Contains(t, codes(w.enter(crone1, "éééééééé", "x")[0]), "201", "characters, not octets")
	w.open(crone1, "coven", "12345678")
	require.Equal(t, "modify/not-acceptable", condition(w.only(w.enter(hag, "coven", "123456789"), hag)))
	require.Equal(t, "modify/jid-malformed", condition(w.only(w.enter(hag, "coven", "  "), hag)))
	require.Equal(t, "none/participant", seen(w.enter(hag, "COVEN", "Hag"), crone1, "Hag"), "the room's name is prepared, the nickname is not changed")
	w.refused(w.register(hag, "coven", "123456789"), hag, "modify/not-acceptable")
	w.refused(w.admin(crone1, "coven", "<item affiliation='member' jid='x@example.org' nick='123456789'/>"), crone1, "modify/not-acceptable")
}

// Issue point 6, XEP-0045 §10.1: an admin's rule for the names of new rooms; those that are
// there stay, and no other name is offered (XEP-0307).
func TestRuleForNames(t *testing.T) {
	w := newWorld(t, withAdmin)
	w.open(crone1, "blasted.heath", "firstwitch")
	w.did(w.configure(crone1, "blasted.heath", "muc#roomconfig_persistentroom", "1"), crone1)
	w.o.RoomNames = regexp.MustCompile("^[a-z]{3,8}$")
	w.restart()
	s := w.only(w.enter(crone1, "castle.hall", "x"), crone1)
	require.Equal(t, "modify/policy-violation", condition(s))
	require.NotEmpty(t, s.StanzaError().Text)
	require.Contains(t, codes(w.enter(crone1, "castle", "x")[0]), "201")
	require.Contains(t, codes(w.enter(queen, "hall.of.fame", "x")[0]), "201", "an admin of the service may")
	require.Empty(t, condition(to(w.enter(hag, "blasted.heath", "thirdwitch"), hag)[0]))
	const unique = "<unique xmlns='" + NSUnique + "'/>"
	require.Equal(t, "cancel/service-unavailable", condition(w.only(w.iq(hag, domain, "get", "u", unique), hag)))
	w.o.RoomNames = regexp.MustCompile("^[a-z0-9]+$")
	w.restart()
	require.Regexp(t, w.o.RoomNames, w.only(w.iq(hag, domain, "get", "u", unique), hag).Payload().Text())
}

// Issue point 6, XEP-0045 §7.2.9: occupants of a room, by the service; owners get in.
func TestNumberOfOccupants(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Occupants = 2 })
	w.open(crone1, "coven", "firstwitch")
	w.grant(bare(crone2), "owner")
	w.enter("a@example.org/a", "coven", "a")
	require.Equal(t, "wait/service-unavailable", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)))
	require.Equal(t, "owner/moderator", seen(w.enter(crone2, "coven", "secondwitch"), crone1, "secondwitch"))
	w.grant("example.org", "owner")
	for i := range 2 * forOwners {
		who := fmt.Sprintf("b%d@example.org/b", i)
		w.enter(who, "coven", bare(who))
	}
	require.Len(t, w.sv.awake("coven").room.list, 2+forOwners, "but not all of a domain that is")
}

// until sends again and again, and returns how often that went well before it was refused.
func (w *world) until(who, want string, send func(i int) []*component.Stanza) (n int) {
	w.t.Helper()
	for ; n < 1000; n++ {
		if out := send(n); condition(to(out, who)[0]) != "" {
			w.refused(out, who, want)
			return n
		}
	}
	w.t.Fatal("never refused")
	return n
}

// Issue point 6: rates of messages and presence, told to who is too fast and to nobody else.
func TestRates(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.MessageRate, o.Limits.PresenceRate = 1, 1 })
	w.coven()
	require.GreaterOrEqual(t, w.until(hag, "wait/policy-violation", func(i int) []*component.Stanza {
		return w.say(hag, "coven", fmt.Sprint(i), "Double, double toil and trouble")
	}), burstSeconds)
	require.Len(t, w.say(crone2, "coven", "x", "I may."), 3)
	require.GreaterOrEqual(t, w.until(hag, "wait/policy-violation", func(int) []*component.Stanza {
		return w.send("<presence from='" + hag + "' to='coven@" + domain + "/thirdwitch'><show>away</show></presence>")
	}), burstSeconds)
	require.Len(t, w.send("<presence type='unavailable' from='"+hag+"' to='coven@"+domain+"/thirdwitch'/>"), 3, "one may leave")
}

// Issue point 6: who leaves and enters again and again has one bucket for that, with all
// clients; and nothing is kept of who came long ago.
func TestRateOfEntering(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.PresenceRate = 1 })
	w.coven()
	clients := 0
	n := w.until(hag, "wait/policy-violation", func(int) []*component.Stanza {
		w.presence(hag, "coven@"+domain+"/thirdwitch", "unavailable", "")
		return to(w.enter(hag, "coven", "thirdwitch"), hag)[:1]
	})
	require.GreaterOrEqual(t, n, burstSeconds-1)
	w.until(bare(hag)+"/new", "wait/policy-violation", func(int) []*component.Stanza {
		clients++
		return to(w.enter(bare(hag)+"/new", "coven", "thirdwitch"), bare(hag)+"/new")[:1]
	})
	require.LessOrEqual(t, clients, burstSeconds, "another client is no way around")
	require.Empty(t, condition(to(w.enter(macbeth, "coven", "king"), macbeth)[0]), "nobody else is concerned")
	r := w.sv.awake("coven").room
	require.Len(t, r.comings, 1)
	r.now = r.now.Add(2 * burstSeconds * time.Second)
	r.cool()
	require.Nil(t, r.comings)
}

// Issue point 6: strangers cannot register, nor participants invite, without end.
func TestNumberOfMembers(t *testing.T) {
	w := newWorld(t)
	w.coven()
	r := w.sv.awake("coven").room
	for i := range maxAffiliates {
		r.affiliates.put(affiliate{jid: fmt.Sprint(i, "@example.org"), level: Member})
	}
	require.Equal(t, "wait/resource-constraint", condition(w.only(w.register(macbeth, "coven", "king"), macbeth)))
	w.grant(bare(hag), "member")
	w.did(w.register(hag, "coven", "thirdwitch"), hag) // who is one already may
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1", "muc#roomconfig_allowinvites", "1"), crone1)
	w.refused(w.invite(hag, "<invite to='hecate@shakespeare.lit'/>"), hag, "wait/resource-constraint")
	require.NotEmpty(t, to(w.invite(crone1, "<invite to='hecate@shakespeare.lit'/>"), "hecate@shakespeare.lit"), "admins may")
}

// XEP-0045 §9.5, §14.6: nor can admins have members without end.
func TestMostAffiliates(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant("duncan@shakespeare.lit", "member")
	r := w.sv.awake("coven").room
	for len(r.affiliates) < mostAffiliates-1 {
		r.affiliates.put(affiliate{jid: fmt.Sprint(len(r.affiliates), "@example.org"), level: Member})
	}
	one, two := affiliationItem(bare(crone2), "member", ""), affiliationItem(bare(macbeth), "outcast", "")
	const tooMany = "wait/resource-constraint"
	w.refused(w.admin(crone1, "coven", one, two), crone1, tooMany)
	w.did(w.admin(crone1, "coven", one, one, affiliationItem(bare(hag), "none", "")), crone1)
	w.refused(w.admin(crone1, "coven", two), crone1, tooMany)
	w.did(w.admin(crone1, "coven", affiliationItem("duncan@shakespeare.lit", "outcast", "")), crone1)
	w.refused(w.configure(crone1, "coven", "muc#roomconfig_roomadmins", bare(macbeth)), crone1, tooMany)
	w.refused(w.message(crone1, "coven@"+domain, "", approval(bare(macbeth), "king")), crone1, tooMany)
	token := w.link(crone1, "coven")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1"), crone1)
	require.Equal(t, notMember, condition(w.enterWith(macbeth, "coven", "king", token)))
	w.refused(w.invite(crone1, "<invite to='"+bare(macbeth)+"'/>"), crone1, tooMany)
	r.affiliates = r.affiliates[:maxAffiliates-1]
	require.Empty(t, condition(w.enterWith(macbeth, "coven", "king", token)), "there is room again")
}

// Nor can they have what takes as much memory, by long addresses and reasons. Who has to go can
// still be sent away, and what makes it less is done.
func TestOctetsOfAffiliates(t *testing.T) {
	w := newWorld(t)
	w.coven()
	r := w.sv.awake("coven").room
	reason := strings.Repeat("r", 4096)
	for r.affiliateOctets() < mostAffiliateOctets-10_000 {
		r.affiliates.put(affiliate{jid: fmt.Sprint(len(r.affiliates), "@example.org"), level: Outcast, reason: reason})
	}
	ban := func(why string, who ...string) []*component.Stanza {
		items := make([]string, len(who))
		for i, j := range who {
			items[i] = affiliationItem(j, "outcast", why)
		}
		return w.admin(crone1, "coven", items...)
	}
	w.did(ban(reason, bare(macbeth)), crone1)
	w.refused(ban(reason, "a@example.org", "b@example.org", "c@example.org"), crone1, "wait/resource-constraint")
	w.did(ban(reason, "a@example.org"), crone1)
	w.refused(ban(reason, "b@example.org"), crone1, "wait/resource-constraint")
	w.refused(ban(reason+"r", "1@example.org"), crone1, "modify/policy-violation")
	w.did(ban("no", "b@example.org"), crone1)
	w.did(ban("no", "1@example.org"), crone1)
	w.did(ban(reason, "1@example.org"), crone1)
	w.refused(ban(reason, "b@example.org"), crone1, "wait/resource-constraint")
	for len(r.affiliates) < mostAffiliates && r.affiliateOctets() < mostAffiliateOctets {
		r.affiliates.put(affiliate{jid: fmt.Sprint(len(r.affiliates), "@example.org"), level: Outcast, reason: reason})
	}
	require.Equal(t, "wait/resource-constraint", condition(w.only(w.register(hag, "coven", "thirdwitch"), hag)))
	w.did(w.admin(crone1, "coven", affiliationItem("1@example.org", "none", "")), crone1)
}

// XEP-0045 §14.6: what waits for a room that is busy is bounded in number and in memory, also
// where a stanza is short as text; who is refused may try again, and nothing is lost.
func TestWhatWaitsIsBounded(t *testing.T) {
	const mib = 1 << 20
	w := newWorld(t, func(o *Options) {
		o.Limits.Waiting, o.Limits.Backlog, o.Limits.MessageRate, o.Limits.Message = 100, mib, -1, mib
	})
	w.coven()
	fill := func(content string) (taken int) {
		busy, goOn := make(chan struct{}), make(chan struct{})
		require.NoError(t, w.sv.awake("coven").post(event{do: func(*room) { close(busy); <-goOn }}))
		<-busy
		var err error
		for ; err == nil; taken++ {
			s := parseOne(t, "<message type='groupchat' from='"+hag+"' to='coven@"+domain+"'><body>b</body>"+content+"</message>")
			err = w.sv.HandleStanza(t.Context(), s)
		}
		var se stanza.Error
		require.ErrorAs(t, err, &se)
		require.Equal(t, stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint}, stanza.Error{Type: se.Type, Condition: se.Condition})
		close(goOn)
		w.settle()
		require.Len(t, to(w.send(""), hag), taken-1)
		return taken - 1
	}
	require.Equal(t, 100, fill(""))
	require.Equal(t, 10, fill("<x xmlns='urn:x'>"+strings.Repeat("x", 100_000)+"</x>"))
	require.Less(t, fill("<x xmlns='urn:x'>"+strings.Repeat("<a b=''/>", 1000)+"</x>"), 10)
	w.sv.limits.Backlog = 1
	require.Equal(t, 1, fill(""), "a single one may wait, however large it is")
}

// Issue point 6: sizes of what is sent.
func TestSizes(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Limits.Message, o.Limits.Presence, o.Limits.Subject, o.Limits.VCard = 2000, 100, 50, 200
	})
	w.coven("muc#roomconfig_changesubject", "1")
	long := strings.Repeat("x", 2000)
	w.refused(w.say(hag, "coven", "1", long), hag, "modify/policy-violation")
	require.Len(t, w.say(hag, "coven", "1", long[:1000]), 3)
	w.refused(w.send("<message type='chat' from='"+hag+"' to='coven@"+domain+"/firstwitch'><body>"+long+"</body></message>"), hag, "modify/policy-violation")
	w.refused(w.send("<message type='groupchat' from='"+hag+"' to='coven@"+domain+"'><subject>"+long[:51]+"</subject></message>"), hag, "modify/policy-violation")
	w.refused(w.send("<presence from='"+hag+"' to='coven@"+domain+"/thirdwitch'><status>"+long[:100]+"</status></presence>"), hag, "modify/policy-violation")
	w.refused(w.send("<presence from='"+macbeth+"' to='coven@"+domain+"/king'><x xmlns='"+NSMUC+"'/><status>"+long[:100]+"</status></presence>"), macbeth, "modify/policy-violation")
	w.refused(w.send("<presence xml:lang='"+long+"' from='"+hag+"' to='coven@"+domain+"/thirdwitch'/>"), hag, "modify/policy-violation")
	w.refused(w.set(crone1, "coven", "<vCard xmlns='vcard-temp'><FN>"+long[:200]+"</FN></vCard>"), crone1, "modify/policy-violation")
	w.refused(w.configure(crone1, "coven", "muc#roomconfig_roomdesc", strings.Repeat(long, 3)), crone1, "modify/not-acceptable")
}

// Issue point 6: one request, and one form, is bounded too.
func TestNumberOfItems(t *testing.T) {
	w := newCoven(t)
	item := affiliationItem("x@example.org", "member", "")
	w.refused(w.admin(crone1, "coven", strings.Repeat(item, maxItems+1)), crone1, "modify/bad-request")
	w.did(w.admin(crone1, "coven", strings.Repeat(item, maxItems)), crone1)
}

// Issue point 6: registrations that wait for approval come slowly.
func TestRateOfRegistrations(t *testing.T) {
	w := newWorld(t)
	w.coven("{urn:xmpp:allium:0}approve", "1")
	require.GreaterOrEqual(t, w.until(macbeth, "wait/policy-violation", func(int) []*component.Stanza {
		return to(w.register(macbeth, "coven", "king"), macbeth)
	}), burstSeconds)
}

// Issue point 6: everybody is told of each registration, and of each end of one.
func TestRateOfNicknames(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.PresenceRate = 1 })
	w.coven()
	n := w.until(hag, "wait/policy-violation", func(i int) []*component.Stanza {
		out := w.register(hag, "coven", fmt.Sprint("hag", i))
		return []*component.Stanza{w.only(out[len(out)-1:], hag)}
	})
	require.GreaterOrEqual(t, n, burstSeconds)
	w.refused(w.set(hag, "coven", "<query xmlns='jabber:iq:register'><remove/></query>"), hag, "wait/policy-violation")
	w.did(w.register(crone2, "coven", "secondwitch"), crone2)
}

// Issue point 6: the history is bounded by its size too, in memory and for who enters, whether
// there is an archive or not.
func TestSizeOfHistory(t *testing.T) {
	for _, archive := range []string{"0", "1"} {
		w := newWorld(t, func(o *Options) { o.Limits.MessageRate = -1 })
		w.coven("muc#roomconfig_enablelogging", archive, "muc#maxhistoryfetch", "100")
		for i := range 30 {
			w.say(hag, "coven", fmt.Sprint(i), strings.Repeat("x", 60_000))
		}
		got := to(w.enter(macbeth, "coven", "king"), macbeth)
		size := 0
		r := w.sv.awake("coven").room
		for p, xml := range r.history.newest() {
			size += len(r.text(p, xml))
		}
		require.LessOrEqual(t, size, maxHistory)
		require.Greater(t, size, maxHistory-2*60_000)
		require.Equal(t, "29", got[len(got)-2].ID, "the last are there")
	}
}
