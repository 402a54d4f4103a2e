package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

const queen = "hecate@shakespeare.lit/air"

func withAdmin(o *Options) { o.Admins = []jid.JID{jid.MustParse(queen).Bare()} }

// XEP-0133: the commands of the service are for its admins.
func TestServiceCommands(t *testing.T) {
	w := newWorld(t, withAdmin)
	require.Len(t, w.nodes(queen, domain), 7)
	require.Empty(t, w.nodes(hag, domain))
	for _, node := range []string{NSAllium + "#rooms", NSAllium + "#destroy-room", NSAllium + "#make-owner",
		nsServiceAdmin + "#announce", nsServiceAdmin + "#set-motd", nsServiceAdmin + "#delete-motd"} {
		answer, _ := w.command(hag, "", node)
		require.Equal(t, "auth/forbidden", condition(answer), node)
	}
	answer, _ := w.command(queen, "", nsServiceAdmin+"#restart")
	require.Equal(t, "cancel/item-not-found", condition(answer))
}

// The list of rooms, those with the most occupants first.
func TestListRoomsCommand(t *testing.T) {
	w := newWorld(t, withAdmin)
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_roomname", "A Dark Cave", "muc#roomconfig_publicroom", "0")
	w.open(crone2, "heath", "secondwitch")
	w.enter(hag, "heath", "thirdwitch")
	answer, _ := w.command(queen, "", NSAllium+"#rooms", "search", "")
	require.Equal(t, []string{"heath@chat.shakespeare.lit  2 open wiccarocks@shakespeare.lit",
		"coven@chat.shakespeare.lit A Dark Cave 1 custom crone1@shakespeare.lit"}, rows(answer))
	answer, _ = w.command(queen, "", NSAllium+"#rooms", "search", "dark")
	require.Len(t, rows(answer), 1)
	answer, _ = w.command(queen, "", NSAllium+"#rooms")
	require.Equal(t, "executing", answer.Payload().AttrValue("status"))
}

// XEP-0045 §11: an admin of the service destroys a room, which is told to who is in it.
func TestDestroyRoomCommand(t *testing.T) {
	w := newWorld(t, withAdmin)
	w.open(crone1, "coven", "firstwitch")
	_, others := w.do(queen, "", NSAllium+"#destroy-room", "room", "coven", "reason", "Macbeth doth come", "alternate", "heath@"+domain)
	d := w.only(others, crone1).Child(NSUser, "x").Child(NSUser, "destroy")
	require.Equal(t, `<destroy xmlns='http://jabber.org/protocol/muc#user' jid='heath@chat.shakespeare.lit'><reason>Macbeth doth come</reason></destroy>`, d.String())
	answer, _ := w.command(queen, "", NSAllium+"#destroy-room", "room", "coven@"+domain)
	require.Equal(t, "cancel/item-not-found", condition(answer))
	for room, want := range map[string]string{"coven@example.org": "cancel/item-not-found", "": "modify/bad-request", "a b@" + domain: "modify/bad-request"} {
		answer, _ = w.command(queen, "", NSAllium+"#destroy-room", "room", room)
		require.Equal(t, want, condition(answer), room)
	}
	w.restart()
	require.Empty(t, w.sv.kept())

	// It is not said to be done where it could not be stored.
	w.open(crone1, "coven", "firstwitch")
	_, err := w.st.db.Exec("CREATE TRIGGER broken BEFORE DELETE ON room BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(t, err)
	answer, _ = w.command(queen, "", NSAllium+"#destroy-room", "room", "coven")
	require.Equal(t, "wait/resource-constraint", condition(answer))
}

// An admin of the service gives a room a new owner, also one that is not in memory.
func TestMakeOwnerCommand(t *testing.T) {
	w := newWorld(t, withAdmin)
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1")
	w.enter(crone2, "coven", "secondwitch")
	_, others := w.do(queen, "", NSAllium+"#make-owner", "room", "coven", "jid", crone2)
	require.Equal(t, "owner", item(to(others, crone2)[0]).AttrValue("affiliation"))
	w.restart()
	w.do(queen, "", NSAllium+"#make-owner", "room", "coven@"+domain, "jid", "hag66@shakespeare.lit")
	w.restart()
	s := w.get(crone2, "coven", "<query xmlns='"+NSAdmin+"'><item affiliation='owner'/></query>")
	require.Len(t, s.Payload().Nodes, 3)
	answer, _ := w.command(queen, "", NSAllium+"#make-owner", "room", "coven", "jid", "shakespeare.lit")
	require.Equal(t, "modify/bad-request", condition(answer))
}

// XEP-0133 §4.23: an announcement is seen in all rooms, and in no history.
func TestAnnounceCommand(t *testing.T) {
	w := newWorld(t, withAdmin)
	w.open(crone1, "coven", "firstwitch")
	w.open(crone2, "heath", "secondwitch")
	_, others := w.do(queen, "", nsServiceAdmin+"#announce", "announcement", "The theatre closes.")
	for who, room := range map[string]string{crone1: "coven", crone2: "heath"} {
		m := w.only(others, who)
		require.Equal(t, "groupchat The theatre closes. "+room+"@"+domain, m.Type+" "+m.Body()+" "+m.From.String())
	}
	for _, s := range to(w.enter(hag, "coven", "thirdwitch"), hag) {
		require.Empty(t, s.Body())
	}
	answer, _ := w.command(queen, "", nsServiceAdmin+"#announce", "announcement", "")
	require.Equal(t, "modify/bad-request", condition(answer))
}

// XEP-0133 §4.24, §4.26: everybody gets the message of the day once, the last of what
// entering brings.
func TestMessageOfTheDay(t *testing.T) {
	w := newWorld(t, withAdmin)
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1")
	_, others := w.do(queen, "", nsServiceAdmin+"#set-motd", "motd", "Fair is foul.")
	m := w.only(others, crone1)
	require.Equal(t, domain+" Fair is foul.", m.From.String()+" "+m.Body())
	require.Empty(t, m.Type)

	all := to(w.enter(hag, "coven", "thirdwitch"), hag)
	require.Equal(t, "Fair is foul.", all[len(all)-1].Body())
	require.NotNil(t, all[len(all)-2].Child(component.NSClient, "subject"))
	told := func(who, room string) int {
		n := 0
		for _, s := range to(w.enter(who, room, "x"+who[:3]), who) {
			if s.Body() != "" {
				n++
			}
		}
		return n
	}
	require.Zero(t, told("hag66@shakespeare.lit/other", "coven"), "once to each user")
	w.restart()
	require.Zero(t, told(hag, "coven"))
	require.Equal(t, 1, told(crone2, "coven"), "also after a restart")
	answer, _ := w.command(queen, "", nsServiceAdmin+"#set-motd")
	require.Equal(t, "Fair is foul.", component.ParseForm(answer.Payload().Child(component.NSData, "x")).Value("motd"))

	w.do(queen, "", nsServiceAdmin+"#set-motd", "motd", "Foul is fair.")
	w.restart()
	require.Zero(t, told(hag, "coven"), "who was there has got it")
	require.Equal(t, 1, told(crone1, "coven"))
	w.do(queen, "", nsServiceAdmin+"#delete-motd")
	require.Zero(t, told("late@shakespeare.lit/x", "coven"))
	w.restart()
	require.Zero(t, told("late@shakespeare.lit/x", "coven"))
}

// Nobody gets a message of the day that could not be stored, and everybody one that could, also
// who could not be let in before. Who got it gets in, also if that cannot be stored, and the
// others stay.
func TestMessageOfTheDayThatCannotBeStored(t *testing.T) {
	w := newWorld(t, withAdmin)
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1")
	mend := w.breaks("INSERT", "meta")
	answer, others := w.command(queen, "", nsServiceAdmin+"#set-motd", "motd", "Fair is foul.")
	mend()
	require.Equal(t, "wait/resource-constraint", condition(answer))
	require.Empty(t, others)
	require.NotContains(t, summary(w.enter(hag, "coven", "thirdwitch"), hag), "Fair is foul.")

	w.do(queen, "", nsServiceAdmin+"#set-motd", "motd", "Foul is fair.")
	mend = w.breaks("INSERT", "told")
	out := w.enter(crone2, "coven", "secondwitch")
	mend()
	require.Contains(t, summary(out, crone2), "Foul is fair.")
	require.Equal(t, "presence secondwitch participant", summary(out, crone1))
	require.Equal(t, "message groupchat secondwitch here", summary(w.say(crone2, "coven", "m", "here"), crone1))
	require.NotContains(t, summary(w.enter(crone2, "coven", "secondwitch"), crone2), "Foul is fair.")
}

// XEP-0133 §4.25: the message of the day is edited from what it is, and who got it gets the new
// one; §4.26: where there is none, it is not said to be deleted.
func TestEditMessageOfTheDay(t *testing.T) {
	w := newWorld(t, withAdmin)
	w.open(crone1, "coven", "firstwitch")
	const edit, remove = nsServiceAdmin + "#edit-motd", nsServiceAdmin + "#delete-motd"
	note := func(s *component.Stanza) string { return s.Payload().Child(NSCommands, "note").Text() }
	answer, _ := w.command(queen, "", remove)
	require.Equal(t, "There is none.", note(answer))
	w.do(queen, "", nsServiceAdmin+"#set-motd", "motd", "Fair is fowl.")
	answer, _ = w.command(queen, "", edit)
	form := component.ParseForm(answer.Payload().Child(component.NSData, "x"))
	require.Equal(t, nsServiceAdmin, form.FormType)
	require.Equal(t, "Fair is fowl.", form.Value("motd"))
	_, others := w.do(queen, "", edit, "motd", "Fair is foul.")
	require.Equal(t, "Fair is foul.", w.only(others, crone1).Body())
	all := to(w.enter(hag, "coven", "thirdwitch"), hag)
	require.Equal(t, "Fair is foul.", all[len(all)-1].Body())
	answer, _ = w.command(queen, "", remove)
	require.Equal(t, "Done.", note(answer))
	answer, _ = w.command(crone1, "", edit)
	require.Equal(t, "auth/forbidden", condition(answer))
}
