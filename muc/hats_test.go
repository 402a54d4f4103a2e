package muc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

const hatNode = "urn:xmpp:hats:commands:"

// hatsIn are the titles of the hats in a presence.
func hatsIn(s *component.Stanza) []string {
	var titles []string
	if hats := s.Child(NSHats, "hats"); hats != nil {
		for _, n := range hats.Nodes {
			titles = append(titles, n.Element.AttrValue("title"))
		}
	}
	return titles
}

// XEP-0317 §3.1, §3.2, §3.5, §3.6: a hat is made, worn and taken off.
func TestHats(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.enter(crone2, "coven", "secondwitch")
	_, others := w.do(crone1, "coven", hatNode+"create", "hats#title", "Scribe", "hats#uri", "urn:h:scribe", "hats#hue", "327.255249")
	require.Equal(t, []string{"104"}, codes(w.only(others, crone2)))
	require.Equal(t, "groupchat", w.only(others, crone1).Type)

	// The address may be that of a client, and the field have its old name.
	_, others = w.do(crone1, "coven", hatNode+"assign", "hats#jid", crone2, "hat", "urn:h:scribe")
	for _, viewer := range []string{crone1, crone2} {
		s := w.only(others, viewer)
		require.Equal(t, "secondwitch", s.From.Resourcepart())
		require.Equal(t, `<hats xmlns='urn:xmpp:hats:0'><hat title='Scribe' uri='urn:h:scribe' hue='327.255249'/></hats>`, s.Child(NSHats, "hats").String())
		require.NotNil(t, item(s))
	}
	_, others = w.do(crone1, "coven", hatNode+"assign", "hats#jid", crone2, "hats#uri", "urn:h:scribe")
	require.Empty(t, others, "nothing has changed")

	// Also who enters sees it, and who wears it enters with it.
	require.Equal(t, []string{"Scribe"}, hatsIn(to(w.enter(hag, "coven", "thirdwitch"), hag)[1]))
	w.send("<presence type='unavailable' from='" + crone2 + "' to='coven@" + domain + "/secondwitch'/>")
	all := w.enter(crone2, "coven", "other")
	require.Equal(t, []string{"Scribe"}, hatsIn(w.only(all, hag)))

	// A hat that is changed is changed where it is worn.
	_, others = w.do(crone1, "coven", hatNode+"create", "hats#title", "Clerk", "hats#uri", "urn:h:scribe")
	require.Equal(t, []string{"Clerk"}, hatsIn(to(others, hag)[1]))

	_, others = w.do(crone1, "coven", hatNode+"unassign", "hats#jid", "wiccarocks@shakespeare.lit", "hats#uri", "urn:h:scribe")
	require.Nil(t, w.only(others, hag).Child(NSHats, "hats"))
	answer, _ := w.command(crone1, "coven", hatNode+"unassign", "hats#jid", crone2, "hats#uri", "urn:h:scribe")
	require.Equal(t, "cancel/item-not-found", condition(answer))
}

// XEP-0317 §3.3: a hat that is destroyed is worn no more.
func TestHatDestroyed(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.enter(crone2, "coven", "secondwitch")
	w.do(crone1, "coven", hatNode+"create", "hats#title", "Scribe", "hats#uri", "urn:h:scribe")
	w.do(crone1, "coven", hatNode+"create", "hats#title", "Host", "hats#uri", "urn:h:host")
	w.do(crone1, "coven", hatNode+"assign", "hats#jid", crone2, "hats#uri", "urn:h:scribe")
	w.do(crone1, "coven", hatNode+"assign", "hats#jid", crone2, "hats#uri", "urn:h:host")
	answer, _ := w.command(crone1, "coven", hatNode+"destroy")
	form := component.ParseForm(answer.Payload().Child(component.NSData, "x"))
	require.Equal(t, "list-single", form.Fields[0].Type)
	require.Contains(t, answer.String(), `<option label='Host'><value>urn:h:host</value></option>`)
	_, others := w.do(crone1, "coven", hatNode+"destroy", "hats#uri", "urn:h:host")
	got := to(others, crone2)
	require.Equal(t, []string{"Scribe"}, hatsIn(got[0]))
	require.Equal(t, []string{"104"}, codes(got[1]))
	w.restart()
	require.Equal(t, []string{"Scribe"}, hatsIn(to(w.enter(crone2, "coven", "secondwitch"), crone2)[0]))
}

// XEP-0317 §2, §3.4, §3.7: the lists, and what tells that they changed.
func TestHatLists(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.enter(crone2, "coven", "secondwitch")
	hash := func() string {
		return roomInfoValue(w, "hats#hash")
	}
	require.Empty(t, hash())
	w.do(crone1, "coven", hatNode+"create", "hats#title", "Scribe", "hats#uri", "urn:h:scribe", "hats#hue", "100")
	w.do(crone1, "coven", hatNode+"create", "hats#title", "Host", "hats#uri", "urn:h:host")
	before := hash()
	require.NotEmpty(t, before)
	w.do(crone1, "coven", hatNode+"assign", "hats#jid", crone2, "hats#uri", "urn:h:scribe")
	require.Equal(t, before, hash())
	list, _ := w.command(crone2, "coven", hatNode+"list")
	require.Equal(t, []string{"Host urn:h:host ", "Scribe urn:h:scribe 100"}, rows(list))
	list, _ = w.command(crone1, "coven", hatNode+"list-assigned")
	require.Equal(t, []string{"wiccarocks@shakespeare.lit urn:h:scribe Scribe 100"}, rows(list))
	w.do(crone1, "coven", hatNode+"destroy", "hats#uri", "urn:h:host")
	require.NotEqual(t, before, hash())
}

func roomInfoValue(w *world, name string) string {
	w.t.Helper()
	s := w.get(crone1, "coven", "<query xmlns='"+component.NSDiscoInfo+"'/>")
	return component.ParseForm(s.Payload().Child(component.NSData, "x")).Value(name)
}

// Hats are given by admins of the room alone, and are what they should be.
func TestHatsRefused(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.enter(crone2, "coven", "secondwitch")
	for _, node := range []string{"create", "destroy", "assign", "unassign", "list-assigned"} {
		answer, others := w.command(crone2, "coven", hatNode+node, "hats#title", "Queen", "hats#uri", "urn:h:queen", "hats#jid", crone2)
		require.Equal(t, "auth/forbidden", condition(answer), node)
		require.Empty(t, others)
	}
	for _, fields := range [][]string{
		{"hats#title", "", "hats#uri", "urn:h:x"}, {"hats#title", "X", "hats#uri", "x"}, {"hats#title", "X"},
		{"hats#title", "X", "hats#uri", "urn:h:x", "hats#hue", "361"}, {"hats#title", "X", "hats#uri", "urn:h:x", "hats#hue", "NaN"},
	} {
		answer, _ := w.command(crone1, "coven", hatNode+"create", fields...)
		require.Equal(t, "modify/bad-request", condition(answer), fields)
	}
	w.do(crone1, "coven", hatNode+"create", "hats#title", "Scribe", "hats#uri", "urn:h:scribe")
	for _, node := range []string{"create", "assign", "unassign", "destroy"} {
		s := w.only(w.set(crone1, "coven", "<command xmlns='"+NSCommands+"' action='complete' node='"+hatNode+node+"'/>"), crone1)
		require.Equal(t, "modify/bad-request", condition(s))
		require.True(t, s.Payload().Is(NSCommands, "command"), "the error tells of which command")
	}
	answer, _ := w.command(crone1, "coven", hatNode+"assign", "hats#jid", crone2, "hats#uri", "urn:h:none")
	require.Equal(t, "cancel/item-not-found", condition(answer))
	answer, _ = w.command(crone1, "coven", hatNode+"assign", "hats#jid", "shakespeare.lit", "hats#uri", "urn:h:none")
	require.Equal(t, "modify/bad-request", condition(answer))

	// What a client claims itself is taken out.
	all := w.send("<presence from='" + crone2 + "' to='coven@" + domain + "/secondwitch'><hats xmlns='" + NSHats + "'><hat title='Queen' uri='urn:h:queen'/></hats></presence>")
	require.Nil(t, w.only(all, crone1).Child(NSHats, "hats"))
}

// A room takes its hats and invitations along when it goes: the next one of that name has
// none.
func TestNothingIsLeftOfARoom(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.do(crone1, "coven", hatNode+"create", "hats#title", "Scribe", "hats#uri", "urn:h:scribe")
	w.do(crone1, "coven", hatNode+"assign", "hats#jid", crone1, "hats#uri", "urn:h:scribe")
	w.do(crone1, "coven", NSAllium+"#invite", "uses", "1")
	w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>")
	for _, table := range []string{"hat", "wearer", "invitation"} {
		var n int
		require.NoError(t, w.st.db.QueryRow("SELECT count(*) FROM "+table).Scan(&n))
		require.Zero(t, n, table)
	}
}
