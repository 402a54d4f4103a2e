package muc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

const (
	ownerQuery  = "<query xmlns='" + NSOwner + "'/>"
	cancelQuery = "<query xmlns='" + NSOwner + "'><x xmlns='jabber:x:data' type='cancel'/></query>"
)

// XEP-0045 §10.1.1: a new room is locked for all but its creator, who has it to oneself.
func TestLockedRoom(t *testing.T) {
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)))
	for _, query := range []string{ownerQuery, "<query xmlns='" + component.NSDiscoInfo + "'/>", registerQuery} {
		require.Equal(t, "cancel/item-not-found", condition(w.get(hag, "coven", query)))
		require.NotEqual(t, "cancel/item-not-found", condition(w.get(crone1, "coven", query)))
	}
	tablet := bare(crone1) + "/tablet"
	require.Contains(t, codes(to(w.enter(tablet, "coven", "firstwitch"), tablet)[0]), "110", "the creator's other device")
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.say(crone1, "coven", "1", "Is anybody here?"), crone1)), "17.2")
}

// XEP-0045 §10.1.2: an instant room is unlocked by an empty form, and no further word.
func TestInstantRoom(t *testing.T) {
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	out := w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><x xmlns='jabber:x:data' type='submit'/></query>")
	require.Len(t, out, 1)
	w.did(out, crone1)
	require.Equal(t, "none/participant", seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"))
	require.NotContains(t, codes(to(w.enter(crone1, "coven", "firstwitch"), crone1)[1]), "201", "it is not new any more")
}

// XEP-0045 §10.1.3: a reserved room: the form is asked for, and sent with what is wished.
func TestReservedRoom(t *testing.T) {
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	s := w.get(crone1, "coven", ownerQuery)
	form := component.ParseForm(s.Payload().Child(component.NSData, "x"))
	require.Equal(t, "form", form.Type)
	require.Equal(t, NSRoomConfig, form.FormType)
	w.refused(w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", ""), crone1, "modify/not-acceptable")
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)), "still locked")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_roomname", "A Dark Cave", "muc#roomconfig_roomadmins", bare(crone2)), crone1)
	require.Equal(t, "admin/moderator", seen(w.enter(crone2, "coven", "secondwitch"), crone1, "secondwitch"))
}

// XEP-0045 §10.1.3: who cancels the first configuration has no room.
func TestCancelOfTheFirstForm(t *testing.T) {
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	out := w.set(crone1, "coven", cancelQuery)
	require.Len(t, out, 2)
	require.Equal(t, "unavailable", out[0].Type)
	require.Equal(t, "coven@"+domain+"/firstwitch", out[0].From.String())
	require.NotNil(t, out[0].Child(NSUser, "x").Child(NSUser, "destroy"))
	require.Contains(t, codes(out[0]), "110")
	require.Equal(t, "result", out[1].Type)
	require.Equal(t, "cancel/item-not-found", condition(w.get(crone1, "coven", ownerQuery)))
	require.Contains(t, codes(w.enter(hag, "coven", "thirdwitch")[0]), "201", "the name is free")
}

// XEP-0045 §10.1.3: who leaves, or is lost, before configuring has no room.
func TestLeavingALockedRoom(t *testing.T) {
	for _, leave := range []string{
		"<presence type='unavailable' from='" + crone1 + "' to='coven@" + domain + "/firstwitch'/>",
		"<presence type='error' from='" + crone1 + "' to='coven@" + domain + "/firstwitch'/>",
	} {
		w := newWorld(t)
		w.enter(crone1, "coven", "firstwitch")
		s := w.only(w.send(leave), crone1)
		require.Equal(t, "unavailable", s.Type)
		require.Contains(t, codes(s), "110")
		require.NotNil(t, s.Child(NSUser, "x").Child(NSUser, "destroy"))
		require.Contains(t, codes(w.enter(hag, "coven", "thirdwitch")[0]), "201")
	}
}

// XEP-0045 §10.1: what is no form configures nothing.
func TestBadOwnerRequests(t *testing.T) {
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	for _, payload := range []string{"", "<x xmlns='jabber:x:data'/>", "<x xmlns='jabber:x:data' type='result'/>", "<x type='submit'/>",
		"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + NSRegisterMU + "</value></field></x>"} {
		w.refused(w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'>"+payload+"</query>"), crone1, "modify/bad-request")
	}
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)), "still locked")
}

// XEP-0045 §7.14, §10.1: a temporary room goes with its last occupant, a persistent one does not.
func TestTemporaryRoom(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.send("<presence type='unavailable' from='" + crone1 + "' to='coven@" + domain + "/firstwitch'/>")
	require.Contains(t, codes(w.enter(hag, "coven", "thirdwitch")[0]), "201")
	w.did(w.configure(hag, "coven", "muc#roomconfig_persistentroom", "1"), hag)
	w.send("<presence type='unavailable' from='" + hag + "' to='coven@" + domain + "/thirdwitch'/>")
	require.NotContains(t, codes(w.enter(crone1, "coven", "firstwitch")[0]), "201")
	w.send("<presence type='unavailable' from='" + crone1 + "' to='coven@" + domain + "/firstwitch'/>")
	w.did(w.configure(hag, "coven", "muc#roomconfig_persistentroom", "0"), hag) // and nobody is in it
	require.Contains(t, codes(w.enter(crone1, "coven", "firstwitch")[0]), "201")
}

// XEP-0045 §10: the requests of those who are no owners are refused, in the room or not.
func TestOwnersOnly(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.grant(bare(crone2), "admin", "duncan@shakespeare.lit", "member", "banquo@shakespeare.lit", "outcast")
	for _, who := range []string{crone2, hag, macbeth, "duncan@shakespeare.lit/a", "banquo@shakespeare.lit/a"} {
		require.Equal(t, "auth/forbidden", condition(w.get(who, "coven", ownerQuery)))
		w.refused(w.configure(who, "coven", "muc#roomconfig_roomname", "Mine"), who, "auth/forbidden")
		w.refused(w.set(who, "coven", cancelQuery), who, "auth/forbidden")
		w.refused(w.set(who, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>"), who, "auth/forbidden")
	}
	w.send("<presence type='unavailable' from='" + crone1 + "' to='coven@" + domain + "/firstwitch'/>")
	require.Equal(t, "result", w.get(crone1, "coven", ownerQuery).Type, "an owner may from outside")
	w.did(w.configure(bare(crone1)+"/else", "coven", "muc#roomconfig_roomname", "Ours"), bare(crone1)+"/else")
}

// XEP-0045 §10.1, §10.9: a name can be used again at once, any number of times.
func TestTheSameRoomAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	for range 60 {
		require.Contains(t, codes(w.only(w.enter(crone1, "coven", "firstwitch")[:1], crone1)), "201")
		w.did(w.configure(crone1, "coven"), crone1)
		w.did(w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>"), crone1)
		require.Contains(t, codes(w.enter(crone1, "heath", "firstwitch")[0]), "201")
		w.send("<presence type='unavailable' from='" + crone1 + "' to='heath@" + domain + "/firstwitch'/>")
	}
}
