package muc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

const version = "<query xmlns='jabber:iq:version'/>"

// XEP-0045 §17.4: requests to an occupant go on, and the answers back, and nobody learns a
// real address.
func TestRelay(t *testing.T) {
	w := newWorld(t)
	w.gather()
	out := w.iq(hag, second, "get", "v1", version)
	require.Len(t, out, 1)
	asked := w.only(out, crone2)
	require.Equal(t, third, asked.From.String())
	require.True(t, asked.Payload().Is("jabber:iq:version", "query"))
	require.NotContains(t, asked.String(), "hag66")
	for _, answer := range []string{"result", "error"} {
		out = w.iq(crone2, third, answer, asked.ID, "<query xmlns='jabber:iq:version'><name>cauldron</name></query>")
		require.Len(t, out, 1)
		got := w.only(out, hag)
		require.Equal(t, answer, got.Type)
		require.Equal(t, "v1", got.ID)
		require.Equal(t, second, got.From.String())
		require.Contains(t, got.String(), "cauldron")
	}
	// The answer still comes if who asked has another nickname now.
	asked = w.only(w.iq(hag, second, "set", "v2", version), crone2)
	w.presence(hag, witches+"/oldhag", "", "")
	require.Equal(t, "iq result secondwitch", summary(w.iq(crone2, third, "result", asked.ID, ""), hag))
	require.Empty(t, w.iq(hecate, third, "result", asked.ID, ""))
	require.Empty(t, w.iq(crone1, third, "result", "nonsense", ""))
	require.Empty(t, w.iq(crone1, third, "result", "zz.zz", ""))
	require.Equal(t, "iq error nobody cancel/item-not-found", summary(w.iq(crone1, witches+"/nobody", "get", "i", version), crone1))
	require.Equal(t, "iq error secondwitch modify/not-acceptable", summary(w.iq(hecate, second, "get", "i", version), hecate))
	require.Equal(t, "iq error secondwitch modify/bad-request", summary(w.iq(crone1, second, "get", "i", version+version), crone1))
}

// RFC 6120 §8.2.3: who asks an occupant what cannot go on to it is told that.
func TestRelayThatCannotGoOn(t *testing.T) {
	w := newWorld(t)
	w.gather()
	require.Equal(t, "iq error secondwitch modify/policy-violation", summary(w.iq(hag, second, "get", strings.Repeat("i", component.MaxID), version), hag))
	w.longest = 1000
	out := w.iq(hag, second, "set", "v1", "<query xmlns='jabber:iq:version'>"+strings.Repeat("x", 1000)+"</query>")
	require.Equal(t, "iq error secondwitch modify/policy-violation", summary(out, hag))
	require.Equal(t, "v1", w.only(out, hag).ID)
	require.Len(t, out, 1)
	require.Empty(t, w.sv.awake("coven").room.relays)
}

// RFC 6120 §8.2.3, XEP-0045 §17.4: who asks an occupant gets one answer, also if the client that
// was asked leaves, or is thrown out, meanwhile; if it comes back, what it says then is none.
func TestRelayToWhoLeaves(t *testing.T) {
	const none = "iq error secondwitch wait/recipient-unavailable"
	ask := func(w *world, id, payload string) (asked string) {
		out := w.iq(hag, second, "get", id, payload)
		require.Len(t, out, 1)
		return out[0].ID
	}
	answers := func(out []*component.Stanza, who string) (n int) {
		for _, s := range to(out, who) {
			if s.Kind == component.IQ && s.From.Resourcepart() != "" {
				n++
			}
		}
		return n
	}
	for name, leave := range map[string]func(w *world) []*component.Stanza{
		"leaves": func(w *world) []*component.Stanza { return w.presence(crone2, second, "unavailable", "") },
		"lost": func(w *world) []*component.Stanza {
			return w.presence(crone2, third, "error", "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")
		},
		"kicked": func(w *world) []*component.Stanza {
			return w.admin(crone1, "coven", roleItem("secondwitch", "none", ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.gather()
			asked := ask(w, "v1", version)
			ask(w, "c1", "<vCard xmlns='vcard-temp'/>")
			answered := ask(w, "v2", version)
			require.Equal(t, 1, answers(w.iq(crone2, third, "result", answered, ""), hag))
			out := leave(w)
			require.Equal(t, 2, answers(out, hag), "%v", out)
			for _, s := range to(out, hag) {
				if s.Kind == component.IQ {
					require.Equal(t, none, summary([]*component.Stanza{s}, hag))
					require.Contains(t, []string{"v1", "c1"}, s.ID)
				}
			}
			w.enter(crone2, "coven", "secondwitch")
			require.Empty(t, w.iq(crone2, third, "result", asked, ""))
			require.Nil(t, w.sv.awake("coven").room.relays)
		})
	}
	// Nothing is kept for who asked and left, and no more than there may be.
	w := newWorld(t, func(o *Options) { o.Limits.MessageRate = -1 })
	w.gather()
	for i := range maxRelays + 1 {
		ask(w, fmt.Sprint("v", i), version)
	}
	r := w.sv.awake("coven").room
	require.Len(t, r.relays, maxRelays)
	require.Equal(t, "v1", r.relays[0].id)
	ask(w, strings.Repeat("x", maxRelayID+1), version)
	require.Equal(t, "v1", r.relays[0].id)
	w.presence(hag, third, "unavailable", "")
	require.Empty(t, r.relays)
	require.Zero(t, answers(w.presence(crone2, second, "unavailable", ""), hag))
}

// XEP-0054 §3, XEP-0045 §17.4: a vCard is asked of the user's server, and comes back from
// the occupant that was meant.
func TestRelayVCard(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.enter("wiccarocks@shakespeare.lit/other", "coven", "other")
	for _, nick := range []string{"secondwitch", "other"} {
		out := w.iq(hag, witches+"/"+nick, "get", "c1", "<vCard xmlns='vcard-temp'/>")
		require.Len(t, out, 1)
		asked := w.only(out, bareOf(crone2))
		out = w.iq(bareOf(crone2), third, "result", asked.ID, "<vCard xmlns='vcard-temp'><FN>Wicca</FN></vCard>")
		got := w.only(out, hag)
		require.Equal(t, witches+"/"+nick, got.From.String())
		require.Equal(t, "c1", got.ID)
		require.Contains(t, got.String(), "<FN>Wicca</FN>")
	}
	// One that is set does not concern the user's server.
	require.Equal(t, "iq set thirdwitch", summary(w.iq(hag, second, "set", "c2", "<vCard xmlns='vcard-temp'/>"), crone2))
}

// XEP-0410 §3: the room answers whoever asks if it is still there, each client for itself.
func TestSelfPing(t *testing.T) {
	w := newWorld(t)
	w.gather()
	hag2 := "hag66@shakespeare.lit/laptop"
	out := w.iq(hag, third, "get", "s1", pingQuery)
	require.Len(t, out, 1)
	require.Equal(t, "iq result thirdwitch", summary(out, hag))
	require.Equal(t, "iq error thirdwitch modify/not-acceptable", summary(w.iq(hag2, third, "get", "s1", pingQuery), hag2))
	require.Equal(t, "iq error nobody modify/not-acceptable", summary(w.iq(hecate, witches+"/nobody", "get", "s1", pingQuery), hecate))
	w.enter(hag2, "coven", "thirdwitch")
	for _, who := range []string{hag, hag2} {
		out = w.iq(who, third, "get", "s1", pingQuery)
		require.Len(t, out, 1)
		require.Equal(t, "iq result thirdwitch", summary(out, who))
	}
	w.enter("hag66@shakespeare.lit/third", "coven", "another")
	require.Equal(t, "iq result another", summary(w.iq("hag66@shakespeare.lit/third", witches+"/another", "get", "s", pingQuery), "hag66@shakespeare.lit/third"))
	// A ping of somebody else goes there.
	require.Equal(t, "iq get thirdwitch", summary(w.iq(hag, second, "get", "s", pingQuery), crone2))
	// After a crash the room says the truth.
	w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1")
	w.restart()
	require.Equal(t, "iq error thirdwitch modify/not-acceptable", summary(w.iq(hag, third, "get", "s1", pingQuery), hag))
}

// XEP-0421 §3, §4: an occupant's id is the same whatever its nickname, and over visits; it
// is another in each room, is in all that comes of it, and tells nothing.
func TestOccupantID(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_whois", "anyone")
	id := ""
	same := func(stanzas []*component.Stanza, who string) {
		t.Helper()
		n := 0
		for _, s := range to(stanzas, who) {
			if s.From.Resourcepart() == "" || s.Child(component.NSClient, "subject") != nil || strings.HasSuffix(s.From.Resourcepart(), "witch") && s.From.Resourcepart() != "thirdwitch" {
				continue
			}
			require.Len(t, ids(s), 1, s)
			if id == "" {
				id = ids(s)[0]
			}
			require.Equal(t, id, ids(s)[0], s)
			n++
		}
		require.NotZero(t, n)
	}
	for _, who := range []string{crone1, hag} {
		same(w.say(hag, "coven", "m", "hi"), who)
		same(w.presence(hag, third, "", "<show>away</show>"), who)
		same(w.presence(hag, witches+"/oldhag", "", ""), who)
		same(w.presence(hag, third, "", ""), who)
		for _, x := range []string{"<item nick='thirdwitch' role='visitor'/>", "<item nick='thirdwitch' role='participant'/>", "<item jid='hag66@shakespeare.lit' affiliation='member'/>",
			"<item jid='hag66@shakespeare.lit' affiliation='none'/>"} {
			same(w.admin(crone1, "coven", x), who)
		}
		same(w.admin(crone1, "coven", "<item nick='thirdwitch' role='none'/>"), who)
		same(w.enter(hag, "coven", "thirdwitch"), who)
		same(w.presence(hag, third, "unavailable", ""), who)
		same(w.enter(hag, "coven", "another"), who)
		same(w.admin(crone1, "coven", "<item jid='hag66@shakespeare.lit' affiliation='outcast'/>"), who)
		w.admin(crone1, "coven", "<item jid='hag66@shakespeare.lit' affiliation='none'/>")
		same(w.enter(hag, "coven", "thirdwitch"), who)
	}
	require.LessOrEqual(t, len(id), 128)
	require.NotContains(t, id, "hag")
	w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1")
	w.restart()
	w.enter(crone1, "coven", "firstwitch")
	same(w.enter(hag, "coven", "thirdwitch"), crone1)
	w.open(crone1, "other", "firstwitch")
	out := w.enter(hag, "other", "thirdwitch")
	require.NotEqual(t, id, ids(to(out, crone1)[0])[0])
	require.Len(t, ids(to(out, crone1)[0]), 1)
}

// XEP-0045 §7.2.4: an error that comes back from an occupant does not tell where from, as
// its server's name and the new address of who moved would (RFC 6120 §8.3.1, §8.3.3.5).
func TestRelayedErrorsHideAddresses(t *testing.T) {
	w := newWorld(t)
	w.gather()
	const told = "<error type='modify' by='wiccarocks@shakespeare.lit/laptop'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:wiccarocks@shakespeare.lit</not-acceptable>" +
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>wiccarocks@shakespeare.lit says no</text><busy xmlns='urn:x' by='wiccarocks'/></error>"
	ask := func() *component.Stanza {
		asked := w.only(w.iq(hag, second, "get", "v1", version), crone2)
		return w.only(w.iq(crone2, third, "error", asked.ID, told), hag)
	}
	private := func() *component.Stanza { return w.only(w.message(crone2, third, "error", told), hag) }
	for _, get := range []func() *component.Stanza{ask, private} {
		got := get()
		require.Equal(t, "modify/not-acceptable", condition(got))
		require.NotContains(t, got.String(), "wiccarocks")
		require.NotContains(t, got.String(), "shakespeare.lit'>xmpp")
		require.Contains(t, got.String(), "urn:x")
	}
	w.configure(crone1, "coven", "muc#roomconfig_whois", "anyone")
	require.Contains(t, ask().String(), "says no", "where addresses are no secret")
}
