package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// approval is what an admin sends to have a registration.
func approval(who, nick string) string {
	return "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + NSRegisterMU + "</value></field>" +
		"<field var='muc#register_allow'><value>1</value></field><field var='muc#register_jid'><value>" + who +
		"</value></field><field var='" + fieldNick + "'><value>" + nick + "</value></field></x>"
}

// register asks to register a nickname.
func (w *world) register(who, room, nick string) []*component.Stanza {
	w.t.Helper()
	return w.set(who, room, "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"+NSRegisterMU+
		"</value></field><field var='muc#register_roomnick'><value>"+nick+"</value></field></x></query>")
}

// reserved is the nickname that somebody finds (XEP-0045 §7.12).
func (w *world) reserved(who, room string) string {
	w.t.Helper()
	q := w.get(who, room, "<query xmlns='"+component.NSDiscoInfo+"' node='x-roomuser-item'/>").Payload()
	require.Equal(w.t, "x-roomuser-item", q.AttrValue("node"))
	identity := q.Child(component.NSDiscoInfo, "identity")
	if identity == nil {
		require.Empty(w.t, q.Nodes)
		return ""
	}
	require.Equal(w.t, "conference/text", identity.AttrValue("category")+"/"+identity.AttrValue("type"))
	return identity.AttrValue("name")
}

const registerQuery = "<query xmlns='jabber:iq:register'/>"

// XEP-0045 §7.10, §7.12: the form, the registration, and what it brings.
func TestRegister(t *testing.T) {
	w := newWorld(t)
	w.coven()
	s := w.get(hag, "coven", registerQuery)
	q := s.Payload()
	require.Nil(t, q.Child(NSRegister, "registered"))
	form := component.ParseForm(q.Child(component.NSData, "x"))
	require.Equal(t, "form", form.Type)
	require.Equal(t, NSRegisterMU, form.FormType)
	require.Len(t, form.Fields, 1)
	require.Equal(t, "muc#register_roomnick", form.Fields[0].Var)
	require.Equal(t, "text-single", form.Fields[0].Type)
	require.Equal(t, "", w.reserved(hag, "coven"))

	out := w.register(hag, "coven", "thirdwitch")
	require.Equal(t, "member/participant", seen(out, crone1, "thirdwitch"))
	require.Equal(t, "member/participant 110", seen(out, hag, "thirdwitch"))
	w.did(out, hag)
	require.Equal(t, "thirdwitch", w.reserved(hag, "coven"))
	require.Equal(t, []string{bare(hag) + " thirdwitch"}, w.adminList(crone1, "coven", "affiliation", "member"))

	q = w.get(hag, "coven", registerQuery).Payload()
	require.NotNil(t, q.Child(NSRegister, "registered"))
	require.Equal(t, "thirdwitch", q.Child(NSRegister, "username").Text())
}

// XEP-0045 §7.10: members, admins and owners register too, and stay what they are.
func TestRegisterOfMembers(t *testing.T) {
	for _, affiliation := range []string{"member", "admin", "owner"} {
		w := newCoven(t)
		w.grant(bare(hag), affiliation)
		require.Nil(t, w.get(hag, "coven", registerQuery).Payload().Child(NSRegister, "registered"), "no nickname yet")
		out := w.register(hag, "coven", "thirdwitch")
		require.Equal(t, component.Presence, to(out, hag)[0].Kind, "before the answer")
		require.Contains(t, seen(out, hag, "thirdwitch"), affiliation+"/")
		w.did(out, hag)
		require.Contains(t, w.adminList(crone1, "coven", "affiliation", affiliation), bare(hag)+" thirdwitch")
	}
}

// XEP-0045 §7.10: what is refused.
func TestRegisterRefused(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.did(w.register(hag, "coven", "thirdwitch"), hag)
	w.refused(w.register(macbeth, "coven", "thirdwitch"), macbeth, "cancel/conflict")
	w.refused(w.register(macbeth, "coven", "firstwitch"), macbeth, "cancel/conflict") // the owner is using it
	w.refused(w.register(macbeth, "coven", " "), macbeth, "modify/jid-malformed")
	w.refused(w.register(macbeth, "coven", ""), macbeth, "modify/bad-request")
	for _, payload := range []string{"", "<x xmlns='jabber:x:data' type='form'/>", "<x xmlns='jabber:x:data' type='submit'/>",
		"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>x</value></field><field var='muc#register_roomnick'><value>x</value></field></x>"} {
		w.refused(w.set(macbeth, "coven", "<query xmlns='jabber:iq:register'>"+payload+"</query>"), macbeth, "modify/bad-request")
	}
	w.grant(bare(macbeth), "outcast")
	w.refused(w.register(macbeth, "coven", "king"), macbeth, "cancel/not-allowed")
	require.Equal(t, "cancel/not-allowed", condition(w.get(macbeth, "coven", registerQuery)))

	const duncan = "duncan@shakespeare.lit/a"
	w.did(w.configure(crone1, "coven", "{http://prosody.im/protocol/muc}roomconfig_allowregister", "0"), crone1)
	require.Equal(t, "cancel/not-allowed", condition(w.get(duncan, "coven", registerQuery)))
	w.refused(w.register(duncan, "coven", "old king"), duncan, "cancel/not-allowed")
	w.did(w.register(hag, "coven", "hag"), hag) // who belongs to the room may still choose
	require.Equal(t, "hag", w.reserved(hag, "coven"))
	w.did(w.configure(crone1, "coven", "{http://prosody.im/protocol/muc}roomconfig_allowregister", "1", "muc#roomconfig_membersonly", "1"), crone1)
	require.Equal(t, "auth/registration-required", condition(w.get(duncan, "coven", registerQuery)))
	require.Equal(t, "cancel/item-not-found", condition(w.get(duncan, "heath", registerQuery)))
}

// XEP-0045 §7.12: a reserved nickname is for its owner, on all devices and none in particular.
func TestReservedNickname(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.did(w.register(macbeth, "coven", "king"), macbeth)
	require.Equal(t, "cancel/conflict", condition(w.only(w.enter("duncan@shakespeare.lit/a", "coven", "king"), "duncan@shakespeare.lit/a")))
	out := w.send("<presence from='" + hag + "' to='coven@" + domain + "/king'/>")
	require.Equal(t, "cancel/conflict", condition(w.only(out, hag)))
	require.Equal(t, "member/participant", seen(w.enter(macbeth, "coven", "king"), crone1, "king"))
	require.Equal(t, "member/participant", seen(w.enter(bare(macbeth)+"/field", "coven", "thane"), crone1, "thane"))
	require.Equal(t, "king", w.reserved(macbeth, "coven"), "also from inside")
}

// XEP-0045 §7.10, §9.3: who uses a nickname that an admin then gives to somebody, or takes,
// is removed; nobody else can do that by registering.
func TestNicknameInUseIsReserved(t *testing.T) {
	w := newWorld(t)
	w.coven()
	out := w.admin(crone1, "coven", "<item affiliation='member' jid='"+bare(macbeth)+"' nick='thirdwitch'/>")
	require.Equal(t, "gone none/none 307 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, "gone none/none 307", seen(out, crone2, "thirdwitch"))
	require.NotEmpty(t, item(to(out, crone2)[0]).Child(NSUser, "reason").Text())
	require.Equal(t, "result", to(out, crone1)[2].Type, "when that and the change are told")
	w.refused(w.register(hag, "coven", "secondwitch"), hag, "cancel/conflict")
	w.grant(bare(macbeth), "member", bare(hag), "admin")
	w.refused(w.register(macbeth, "coven", "secondwitch"), macbeth, "cancel/conflict")
	w.send("<presence type='unavailable' from='" + crone1 + "' to='coven@" + domain + "/firstwitch'/>")
	out = w.register(hag, "coven", "secondwitch")
	require.Equal(t, "gone none/none 307 110", seen(out, crone2, "secondwitch"))
	w.did(out, hag)
	require.Equal(t, "cancel/item-not-found", condition(w.get(crone1, "coven", ownerQuery)), "a temporary room that nobody is left in")
}

// XEP-0045 §7.2.8, §7.12: a nickname belongs to one, also where a request gives it to two;
// it stays so after a restart, and is free when its owner gives it up.
func TestReservedNicknameHasOneOwner(t *testing.T) {
	w := newCoven(t)
	give := func(j, nick string) string {
		return "<item affiliation='member' jid='" + j + "' nick='" + nick + "'/>"
	}
	w.refused(w.admin(crone1, "coven", give(bare(macbeth), "king"), give(bare(hag), "king")), crone1, "cancel/conflict")
	require.Empty(t, w.adminList(crone1, "coven", "affiliation", "member"))
	w.did(w.admin(crone1, "coven", give(bare(macbeth), "king"), give(bare(macbeth), "thane")), crone1)
	require.Equal(t, "thane", w.reserved(macbeth, "coven"))
	w.did(w.register(hag, "coven", "king"), hag)
	w.did(w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1"), crone1)
	w.restart()
	w.refused(w.register(hag, "coven", "thane"), hag, "cancel/conflict")
	w.enter(crone1, "coven", "firstwitch")
	w.grant(bare(macbeth), "none")
	w.did(w.register(hag, "coven", "thane"), hag)
	w.did(w.register(macbeth, "coven", "king"), macbeth)
}

// XEP-0045 §17.1: a nickname is reserved as it is prepared.
func TestReservedNicknameIsPrepared(t *testing.T) {
	w := newCoven(t)
	w.did(w.register(hag, "coven", "e\u0301tat"), hag)
	require.Equal(t, "\u00e9tat", w.reserved(hag, "coven"))
	w.refused(w.admin(crone1, "coven", "<item affiliation='member' jid='x@example.org' nick='e\u0301tat'/>"), crone1, "cancel/conflict")
}

// XEP-0045 §7.10, XEP-0077 §3.2: a registration can be ended; in a members-only room that
// is the end of the visit.
func TestUnregister(t *testing.T) {
	const remove = "<query xmlns='jabber:iq:register'><remove/></query>"
	w := newWorld(t)
	w.coven()
	w.refused(w.set(hag, "coven", remove), hag, "auth/registration-required")
	w.did(w.register(hag, "coven", "thirdwitch"), hag)
	out := w.set(hag, "coven", remove)
	w.did(out, hag)
	require.Equal(t, "none/participant 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, "none/participant", seen(out, crone1, "thirdwitch"))
	require.Equal(t, "", w.reserved(hag, "coven"))
	require.Equal(t, []string{}, w.adminList(crone1, "coven", "affiliation", "member"))

	w.did(w.register(macbeth, "coven", "king"), macbeth)
	out = w.set(macbeth, "coven", remove)
	require.Equal(t, "none", item(to(out, crone1)[0]).AttrValue("affiliation"), "the room is told of who is not there")

	w.did(w.register(crone1, "coven", "firstwitch"), crone1)
	w.did(w.set(crone1, "coven", remove), crone1)
	require.Equal(t, "", w.reserved(crone1, "coven"))
	require.Equal(t, []string{bare(crone1)}, w.adminList(crone1, "coven", "affiliation", "owner"), "an owner stays that")

	w.grant(bare(hag), "member")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1"), crone1)
	out = w.set(hag, "coven", remove)
	require.Equal(t, "gone none/none 321 110", seen(out, hag, "thirdwitch"))
	require.Equal(t, "gone none/none 321", seen(out, crone1, "thirdwitch"))
	w.did(out, hag)
	w.grant(bare(hag), "outcast")
	w.refused(w.set(hag, "coven", remove), hag, "auth/registration-required")
	require.Equal(t, []string{bare(hag)}, w.adminList(crone1, "coven", "affiliation", "outcast"), "a ban is no registration")
}

// XEP-0045 §9.9: where a registration needs approval, admins and owners get a form, and the
// answer counts.
func TestApproveRegistration(t *testing.T) {
	w := newWorld(t)
	w.coven("{urn:xmpp:allium:0}approve", "1", "muc#roomconfig_membersonly", "0")
	w.grant(bare(crone2), "admin")
	out := w.register(macbeth, "coven", "king")
	w.did(out, macbeth)
	require.Empty(t, w.reserved(macbeth, "coven"))
	var form *component.Form
	for _, who := range []string{bare(crone1), bare(crone2)} {
		m := w.only(out, who)
		require.Equal(t, "coven@"+domain, m.From.String())
		form = component.ParseForm(m.Child(component.NSData, "x"))
	}
	require.Len(t, out, 3)
	require.Equal(t, NSRegisterMU, form.FormType)
	require.Equal(t, "king", form.Value("muc#register_roomnick"))
	require.Equal(t, "0", form.Value("muc#register_allow"))

	answer := func(who, allow string) []*component.Stanza {
		form.Type = "submit"
		for i := range form.Fields {
			if form.Fields[i].Var == "muc#register_allow" {
				form.Fields[i].Values = []string{allow}
			}
		}
		return w.send("<message from='" + who + "' to='coven@" + domain + "'>" + form.Element().String() + "</message>")
	}
	require.Equal(t, "auth/forbidden", condition(w.only(answer(hag, "1"), hag)))
	require.Empty(t, answer(crone2, "0"))
	require.Empty(t, w.reserved(macbeth, "coven"))
	out = answer(crone2, "1")
	require.Equal(t, "king", w.reserved(macbeth, "coven"))
	require.Equal(t, []string{"101"}, codes(w.only(out, bare(macbeth))), "and is told")
	require.Equal(t, "cancel/conflict", condition(w.only(answer(crone1, "1"), crone1)), "it is decided")
}

// Who registers has nobody written to whom an admin named who may not have the room do that, until
// these come.
func TestApprovalOutOfReach(t *testing.T) {
	const queen = "queen@hecate.lit/throne"
	w := newWorld(t, func(o *Options) {
		o.MayReach = func(by, whom jid.JID) bool { return by.String() != bare(hag) || whom.Domainpart() != "hecate.lit" }
	})
	w.coven("{urn:xmpp:allium:0}approve", "1")
	w.grant(bare(hag), "owner")
	w.admin(hag, "coven", affiliationItem(bare(queen), "admin", ""))
	asked := func() int { return len(to(w.register(macbeth, "coven", "king"), bare(queen))) }
	require.Zero(t, asked())
	w.enter(queen, "coven", "queen")
	require.Equal(t, 1, asked())
}
