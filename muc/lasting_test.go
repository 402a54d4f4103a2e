package muc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Issue point 5, XEP-0045 §5.2: what a persistent room is survives a crash.
func TestRoomSurvives(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.did(w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1", "muc#roomconfig_roomname", "A Dark Cave", "muc#roomconfig_whois", "anyone",
		"muc#roomconfig_allowpm", "moderators", "muc#roomconfig_maxusers", "30", "muc#roomconfig_roomsecret", "cauldron", nsKind, "hidden"), crone1)
	w.grant(bare(crone2), "admin", "duncan@shakespeare.lit", "member")
	w.did(w.admin(crone1, "coven", affiliationItem("banquo@shakespeare.lit", "outcast", "Treason")), crone1)
	w.did(w.register(hag, "coven", "thirdwitch"), hag)
	w.send("<message type='groupchat' from='" + crone1 + "' to='coven@" + domain + "'><subject>Fire Burn and Cauldron Bubble!</subject></message>")
	w.did(w.set(crone1, "coven", "<vCard xmlns='vcard-temp'><FN>Coven</FN></vCard>"), crone1)
	state := func() []string {
		all := []string{w.reserved(hag, "coven"), w.get(crone1, "coven", "<vCard xmlns='vcard-temp'/>").Payload().String()}
		for _, f := range w.form(crone1, "coven").Fields {
			all = append(append(all, f.Var), f.Values...)
		}
		for _, a := range []string{"owner", "admin", "member", "outcast"} {
			all = append(append(all, a), w.adminList(crone1, "coven", "affiliation", a)...)
		}
		return all
	}
	before := state()
	require.Contains(t, before, bare(hag)+" thirdwitch")
	w.restart()
	require.Equal(t, before, state())

	out := w.send("<presence from='" + crone2 + "' to='coven@" + domain + "/secondwitch'><x xmlns='" + NSMUC + "'><password>cauldron</password></x></presence>")
	require.Contains(t, seen(out, crone2, "secondwitch"), "admin/moderator")
	require.NotContains(t, codes(out[0]), "201")
	var subject string
	for _, s := range out {
		if e := s.Child("jabber:client", "subject"); e != nil {
			subject = s.From.Resourcepart() + ": " + e.Text()
		}
	}
	require.Equal(t, "firstwitch: Fire Burn and Cauldron Bubble!", subject)
	require.Equal(t, "auth/forbidden", condition(w.only(w.enter("banquo@shakespeare.lit/a", "coven", "banquo"), "banquo@shakespeare.lit/a")))
}

// Issue point 5: each change alone is stored before it is answered.
func TestEachChangeSurvives(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_persistentroom", "1")
	w.restart()
	w.grant(bare(hag), "member")
	w.restart()
	require.Equal(t, []string{bare(hag)}, w.adminList(crone1, "coven", "affiliation", "member"))
	w.grant(bare(hag), "none")
	w.restart()
	require.Equal(t, []string{}, w.adminList(crone1, "coven", "affiliation", "member"))
	w.did(w.submit(crone1, "coven", *w.form(crone1, "coven")), crone1)
	w.did(w.configure(crone1, "coven", "muc#roomconfig_roomowners", bare(hag)), crone1)
	w.restart()
	require.Equal(t, []string{bare(hag)}, w.adminList(hag, "coven", "affiliation", "owner"))
	w.did(w.register(hag, "coven", "hag"), hag)
	w.restart()
	require.Equal(t, "hag", w.reserved(hag, "coven"))
	w.did(w.set(hag, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>"), hag)
	w.restart()
	require.Equal(t, "cancel/item-not-found", condition(w.get(hag, "coven", ownerQuery)))
}

// Issue point 5: a room that was locked is so still, and its creator may go on.
func TestLockedRoomSurvives(t *testing.T) {
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	w.restart()
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)))
	require.Contains(t, codes(w.enter(crone1, "coven", "firstwitch")[0]), "201")
	w.did(w.configure(crone1, "coven"), crone1)
	require.Equal(t, "none/participant", seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"))
}

// Issue point 5: a temporary room waits after a crash, also if its owner configures it
// before anybody is back, and goes if nobody comes.
func TestTemporaryRoomAfterACrash(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.restart()
	w.did(w.configure(crone1, "coven", "muc#roomconfig_roomname", "A Dark Cave"), crone1)
	require.NotContains(t, codes(w.enter(hag, "coven", "thirdwitch")[0]), "201")
	w.restart()
	w.sv.sweep(time.Now().Add(returnWithin))
	w.settle()
	require.Equal(t, "cancel/item-not-found", condition(w.get(crone1, "coven", ownerQuery)))
}
