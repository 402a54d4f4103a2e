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

func (w *world) invite(who, inX string) []*component.Stanza {
	w.t.Helper()
	return w.message(who, witches, "", "<x xmlns='"+NSUser+"'>"+inX+"</x>")
}

// XEP-0045 §7.8.2, §7.9, XEP-0249: the room passes an invitation on, with who sent it.
func TestInvite(t *testing.T) {
	w := newWorld(t)
	w.gather()
	out := w.invite(hag, "<invite to='hecate@shakespeare.lit'><reason>Hey Hecate</reason><continue thread='t1'/></invite>")
	require.Len(t, out, 1)
	got := w.only(out, "hecate@shakespeare.lit")
	require.Equal(t, witches, got.From.String())
	require.Equal(t, "m", got.ID)
	require.Empty(t, got.Type)
	invite := got.Child(NSUser, "x").Child(NSUser, "invite")
	require.Equal(t, third, invite.AttrValue("from")) // and not the address, which is secret here
	require.NotContains(t, got.String(), "hag66")
	_, has := invite.LookupAttr("to")
	require.False(t, has)
	require.Equal(t, "Hey Hecate", invite.Child(NSUser, "reason").Text())
	require.Equal(t, "t1", invite.Child(NSUser, "continue").AttrValue("thread"))
	require.Equal(t, witches, got.Child(NSConference, "x").AttrValue("jid"))
	require.Equal(t, "Hey Hecate", got.Child(NSConference, "x").AttrValue("reason"))
	require.Nil(t, got.Child(NSUser, "x").Child(NSUser, "password"))
	// It is no member of an open room by that.
	require.Equal(t, "result", w.get(crone1, "coven", "<query xmlns='"+NSAdmin+"'><item affiliation='member'/></query>").Type)
	require.NotContains(t, w.get(crone1, "coven", "<query xmlns='"+NSAdmin+"'><item affiliation='member'/></query>").String(), "hecate")
	// To a full JID, and to several at once; with the password.
	w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", "cauldronburn", "muc#roomconfig_whois", "anyone")
	out = w.invite(hag, "<invite to='"+hecate+"'/><invite to='banquo@shakespeare.lit'/>")
	require.Len(t, out, 2)
	got = w.only(out, hecate)
	require.Equal(t, "cauldronburn", got.Child(NSUser, "x").Child(NSUser, "password").Text())
	require.Equal(t, "cauldronburn", got.Child(NSConference, "x").AttrValue("password"))
	require.Equal(t, "hag66@shakespeare.lit", got.Child(NSUser, "x").Child(NSUser, "invite").AttrValue("from"))
}

// XEP-0045 §9.5, §10.1.1: who is invited into a room that is still locked, or made a member
// of it, hears of that when the room is there.
func TestInviteIntoALockedRoom(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.DefaultKind = "encrypted" })
	w.enter(crone1, "coven", "firstwitch")
	out := w.admin(crone1, "coven", affiliationItem(bare(hag), "member", "A worthy witch"), affiliationItem(bare(macbeth), "member", ""),
		affiliationItem("duncan@shakespeare.lit", "member", ""))
	require.Equal(t, len(out), len(to(out, crone1)), "%v", out)
	w.did(out, crone1)
	w.did(w.admin(crone1, "coven", affiliationItem(bare(macbeth), "none", "")), crone1)
	require.Empty(t, to(w.invite(crone1, "<invite to='hecate@shakespeare.lit'><reason>Hey Hecate</reason></invite>"), "hecate@shakespeare.lit"))
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.enter(hecate, "coven", "queen"), hecate)))

	out = w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", "cauldronburn",
		"muc#roomconfig_roomadmins", "duncan@shakespeare.lit")
	w.did(out, crone1)
	require.Empty(t, to(out, bare(macbeth)), "it is none any more")
	require.Equal(t, []string{"101"}, codes(w.only(out, "duncan@shakespeare.lit")), "it is more by now")
	for invitee, reason := range map[string]string{bare(hag): "A worthy witch", "hecate@shakespeare.lit": "Hey Hecate"} {
		x := w.only(out, invitee).Child(NSUser, "x")
		require.Equal(t, reason, x.Child(NSUser, "invite").Child(NSUser, "reason").Text())
		require.Equal(t, "cauldronburn", x.Child(NSUser, "password").Text(), "as it was configured then")
		require.Equal(t, bare(crone1), x.Child(NSUser, "invite").AttrValue("from"))
	}
	require.Empty(t, to(w.configure(crone1, "coven"), bare(hag)), "once")
}

// XEP-0045 §7.8.2: who may invite.
func TestInviteRefused(t *testing.T) {
	w := newWorld(t)
	w.gather()
	invite := "<invite to='hecate@shakespeare.lit'/>"
	refused := func(who, what, want string) {
		t.Helper()
		out := w.invite(who, what)
		require.Len(t, out, 1)
		require.Equal(t, "message error room "+want, summary(out, who))
	}
	refused(hecate, invite, "modify/not-acceptable")
	refused(hag, "<invite to='@'/>", "modify/jid-malformed")
	refused(hag, "<invite/>", "modify/jid-malformed")
	refused(hag, "<invite to='shakespeare.lit'/>", "modify/jid-malformed")
	refused(hag, invite+"<invite to='@'/>", "modify/jid-malformed")
	w.configure(crone1, "coven", "muc#roomconfig_allowinvites", "0")
	refused(hag, invite, "auth/forbidden")
	require.Len(t, to(w.invite(crone1, invite), "hecate@shakespeare.lit"), 1)
	w.configure(crone1, "coven", "muc#roomconfig_allowinvites", "1")
	w.admin(crone1, "coven", "<item nick='thirdwitch' role='visitor'/>")
	refused(hag, invite, "auth/forbidden")
	w.admin(crone1, "coven", "<item jid='hecate@shakespeare.lit' affiliation='outcast'/>")
	require.Empty(t, w.invite(crone2, invite), "who is banned is no matter of those who may not see the list")
}

// A room writes to nobody outside for those who may not have it do that; who is asked for is
// none the less what they make of them, and nobody is told of the difference.
func TestInviteOutOfReach(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.MayReach = func(by, whom jid.JID) bool {
			return by.String() == bare(crone1) || whom.Domainpart() != "hecate.lit"
		}
	})
	w.gather()
	w.admin(crone1, "coven", affiliationItem(bare(hag), "owner", ""))
	require.Empty(t, w.invite(hag, "<invite to='queen@hecate.lit'/>"))
	require.Len(t, to(w.invite(hag, "<invite to='queen@hecate.lit'/><invite to='banquo@shakespeare.lit'/>"), "banquo@shakespeare.lit"), 1)
	require.Len(t, to(w.invite(crone1, "<invite to='queen@hecate.lit'/>"), "queen@hecate.lit"), 1)

	for who, reaches := range map[string]int{hag: 0, crone1: 1} {
		for _, level := range []string{"admin", "none"} {
			out := w.admin(who, "coven", affiliationItem("queen@hecate.lit", level, ""))
			w.did(out, who)
			require.Len(t, to(out, "queen@hecate.lit"), reaches, level)
		}
		for _, admins := range []string{"queen@hecate.lit", "duncan@shakespeare.lit"} {
			out := w.configure(who, "coven", "muc#roomconfig_roomadmins", admins)
			w.did(out, who)
			require.Len(t, to(out, "queen@hecate.lit"), reaches, admins)
		}
	}
}

// Issue point 6: what goes out of a room with an invitation is bounded, and so is what waits for the
// room to be opened.
func TestSizeOfInvitations(t *testing.T) {
	w := newWorld(t)
	w.gather()
	long := strings.Repeat("x", 5000)
	for _, what := range []string{"<reason>" + long + "</reason>", "<continue thread='" + long + "'/>"} {
		w.refused(w.invite(hag, "<invite to='hecate@shakespeare.lit'>"+what+"</invite>"), hag, "modify/policy-violation")
	}
	w.refused(w.send("<message xml:lang='"+long+"' from='"+hag+"' to='"+witches+"'><x xmlns='"+NSUser+"'><invite to='hecate@shakespeare.lit'/></x></message>"), hag, "modify/policy-violation")
	w.invite(hag, "<invite to='hecate@shakespeare.lit'/>")
	w.refused(w.invite(hecate, "<decline to='"+bare(hag)+"'><reason>"+long+"</reason></decline>"), hecate, "modify/policy-violation")
	got := w.only(w.invite(hag, "<invite to='macbeth@shakespeare.lit'><continue thread='t'><x xmlns='urn:x'>"+long+"</x></continue></invite>"), "macbeth@shakespeare.lit")
	require.Equal(t, "<continue xmlns='"+NSUser+"' thread='t'/>", got.Child(NSUser, "x").Child(NSUser, "invite").Child(NSUser, "continue").String())
}

// Issue point 6: many invitations in one stanza are many messages, also for the limit.
func TestInviteRate(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.MessageRate = 1 })
	w.gather()
	many := func(n int) string { return strings.Repeat("<invite to='hecate@shakespeare.lit'/>", n) }
	require.Len(t, w.invite(hag, many(burstSeconds)), burstSeconds)
	out := w.invite(crone2, many(burstSeconds+1))
	require.Len(t, out, 1)
	require.Equal(t, "message error room wait/policy-violation", summary(out, crone2))
}

// XEP-0045 §7.8.2, §9.5: an invitation into a room for members makes a member, if the
// inviter may do that.
func TestInviteMember(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.admin(crone1, "coven", "<item jid='hag66@shakespeare.lit' affiliation='member'/>")
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	invite := "<invite to='hecate@shakespeare.lit'/>"
	require.Equal(t, "message error room auth/forbidden", summary(w.invite(hag, invite), hag))
	require.Equal(t, "presence error fourth auth/registration-required", summary(w.enter(hecate, "coven", "fourth"), hecate))
	w.invite(crone1, invite)
	require.Contains(t, summary(w.enter(hecate, "coven", "fourth"), hecate), "presence fourth participant 110")
	require.Contains(t, w.get(crone1, "coven", "<query xmlns='"+NSAdmin+"'><item affiliation='member'/></query>").String(), "hecate@shakespeare.lit")
	w.configure(crone1, "coven", "muc#roomconfig_allowinvites", "1")
	require.Len(t, to(w.invite(hag, "<invite to='banquo@shakespeare.lit'/>"), "banquo@shakespeare.lit"), 1)
}

// XEP-0045 §7.8.2: an invitation is remembered over a restart, until it is declined, the guest
// enters, or it is too old; of too many the oldest is forgotten.
func TestInvitationsAreRemembered(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_persistentroom", "1", "muc#roomconfig_publicroom", "0")
	invite := func(who string) { w.invite(hag, "<invite to='"+bare(who)+"'/>") }
	decline := func(who string) string {
		out := w.invite(who, "<decline to='"+bare(hag)+"'/>")
		return condition(out[0])
	}
	room := func() *room { return w.sv.awake("coven").room }
	back := func() {
		w.restart()
		w.enter(crone1, "coven", "firstwitch")
		w.did(w.configure(crone1, "coven", "muc#roomconfig_whois", "anyone"), crone1)
		w.grant(bare(hag), "member")
		require.Empty(t, condition(to(w.enter(hag, "coven", "thirdwitch"), hag)[0]))
	}
	const unknown = "cancel/item-not-found"
	invite(macbeth)
	invite(hecate)
	back()
	require.Empty(t, condition(w.get(hecate, "coven", discoInfo)), "who is invited may know of the room")
	require.Empty(t, decline(macbeth))
	require.Equal(t, unknown, decline(macbeth))
	w.enter(hecate, "coven", "queen")
	w.presence(hecate, witches+"/queen", "unavailable", "")
	require.Nil(t, room().guests)
	back()
	require.Nil(t, room().guests)
	require.Equal(t, unknown, decline(macbeth))
	require.Equal(t, unknown, decline(hecate))

	invite(macbeth)
	_, err := w.st.db.Exec("UPDATE guest SET at = at - ?", int(invitedFor.Seconds())+1)
	require.NoError(t, err)
	back()
	require.Equal(t, unknown, decline(macbeth), "too old")
	invite(hecate)
	var kept int
	require.NoError(t, w.st.db.QueryRow("SELECT COUNT(*) FROM guest").Scan(&kept))
	require.Equal(t, 1, kept, "and not kept")

	for i := len(room().guests); i < maxInvited; i++ {
		room().guests = append(room().guests, guest{jid: fmt.Sprint("u", i, "@example.org"), inviter: bare(hag), at: time.Now().Unix()})
	}
	invite("duncan@shakespeare.lit/a")
	require.Len(t, room().guests, maxInvited)
	require.Empty(t, decline("duncan@shakespeare.lit/a"), "the last is remembered")
	require.Empty(t, decline(hecate), "the one before was the oldest that was not too old")
	w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>")
	require.NoError(t, w.st.db.QueryRow("SELECT COUNT(*) FROM guest").Scan(&kept))
	require.Zero(t, kept)
}

// XEP-0045 §7.8.2: who declines tells who invited, and nobody else, and finds out nothing.
func TestDecline(t *testing.T) {
	w := newWorld(t)
	w.gather()
	decline := func(to string) []*component.Stanza {
		return w.message(hecate, witches, "", "<x xmlns='"+NSUser+"'><decline to='"+to+"'><reason>too busy</reason></decline></x>")
	}
	require.Equal(t, "message error room cancel/item-not-found", summary(decline("hag66@shakespeare.lit"), hecate))
	for _, at := range []string{third, "hag66@shakespeare.lit", hag} {
		w.invite(hag, "<invite to='hecate@shakespeare.lit'/>")
		require.Equal(t, "message error room cancel/item-not-found", summary(decline(bareOf(crone1)), hecate))
		out := decline(at)
		require.Len(t, out, 1)
		got := w.only(out, hag)
		require.Equal(t, witches, got.From.String())
		require.Equal(t, "m", got.ID)
		require.Empty(t, got.Type)
		d := got.Child(NSUser, "x").Child(NSUser, "decline")
		require.Equal(t, "hecate@shakespeare.lit", d.AttrValue("from"))
		require.Equal(t, "too busy", d.Child(NSUser, "reason").Text())
		require.Equal(t, "message error room cancel/item-not-found", summary(decline(at), hecate))
	}
}

func bareOf(full string) string { return full[:strings.Index(full, "/")] }

func requestForm(fields ...string) string {
	form := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + NSRequest + "</value></field>"
	for i := 0; i < len(fields); i += 2 {
		form += "<field var='" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
	}
	return form + "</x>"
}

// XEP-0045 §7.13, §8.6: a visitor asks for voice, the moderators are asked, one says yes.
func TestVoiceRequest(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_moderatedroom", "1")
	w.admin(crone1, "coven", "<item jid='"+bareOf(crone2)+"' affiliation='admin'/>")
	out := w.message(hag, witches, "", requestForm("muc#role", "participant"))
	require.Len(t, out, 2)
	for _, who := range []string{crone1, crone2} {
		got := w.only(out, who)
		require.Equal(t, witches, got.From.String())
		require.Empty(t, got.Type)
		f := component.ParseForm(got.Child(component.NSData, "x"))
		require.Equal(t, "form", f.Type)
		require.Equal(t, NSRequest, f.FormType)
		types := map[string]string{}
		for _, field := range f.Fields {
			types[field.Var] = field.Type
		}
		require.Equal(t, map[string]string{"muc#role": "list-single", "muc#jid": "jid-single", "muc#roomnick": "text-single", "muc#request_allow": "boolean"}, types)
		require.Equal(t, "thirdwitch", f.Value("muc#roomnick"))
		require.Equal(t, hag, f.Value("muc#jid"))
		require.Equal(t, "participant", f.Value("muc#role"))
	}
	answer := []string{"muc#role", "participant", "muc#jid", hag, "muc#roomnick", "thirdwitch", "muc#request_allow", "0"}
	require.Empty(t, w.message(crone2, witches, "", requestForm(answer...)))
	answer[7] = "true"
	out = w.message(crone2, witches, "", requestForm(answer...))
	require.Equal(t, "presence thirdwitch participant 110", summary(out, hag))
	require.Equal(t, "presence thirdwitch participant", summary(out, crone1))
	require.Equal(t, "message groupchat thirdwitch I speak", summary(w.say(hag, "coven", "m", "I speak"), crone1))
	require.Empty(t, w.message(crone2, witches, "", requestForm(answer...))) // it has it already
}

// XEP-0045 §7.13: who may not ask, or answer, or too often.
func TestVoiceRequestRefused(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.VoiceRate = 1 })
	w.gather("muc#roomconfig_moderatedroom", "1")
	ask := requestForm("muc#role", "participant")
	refused := func(who, form, want string) {
		t.Helper()
		out := w.message(who, witches, "", form)
		require.Len(t, out, 1)
		require.Equal(t, "message error room "+want, summary(out, who))
	}
	refused(crone1, ask, "auth/forbidden")
	refused(hecate, ask, "modify/not-acceptable")
	refused(hag, requestForm("muc#role", "moderator"), "modify/bad-request")
	refused(crone1, requestForm("muc#role", "participant", "muc#roomnick", "nobody", "muc#request_allow", "1"), "cancel/item-not-found")
	// Who took the nickname since then has not asked.
	refused(crone1, requestForm("muc#role", "participant", "muc#jid", crone2, "muc#roomnick", "thirdwitch", "muc#request_allow", "1"), "cancel/item-not-found")
	// A visitor cannot answer for itself: it only asks again.
	own := requestForm("muc#role", "participant", "muc#roomnick", "thirdwitch", "muc#request_allow", "1")
	require.NotContains(t, summary(w.message(hag, witches, "", own), hag), "presence")
	last := ""
	for range 15 {
		last = summary(w.message(hag, witches, "", ask), hag)
	}
	require.Equal(t, "message error room wait/policy-violation", last)
	w.configure(crone1, "coven", "{urn:xmpp:allium:0}voice_requests", "0")
	refused(hag, ask, "cancel/not-allowed")
}
