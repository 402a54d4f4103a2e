package muc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// bounce is an error with that condition.
func bounce(condition string) string {
	return "<error type='cancel'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
}

// XEP-0045 §7.4: a message goes to all, its sender too, from the occupant, with its id and
// all that is in it.
func TestGroupchat(t *testing.T) {
	w := newWorld(t)
	w.gather()
	payload := "<body>Harpier cries</body><thread>t1</thread><active xmlns='http://jabber.org/protocol/chatstates'/>" +
		"<origin-id xmlns='urn:xmpp:sid:0' id='o1'/><replace xmlns='urn:xmpp:message-correct:0' id='m0'/><store xmlns='urn:xmpp:hints'/>" +
		"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='king@shakespeare.lit'><body>off with them</body></message></forwarded>"
	out := w.send("<message id='m1' type='groupchat' xml:lang='cy' from='" + hag + "' to='" + witches + "'>" + payload + "</message>")
	require.Len(t, out, 3)
	for _, who := range []string{crone1, crone2, hag} {
		got := w.only(out, who)
		require.Equal(t, third, got.From.String())
		require.Equal(t, "m1", got.ID)
		require.Equal(t, "cy", got.Lang)
		require.Equal(t, "Harpier cries", got.Body())
		for _, name := range []string{"thread", "active", "origin-id", "replace", "store", "forwarded"} {
			require.Contains(t, got.String(), "<"+name, got)
		}
		require.Len(t, ids(got), 1)
		require.Equal(t, witches, got.Child(NSSID, "stanza-id").AttrValue("by"))
	}
}

// XEP-0045 §7.4, §17.2: who may not speak, and what is no message to all.
func TestGroupchatRefused(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.admin(crone1, "coven", "<item nick='thirdwitch' role='visitor'/>")
	for _, x := range []struct{ who, to, typ, payload, want string }{
		{hecate, witches, "groupchat", "<body>hi</body>", "message error room modify/not-acceptable"},
		{hag, witches, "groupchat", "<body>hi</body>", "message error room auth/forbidden"},
		{hag, first1, "groupchat", "<body>hi</body>", "message error firstwitch modify/bad-request"},
		{hag, witches, "chat", "<body>hi</body>", "message error room modify/bad-request"},
		{hag, witches, "", "<body>hi</body>", "message error room modify/bad-request"},
		{hag, witches, "headline", "<body>hi</body>", "message error room modify/bad-request"},
		{hecate, witches, "", "<body>hi</body>", "message error room modify/not-acceptable"},
		{hecate, "nowhere@" + domain, "groupchat", "<body>hi</body>", "message error room cancel/item-not-found"},
	} {
		out := w.message(x.who, x.to, x.typ, x.payload)
		require.Equal(t, x.want, summary(out, x.who), x)
		require.Len(t, out, 1)
		require.Equal(t, "m", out[0].ID)
	}
}

// XEP-0359 §3, XEP-0421 §4.1: what the room says of a message nobody else does.
func TestForgedIDs(t *testing.T) {
	w := newWorld(t)
	w.gather()
	forged := "<stanza-id xmlns='urn:xmpp:sid:0' by='" + witches + "' id='f1'/><stanza-id xmlns='urn:xmpp:sid:0' by='COVEN@" + strings.ToUpper(domain) + "' id='f2'/>" +
		"<stanza-id xmlns='urn:xmpp:sid:0' by='hag66@shakespeare.lit' id='mine'/><occupant-id xmlns='" + NSOccupantID + "' id='f3'/>" +
		"<x xmlns='" + NSUser + "'><status code='104'/></x><delay xmlns='urn:xmpp:delay' from='" + witches + "' stamp='1610-04-20T00:00:00Z'/>"
	for _, at := range []string{witches, first1} {
		typ := map[string]string{witches: "groupchat", first1: "chat"}[at]
		got := w.only(w.message(hag, at, typ, "<body>hi</body>"+forged), crone1)
		for _, id := range []string{"'f1'", "'f2'", "'f3'", "'104'", "<delay"} {
			require.NotContains(t, got.String(), id)
		}
		require.Contains(t, got.String(), "mine")
		require.Len(t, ids(got), 1)
	}
}

// XEP-0045 §8.1: who changes the subject, and what is one.
func TestSubject(t *testing.T) {
	w := newWorld(t)
	w.gather()
	set := func(who, payload string) []*component.Stanza { return w.message(who, witches, "groupchat", payload) }
	require.Equal(t, "message error room auth/forbidden", summary(set(hag, "<subject>No</subject>"), hag))
	require.Equal(t, "message error room auth/forbidden", summary(set(hag, "<subject/>"), hag))
	out := set(crone1, "<subject>Fire Burn</subject>")
	require.Len(t, out, 3)
	for _, who := range []string{crone1, crone2, hag} {
		require.Equal(t, "message groupchat firstwitch subject \"Fire Burn\"", summary(out, who))
		require.Equal(t, "m", w.only(out, who).ID)
	}
	// With body or thread it is a message (§7.2.15, §8.1).
	require.Equal(t, "message groupchat thirdwitch subject \"s\" b", summary(set(hag, "<subject>s</subject><body>b</body>"), crone1))
	require.Equal(t, "message groupchat thirdwitch subject \"s\"", summary(set(hag, "<subject>s</subject><thread>t</thread>"), crone1))
	// Who enters gets it last, with when it was set, and not among the history.
	in := w.enter(hecate, "coven", "fourth")
	got := to(in, hecate)[len(to(in, hecate))-1]
	require.Equal(t, "Fire Burn", got.Child(component.NSClient, "subject").Text())
	require.Equal(t, first1, got.From.String())
	require.Equal(t, witches, got.Child(NSDelay, "delay").AttrValue("from"))
	require.Equal(t, 1, strings.Count(summary(in, hecate), "Fire Burn"))
	// Who set it may be gone; an empty one removes it.
	require.Equal(t, "message groupchat firstwitch subject \"\"", summary(set(crone1, "<subject/>"), hag))
	in = w.enter("hecate@shakespeare.lit/b", "coven", "fifth")
	require.Contains(t, summary(in, "hecate@shakespeare.lit/b"), "message groupchat firstwitch subject \"\"")
	w.configure(crone1, "coven", "muc#roomconfig_changesubject", "1")
	require.Equal(t, "message groupchat thirdwitch subject \"Mine\"", summary(set(hag, "<subject>Mine</subject>"), crone1))
	w.admin(crone1, "coven", "<item nick='thirdwitch' role='visitor'/>")
	require.Equal(t, "message error room auth/forbidden", summary(set(hag, "<subject>Mine</subject>"), hag))
	// A moderator without affiliation may.
	w.configure(crone1, "coven", "muc#roomconfig_changesubject", "0")
	w.admin(crone1, "coven", "<item nick='secondwitch' role='moderator'/>")
	require.Equal(t, "message groupchat secondwitch subject \"Ours\"", summary(set(crone2, "<subject>Ours</subject>"), hag))
}

// XEP-0045 §7.5: a private message goes to one occupant, from the occupant.
func TestPrivateMessage(t *testing.T) {
	w := newWorld(t)
	w.gather()
	for _, typ := range []string{"chat", ""} {
		for _, x := range []string{"", "<x xmlns='" + NSUser + "'/>"} {
			out := w.message(crone2, first1, typ, "<body>I'll give thee a wind.</body>"+x)
			require.Len(t, out, 1)
			got := w.only(out, crone1)
			require.Equal(t, second, got.From.String())
			require.Equal(t, "m", got.ID)
			require.Equal(t, typ, got.Type)
			require.Equal(t, 1, strings.Count(got.String(), NSUser))
			require.Len(t, ids(got), 1)
			require.Nil(t, got.Child(NSSID, "stanza-id"))
		}
	}
	require.Equal(t, "message error nobody cancel/item-not-found", summary(w.message(hag, witches+"/nobody", "chat", "<body>?</body>"), hag))
	require.Equal(t, "message error firstwitch modify/not-acceptable", summary(w.message(hecate, first1, "chat", "<body>?</body>"), hecate))
	require.Equal(t, "message error nobody modify/not-acceptable", summary(w.message(hecate, witches+"/nobody", "chat", "<body>?</body>"), hecate))
	w.presence(crone1, first1, "unavailable", "")
	require.Equal(t, "message error secondwitch modify/not-acceptable", summary(w.message(crone1, second, "chat", "<body>owner</body>"), crone1))
	// Nothing of it is in the history.
	require.NotContains(t, summary(w.enter(hecate, "coven", "fourth"), hecate), "wind")
}

// XEP-0045 §7.5, §14.6: an error to a private message tells that it could not be delivered, and is
// no way around the limits of messages.
func TestErrorsToPrivateMessages(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.MessageRate, o.Limits.Message = 1, 2000 })
	w.gather("muc#roomconfig_whois", "anyone")
	fails := func(text string) []*component.Stanza {
		return w.message(hag, first1, "error", "<body>spam</body><error type='modify'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>"+text+"</text></error>")
	}
	got := w.only(fails("why"), crone1)
	require.Equal(t, "modify/policy-violation", condition(got))
	require.Equal(t, "why", got.StanzaError().Text["en"])
	require.Empty(t, got.Body())
	require.Empty(t, fails(strings.Repeat("x", 2000)))
	w.configure(crone1, "coven", "muc#roomconfig_allowpm", "none")
	require.Empty(t, fails("why"))
	w.configure(crone1, "coven", "muc#roomconfig_allowpm", "anyone")
	n := 0
	for range 5 * burstSeconds {
		n += len(fails("why"))
	}
	require.Less(t, n, 2*burstSeconds)
}

// XEP-0045 §7.5: who may send private messages is configured (muc#roomconfig_allowpm).
func TestWhoMaySendPrivately(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.admin(crone1, "coven", "<item nick='thirdwitch' role='visitor'/>")
	may := func(who string) bool {
		return !strings.Contains(summary(w.message(who, map[bool]string{true: second, false: first1}[who == crone1], "chat", "<body>?</body>"), who), "auth/forbidden")
	}
	for value, want := range map[string][3]bool{"anyone": {true, true, true}, "participants": {true, true, false}, "moderators": {true, false, false}, "none": {}} {
		w.configure(crone1, "coven", "muc#roomconfig_allowpm", value)
		require.Equal(t, want, [3]bool{may(crone1), may(crone2), may(hag)}, value)
	}
}

// XEP-0045 §14.6: who is too fast is told so, and what is too long.
func TestMessageLimits(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.MessageRate, o.Limits.Message, o.Limits.Subject = 1, 2000, 50 })
	w.gather()
	require.Equal(t, "message error room modify/policy-violation", summary(w.say(hag, "coven", "m", strings.Repeat("x", 2000)), hag))
	require.Equal(t, "message error firstwitch modify/policy-violation", summary(w.message(hag, first1, "chat", "<body>"+strings.Repeat("x", 2000)+"</body>"), hag))
	require.Equal(t, "message error room modify/policy-violation", summary(w.message(crone1, witches, "groupchat", "<subject>"+strings.Repeat("x", 51)+"</subject>"), crone1))
	require.Equal(t, "message error room modify/policy-violation", summary(w.message(crone1, witches, "groupchat", "<subject>x</subject><x xmlns='urn:x'>"+strings.Repeat("x", 2000)+"</x>"), crone1))
	last := ""
	for i := range 15 {
		last = summary(w.say(hag, "coven", fmt.Sprint(i), "again"), hag)
	}
	require.Equal(t, "message error room wait/policy-violation", last)
	require.Equal(t, "message groupchat secondwitch calm", summary(w.say(crone2, "coven", "m", "calm"), hag))
}

// XEP-0045 §7.2.13, XEP-0203: the history is oldest first, from who said it, with id, real
// time, and without what is not for later.
func TestHistory(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#maxhistoryfetch", "3")
	for i := range 4 {
		w.say(hag, "coven", fmt.Sprint("m", i), fmt.Sprint("said ", i))
	}
	w.message(hag, witches, "groupchat", "<body>secret</body><no-store xmlns='urn:xmpp:hints'/>")
	w.message(hag, witches, "groupchat", "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
	w.presence(hag, third, "unavailable", "")
	got := to(w.enter(hecate, "coven", "fourth"), hecate)
	require.Len(t, got, 3+3+1)
	for i, s := range got[3:6] {
		require.Equal(t, fmt.Sprint("said ", i+1), s.Body())
		require.Equal(t, fmt.Sprint("m", i+1), s.ID)
		require.Equal(t, third, s.From.String())
		require.Len(t, ids(s), 1)
		require.NotNil(t, s.Child(NSSID, "stanza-id"))
		delay := s.Child(NSDelay, "delay")
		require.Equal(t, witches, delay.AttrValue("from"))
		at, err := time.Parse(time.RFC3339, delay.AttrValue("stamp"))
		require.NoError(t, err)
		require.Equal(t, time.UTC, at.Location())
	}
}

// What is kept without an archive takes little memory, and who enters gets it as it was, with
// all ids, also if who said it has another nickname then.
func TestHistoryInMemory(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_enablelogging", "0")
	w.enter(hag, "coven", "thirdwitch")
	then := to(w.message(hag, witches, "groupchat", "<body>a &lt; b</body><thread>t</thread>"), crone1)
	w.presence(hag, witches+"/hag", "", "")
	r := w.sv.awake("coven").room
	require.Len(t, r.history.list, 1)
	require.False(t, r.history.list[0].whole)
	require.NotContains(t, string(r.history.xml), "occupant-id")
	got := to(w.enter(hecate, "coven", "fourth"), hecate)
	again := got[len(got)-2]
	require.NotNil(t, again.Child(NSDelay, "delay"))
	again.Nodes = slices.DeleteFunc(again.Nodes, func(n component.Node) bool { return n.Element.Is(NSDelay, "delay") })
	require.Equal(t, strings.ReplaceAll(then[0].String(), crone1, ""), strings.ReplaceAll(again.String(), hecate, ""))
}

// XEP-0045 §7.2.14: who enters can limit it; the smallest wins.
func TestHistoryManaged(t *testing.T) {
	w := newWorld(t)
	w.gather()
	for i := range 5 {
		w.say(hag, "coven", fmt.Sprint("m", i), fmt.Sprint(i))
	}
	history := func(attrs string) string {
		got := ""
		for _, s := range to(w.join(hecate, witches+"/fourth", "<history "+attrs+"/>"), hecate) {
			got += s.Body()
		}
		w.presence(hecate, witches+"/fourth", "unavailable", "")
		return got
	}
	size := 0
	for _, s := range to(w.join(hecate, witches+"/fourth", ""), hecate) {
		if s.Body() == "4" {
			d := component.NewDraft(s, nil, nil, nil)
			size = d.Size() + len(" to=''") + len(s.To.String())
		}
	}
	require.Equal(t, "01234", history(""))
	require.Equal(t, "34", history("maxstanzas='2'"))
	require.Equal(t, "", history("maxstanzas='0'"))
	require.Equal(t, "", history("maxchars='0'"))
	require.Equal(t, "", history("maxchars='0' maxstanzas='0' seconds='0'"))
	require.Equal(t, "4", history(fmt.Sprintf("maxchars='%d'", size)))
	require.Equal(t, "", history(fmt.Sprintf("maxchars='%d'", size-1)))
	require.Equal(t, "34", history(fmt.Sprintf("maxchars='%d'", size*3-1)))
	require.Equal(t, "4", history(fmt.Sprintf("maxstanzas='1' maxchars='%d'", 3*size)))
	require.Equal(t, "01234", history("seconds='60'"))
	require.Equal(t, "01234", history("since='1970-01-01T00:00:00Z'"))
	require.Equal(t, "", history("since='"+time.Now().Add(time.Minute).UTC().Format(time.RFC3339)+"'"))
	require.Equal(t, "01234", history("since='"+time.Now().Add(-time.Minute).In(time.FixedZone("", 3600)).Format(time.RFC3339)+"'"))
	require.Equal(t, "34", history("seconds='60' since='1970-01-01T00:00:00Z' maxstanzas='2' maxchars='100000'"))
	require.Equal(t, "01234", history("maxstanzas='many' since='once'")) // what cannot be read is no limit
}

// XEP-0359 §6, XEP-0203 §4: what only the room says cannot be forged under the address either
// that it has on the onion side: there it would be taken for the room's.
func TestForgedByOnionAddress(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.OnionOf = func(j jid.JID) (jid.JID, bool) { return jid.MustParse(j.Localpart() + "@rooms.abc.onion"), true }
	})
	w.gather()
	out := w.message(hag, witches, "groupchat", "<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='coven@rooms.abc.onion'/>"+
		"<delay xmlns='urn:xmpp:delay' from='coven@rooms.abc.onion' stamp='2002-10-13T23:58:37Z'/><stanza-id xmlns='urn:xmpp:sid:0' id='another' by='other@rooms.abc.onion'/>")
	got := w.only(out, crone2).String()
	require.NotContains(t, got, "forged")
	require.NotContains(t, got, "2002")
	require.Contains(t, got, "another", "of another room, which nobody takes for ours")
}

// XEP-0425 §3.1, XEP-0313 §4.2: what moderators and the archive say comes from the room. In
// an occupant's message it is a forgery, which clients that look at bare JIDs believe.
func TestForgedModerationAndResults(t *testing.T) {
	w := newWorld(t)
	w.gather()
	own := "<retract xmlns='" + NSRetract + "' id='mine'/>"
	forged := "<retract xmlns='" + NSRetract + "' id='forged'><moderated xmlns='" + NSModerate + "' by='" + witches + "/firstwitch'/></retract>" +
		"<apply-to xmlns='" + NSFastening + "' id='forged'><moderated xmlns='" + NSModerate0 + "' by='" + witches + "/firstwitch'/></apply-to>" +
		"<result xmlns='" + NSMAM + "' id='forged'><forwarded xmlns='" + NSForward + "'/></result>"
	for at, typ := range map[string]string{witches: "groupchat", second: "chat"} {
		got := w.only(w.message(hag, at, typ, "<body>x</body>"+own+forged), crone2).String()
		require.NotContains(t, got, "forged")
		require.Contains(t, got, "mine")
	}
}

// XEP-0045 §7.2.13: who a message was from (XEP-0033) is for the room to say.
func TestForgedOriginalSender(t *testing.T) {
	w := newWorld(t)
	w.gather()
	of := func(typ string) string {
		return "<addresses xmlns='" + NSAddress + "'><address type='" + typ + "' jid='crone1@shakespeare.lit/desktop'/></addresses>"
	}
	got := w.only(w.message(hag, witches, "groupchat", "<body>x</body>"+of("ofrom")+of("cc")), crone2).String()
	require.NotContains(t, got, "ofrom")
	require.Contains(t, got, "type='cc'")
}
