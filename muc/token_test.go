package muc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// enterWith enters a room with a password, and returns what the one who enters gets first.
func (w *world) enterWith(who, room, nick, password string) *component.Stanza {
	w.t.Helper()
	got := to(w.send("<presence id='enter' from='"+who+"' to='"+room+"@"+domain+"/"+nick+"'><x xmlns='"+NSMUC+"'><password>"+password+"</password></x></presence>"), who)
	require.NotEmpty(w.t, got)
	return got[0]
}

// link makes an invitation and returns its token.
func (w *world) link(who, room string, fields ...string) string {
	w.t.Helper()
	form, others := w.do(who, room, NSAllium+"#invite", append(fields, "note", "for you")...)
	require.Empty(w.t, others)
	_, token, ok := strings.Cut(form.Value("uri"), "xmpp:"+room+"@"+domain+"?join;password=")
	require.True(w.t, ok, form.Value("uri"))
	require.Len(w.t, token, tokenLength)
	return token
}

const (
	notMember   = "auth/registration-required"
	badPassword = "auth/not-authorized"
)

// Whoever enters with a token becomes a member, as many times as it may be used, also if
// the service crashed in between.
func TestInvitation(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1", "muc#roomconfig_persistentroom", "1")
	w.open(crone1, "heath", "firstwitch")
	w.configure(crone1, "heath", "muc#roomconfig_membersonly", "1", "muc#roomconfig_persistentroom", "1")
	token := w.link(crone1, "coven", "uses", "2")
	require.Equal(t, notMember, condition(w.enterWith(hag, "heath", "thirdwitch", token)), "of another room")
	require.Equal(t, notMember, condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)))

	s := w.enterWith(hag, "coven", "firstwitch", token)
	require.Equal(t, "cancel/conflict", condition(s), "but is a member now")
	all := w.enter(hag, "coven", "thirdwitch")
	require.Equal(t, "member", item(to(all, hag)[1]).AttrValue("affiliation"))
	require.Equal(t, "member", item(w.only(all, crone1)).AttrValue("affiliation"))

	w.restart()
	require.Empty(t, condition(w.enterWith(hag, "coven", "thirdwitch", token)), "no use is counted for a member")
	require.Empty(t, condition(w.enterWith(crone2, "coven", "secondwitch", token)))
	w.restart()
	require.Equal(t, notMember, condition(w.enterWith("late@shakespeare.lit/x", "coven", "late", token)), "used up")
	list, _ := w.command(crone1, "coven", NSAllium+"#invitations")
	require.Len(t, rows(list), 1)
	require.Contains(t, rows(list)[0], " for you 0 ")
	require.NotContains(t, list.String(), token)
	var found int
	require.NoError(t, w.st.db.QueryRow("SELECT count(*) FROM invitation WHERE instr(hash, ?) > 0", token).Scan(&found))
	require.Zero(t, found, "the token itself is not kept")
}

// Issue point 4, XEP-0045 §5.2.1: who comes with a token becomes a member also where anybody may
// enter, and uses it up; one that is over keeps nobody out there.
func TestInvitationIntoOpenRoom(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	token := w.link(crone1, "coven", "uses", "1")
	all := w.send("<presence from='" + hag + "' to='coven@" + domain + "/thirdwitch'><x xmlns='" + NSMUC + "'><password>" + token + "</password></x></presence>")
	require.Equal(t, "member/participant", seen(all, crone1, "thirdwitch"))
	require.Empty(t, condition(w.enterWith(crone2, "coven", "secondwitch", token)))
	require.Equal(t, []string{bare(hag)}, w.adminList(crone1, "coven", "affiliation", "member"))
	w.presence(hag, "coven@"+domain+"/thirdwitch", "unavailable", "")
	require.Empty(t, condition(w.enterWith(hag, "coven", "thirdwitch", token)), "clients come back with it")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1"), crone1)
	require.Equal(t, notMember, condition(w.enterWith(crone2, "coven", "secondwitch", token)))
	require.Empty(t, condition(w.enterWith(hag, "coven", "thirdwitch", token)))
}

// A use and the membership are stored together or not at all, and nobody enters before.
func TestInvitationIsStoredWhole(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	token := w.link(crone1, "coven")
	_, err := w.st.db.Exec("CREATE TRIGGER broken BEFORE INSERT ON affiliate BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(t, err)
	require.Equal(t, "wait/resource-constraint", condition(w.enterWith(hag, "coven", "thirdwitch", token)))
	_, err = w.st.db.Exec("DROP TRIGGER broken")
	require.NoError(t, err)
	w.restart()
	require.Empty(t, condition(w.enterWith(hag, "coven", "thirdwitch", token)), "the use is still there")
}

// In a room with a password the token takes its place, for members also later, until the
// invitation is revoked.
func TestInvitationInsteadOfPassword(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", "cauldronburn", "muc#roomconfig_persistentroom", "1")
	token := w.link(crone1, "coven")
	require.Equal(t, badPassword, condition(w.enterWith(hag, "coven", "thirdwitch", strings.Repeat("A", tokenLength))))
	require.Empty(t, condition(w.enterWith(crone2, "coven", "secondwitch", "cauldronburn")))
	require.Empty(t, condition(w.enterWith(hag, "coven", "thirdwitch", token)))
	leave := func() {
		w.send("<presence type='unavailable' from='" + hag + "' to='coven@" + domain + "/thirdwitch'/>")
	}
	leave()
	require.Empty(t, condition(w.enterWith(hag, "coven", "thirdwitch", token)), "clients keep it as the password")
	require.Equal(t, badPassword, condition(w.enterWith("late@shakespeare.lit/x", "coven", "late", token)))
	leave()
	require.NotContains(t, w.get(crone1, "coven", "<query xmlns='"+NSAdmin+"'><item affiliation='member'/></query>").String(),
		"wiccarocks", "the password alone makes no member")
	answer, _ := w.command(crone1, "coven", NSAllium+"#revoke-invitation")
	id := component.ParseForm(answer.Payload().Child(component.NSData, "x")).Fields[0]
	require.Contains(t, answer.String(), "for you")
	list, _ := w.command(crone1, "coven", NSAllium+"#invitations")
	w.do(crone1, "coven", NSAllium+"#revoke-invitation", id.Var, strings.Fields(rows(list)[0])[0])
	require.Equal(t, badPassword, condition(w.enterWith(hag, "coven", "thirdwitch", token)))
	w.restart()
	require.Equal(t, badPassword, condition(w.enterWith(hag, "coven", "thirdwitch", token)))
	answer, _ = w.command(crone1, "coven", NSAllium+"#revoke-invitation", "id", "000000000000")
	require.Equal(t, "cancel/item-not-found", condition(answer))
}

// A token is worth nothing to who is banned, and none to who is there already.
func TestInvitationOfWhoMayNot(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	token := w.link(crone1, "coven", "uses", "0", "hours", "0")
	require.Empty(t, condition(w.enterWith(crone2, "coven", "secondwitch", token)))
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	w.admin(crone1, "coven", "<item affiliation='outcast' jid='hag66@shakespeare.lit'/>")
	require.Equal(t, "auth/forbidden", condition(w.enterWith(hag, "coven", "thirdwitch", token)))
	require.Empty(t, condition(w.enterWith(crone2, "coven", "secondwitch", token)))
	// What it leads to is told to who is there with another client.
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "0", "muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", "p")
	require.Empty(t, condition(w.enterWith("late@shakespeare.lit/x", "coven", "late", "p")))
	all := w.send("<presence from='late@shakespeare.lit/y' to='coven@" + domain + "/late'><x xmlns='" + NSMUC + "'><password>" + token + "</password></x></presence>")
	require.Equal(t, "member", item(to(all, "late@shakespeare.lit/x")[0]).AttrValue("affiliation"))
}

// XEP-0045 §9.2: an affiliation of a domain is that of all its users, so a server that comes
// itself with a token, or to register, would have them all made members.
func TestNoMembersByDomain(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	const server = "example.org"
	register := "<query xmlns='" + NSRegister + "'><username>server</username></query>"
	require.Equal(t, "cancel/not-allowed", condition(w.only(w.set(server, "coven", register), server)))
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	token := w.link(crone1, "coven", "uses", "1")
	for _, from := range []string{server, server + "/x"} {
		require.Equal(t, notMember, condition(w.enterWith(from, "coven", "server", token)))
	}
	require.Empty(t, w.adminList(crone1, "coven", "affiliation", "member"))
	require.Empty(t, condition(w.enterWith("one@example.org/x", "coven", "one", token)), "no use is counted")
	require.Equal(t, notMember, condition(w.enterWith("two@example.org/x", "coven", "two", token)))
}

// An invitation ends by time, and not because somebody tries wrong ones.
func TestInvitationByTheClock(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := newRoom(&settings{limits: Limits{}.orDefault(), motd: &motd{}, admin: func(jid.JID) bool { return false }}, jid.MustParse("coven@"+domain), new(KindConfig("encrypted")))
	r.now = now
	token, _ := r.newInvitation("crone1@shakespeare.lit", "", -1, time.Hour)
	try := func(who int, word string) bool {
		x := component.NewElement(NSMUC, "x", component.NewElement(NSMUC, "password", component.Text(word)).Node())
		return r.redeem(jid.MustParse(fmt.Sprintf("w%d@shakespeare.lit", who)), x)
	}
	require.True(t, try(1, token))
	r.now = now.Add(time.Hour - time.Second)
	require.True(t, try(2, token))
	for i := range 1000 {
		require.False(t, try(100+i, strings.Repeat("A", tokenLength)))
	}
	require.True(t, try(3, token), "who tries wrong ones keeps nobody out")
	r.invitations[0].expires = r.now.Unix()
	require.False(t, try(4, token), "it is over")
}

// A room has so many invitations; those that are over make place.
func TestInvitationsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	for range maxInvitations - 1 {
		w.link(crone1, "coven")
	}
	last := w.link(crone1, "coven")
	answer, _ := w.command(crone1, "coven", NSAllium+"#invite", "uses", "1")
	require.Equal(t, "wait/resource-constraint", condition(answer))
	require.Empty(t, condition(w.enterWith(hag, "coven", "thirdwitch", last)))
	w.link(crone1, "coven")
	list, _ := w.command(crone1, "coven", NSAllium+"#invitations")
	require.Len(t, rows(list), maxInvitations)
	for _, fields := range [][]string{{"uses", "-1"}, {"uses", "x"}, {"hours", "1e9"}, {"note", strings.Repeat("x", maxNote+1)}} {
		answer, _ := w.command(crone1, "coven", NSAllium+"#invite", fields...)
		require.Equal(t, "modify/bad-request", condition(answer), fields)
	}
}

// XEP-0045 §16.7: where the room has an address on the onion side, there is a link for that too.
// A gateway loses what a link says of the password, so that is told by itself, and how to use it.
func TestInvitationOnion(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.OnionOf = func(j jid.JID) (jid.JID, bool) {
			return jid.MustParse(j.Localpart() + "@rooms.abc.onion"), true
		}
	})
	w.open(crone1, "coven?co", "firstwitch")
	answer, _ := w.command(crone1, "coven?co", NSAllium+"#invite", "uses", "1")
	form := component.ParseForm(answer.Payload().Child(component.NSData, "x"))
	_, token, _ := strings.Cut(form.Value("uri"), "password=")
	require.Equal(t, token, form.Value("password"))
	require.Contains(t, answer.Payload().Child(NSCommands, "note").Text(), " enters coven?co@rooms.abc.onion there")
	require.Equal(t, "xmpp:coven%3Fco@rooms.abc.onion?join;password="+token, form.Value("onion-uri"))
	require.Equal(t, "xmpp:m%C3%A4h%3Bx@h?join;password=T", joinURI(jid.MustParse("mäh;x@h"), "T"))
}

// A hidden room answers a wrong token as a room that is not there would.
func TestInvitationIsNoOracle(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.DefaultKind = "encrypted"
		o.MayCreate = func(bare jid.JID) bool { return bare.Localpart() == "crone1" }
	})
	w.open(crone1, "coven", "firstwitch")
	wrong := strings.Repeat("A", tokenLength)
	there, not := w.enterWith(hag, "coven", "x", wrong), w.enterWith(hag, "nowhere", "x", wrong)
	require.Equal(t, not.StanzaError(), there.StanzaError())
	require.Empty(t, condition(w.enterWith(hag, "coven", "x", w.link(crone1, "coven"))))
}
