package muc

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// XEP-0045 §6.2, XEP-0030 §3.2: what the service is, and nodes that it does not have.
func TestServiceInfo(t *testing.T) {
	w := newWorld(t)
	got := w.only(w.iq(hag, domain, "get", "i", discoInfo), hag)
	identity := got.Payload().Child(component.NSDiscoInfo, "identity")
	require.Equal(t, "conference", identity.AttrValue("category"))
	require.Equal(t, "text", identity.AttrValue("type"))
	require.Subset(t, featuresIn(got), []string{NSMUC, component.NSDiscoInfo, component.NSDiscoItem, NSRSM, NSStableID, NSUnique, NSOccupantID, NSVCard})
	unknown := "<query xmlns='http://jabber.org/protocol/disco#info' node='nothing'/>"
	require.Equal(t, "iq error service cancel/item-not-found", summary(w.iq(hag, domain, "get", "i", unknown), hag))
	require.Equal(t, "iq error service cancel/item-not-found", summary(w.iq(hag, domain, "get", "i", "<query xmlns='http://jabber.org/protocol/disco#items' node='nothing'/>"), hag))
}

// RFC 6120 §8.2.3: each request gets one answer, from where it went to, with its id; what
// is unknown gets service-unavailable, and answers are not answered.
func TestOneAnswer(t *testing.T) {
	w := newWorld(t)
	w.gather()
	for _, at := range []string{domain, witches} {
		for payload, want := range map[string]string{pingQuery: "", discoInfo: "", "<vCard xmlns='vcard-temp'/>": "",
			"<unknown xmlns='urn:unknown'/>": "cancel/service-unavailable"} {
			got := w.only(w.iq(hag, at, "get", "i1", payload), hag)
			require.Equal(t, "i1", got.ID)
			require.Equal(t, at, got.From.String())
			if payload != "<vCard xmlns='vcard-temp'/>" {
				require.Equal(t, want, condition(got), payload)
			}
		}
		require.Equal(t, "modify/bad-request", condition(w.only(w.iq(hag, at, "get", "i2", pingQuery+pingQuery), hag)))
		require.Empty(t, w.iq(hag, at, "result", "i3", ""))
		require.Empty(t, w.iq(hag, at, "error", "i4", "<error type='cancel'/>"))
		require.Empty(t, w.message(hag, at, "error", "<error type='modify'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"))
	}
	require.Empty(t, w.presence(hecate, domain, "error", ""))
	require.Equal(t, "iq error room cancel/item-not-found", summary(w.iq(hag, "nowhere@"+domain, "get", "i", pingQuery), hag))
}

// XEP-0045 §6.3, XEP-0059: public rooms are listed, and by pages if that is wanted.
func TestListOfRooms(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "b", "n")
	w.configure(crone1, "b", "muc#roomconfig_roomname", "Second")
	w.open(crone1, "a", "n")
	w.open(crone1, "c", "n")
	w.open(crone1, "hidden", "n")
	w.configure(crone1, "hidden", "muc#roomconfig_publicroom", "0")
	w.enter(crone1, "locked", "n")
	all := w.only(w.iq(hag, domain, "get", "i", discoItems), hag)
	require.Equal(t, []string{"a@" + domain, "b@" + domain, "c@" + domain}, itemJIDs(all))
	require.Nil(t, all.Payload().Child(NSRSM, "set"))
	require.Contains(t, all.String(), "name='Second'")
	page := func(set string) *component.Stanza {
		return w.only(w.iq(hag, domain, "get", "i", "<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='"+NSRSM+"'>"+set+"</set></query>"), hag)
	}
	p := page("<max>2</max>")
	require.Equal(t, []string{"a@" + domain, "b@" + domain}, itemJIDs(p))
	set := p.Payload().Child(NSRSM, "set")
	require.Equal(t, "3", set.Child(NSRSM, "count").Text())
	next := page("<max>2</max><after>" + set.Child(NSRSM, "last").Text() + "</after>")
	require.Equal(t, []string{"c@" + domain}, itemJIDs(next))
	require.Equal(t, "2", next.Payload().Child(NSRSM, "set").Child(NSRSM, "first").AttrValue("index"))
	require.Equal(t, []string{"b@" + domain, "c@" + domain}, itemJIDs(page("<max>2</max><before/>")))
	require.Empty(t, itemJIDs(page("<max>0</max>")))
	require.Equal(t, "cancel/item-not-found", condition(page("<after>nothing</after>")))
}

// XEP-0045 §6.3: the list stays in order while rooms come, go, are hidden, and are read again.
func TestListOfRoomsStaysSorted(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"heath", "coven", "castle", "forres", "dunsinane"} {
		w.open(crone1, name, "firstwitch")
		w.did(w.configure(crone1, name, "muc#roomconfig_persistentroom", "1", "muc#roomconfig_roomname", "The "+name), crone1)
	}
	w.did(w.configure(crone1, "castle", "muc#roomconfig_publicroom", "0"), crone1)
	w.did(w.configure(crone1, "coven", "muc#roomconfig_publicroom", "0"), crone1)
	w.did(w.configure(crone1, "coven", "muc#roomconfig_publicroom", "1"), crone1)
	w.did(w.set(crone1, "forres", "<query xmlns='"+NSOwner+"'><destroy/></query>"), crone1)
	w.enter(crone1, "cawdor", "firstwitch") // locked
	for range 2 {
		require.Equal(t, []string{"coven", "dunsinane", "heath"}, []string(w.sv.public))
		require.Len(t, itemsListed(w), 3)
		w.restart()
	}
}

// XEP-0059: a page of a long list costs no more than one of a short list.
func TestListOfManyRooms(t *testing.T) {
	cost := func(rooms int) float64 {
		w := newWorld(t)
		for i := range rooms {
			w.sv.list(saveRoom{Name: fmt.Sprintf("room%05d", i), Config: new(KindConfig("open")), Creator: bare(crone1)})
		}
		s := parseOne(t, "<iq type='get' id='i' from='"+hag+"' to='"+domain+"'><query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='"+
			NSRSM+"'><max>10</max></set></query></iq>")
		return testing.AllocsPerRun(10, func() {
			items, err := w.sv.listRooms(t.Context(), s)
			require.NoError(t, err)
			require.Len(t, items[0].Nodes, 11)
		})
	}
	require.InDelta(t, cost(20), cost(20_000), 10)
}

// XEP-0045 §6.4: what a room says of itself is what it is configured to be.
func TestRoomInfo(t *testing.T) {
	w := newWorld(t)
	w.gather()
	info := func(who string) *component.Stanza { return w.get(who, "coven", discoInfo) }
	got := info(hecate)
	identity := got.Payload().Child(component.NSDiscoInfo, "identity")
	require.Equal(t, "coven", identity.AttrValue("name"))
	require.Equal(t, "conference", identity.AttrValue("category"))
	require.Subset(t, featuresIn(got), []string{NSMUC, NSStableID, NSSelfPing, NSOccupantID, NSSID, NSVCard,
		"muc_public", "muc_open", "muc_unmoderated", "muc_semianonymous", "muc_unsecured", "muc_temporary", NSMAM})
	w.message(crone1, witches, "groupchat", "<subject>Spells</subject>")
	w.configure(crone1, "coven", "muc#roomconfig_roomname", "A Dark Cave", "muc#roomconfig_roomdesc", "The place for witches",
		"muc#roomconfig_publicroom", "0", "muc#roomconfig_moderatedroom", "1", "muc#roomconfig_whois", "anyone", "muc#roomconfig_lang", "en",
		"muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", "cauldronburn", "muc#roomconfig_persistentroom", "1",
		"muc#roomconfig_enablelogging", "0", "muc#maxhistoryfetch", "7", "muc#roomconfig_changesubject", "1")
	got = info(hag)
	require.Equal(t, "A Dark Cave", got.Payload().Child(component.NSDiscoInfo, "identity").AttrValue("name"))
	require.Subset(t, featuresIn(got), []string{"muc_hidden", "muc_open", "muc_moderated", "muc_nonanonymous", "muc_passwordprotected", "muc_persistent"})
	require.NotContains(t, featuresIn(got), NSMAM)
	form := component.ParseForm(got.Payload().Child(component.NSData, "x"))
	require.Equal(t, NSRoomInfo, form.FormType)
	require.Equal(t, "result", form.Type)
	for name, want := range map[string]string{"muc#roominfo_description": "The place for witches", "muc#roominfo_subject": "Spells",
		"muc#roominfo_occupants": "3", "muc#roominfo_lang": "en", "muc#maxhistoryfetch": "7", "muc#roominfo_subjectmod": "1"} {
		require.Equal(t, want, form.Value(name), name)
	}
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	require.Contains(t, featuresIn(info(crone1)), "muc_membersonly")
	require.Equal(t, "cancel/item-not-found", condition(w.get(crone1, "coven", "<query xmlns='http://jabber.org/protocol/disco#info' node='nothing'/>")))
}

// XEP-0045 §6.4: what occupants may do is told by the fields of the configuration, since clients
// offer what these say.
func TestRoomInfoOfOptions(t *testing.T) {
	w := newWorld(t)
	w.gather()
	const subject, invites, private = "muc#roomconfig_changesubject", "muc#roomconfig_allowinvites", "muc#roomconfig_allowpm"
	is := func(want map[string]string) {
		t.Helper()
		form := component.ParseForm(w.get(hag, "coven", discoInfo).Payload().Child(component.NSData, "x"))
		for name, value := range want {
			v, _ := form.Values(name)
			require.Equal(t, []string{value}, v, name)
		}
	}
	is(map[string]string{subject: "0", invites: "1", private: "anyone"})
	w.did(w.configure(crone1, "coven", subject, "1", invites, "0", private, "moderators"), crone1)
	is(map[string]string{subject: "1", invites: "0", private: "moderators"})
	w.grant(bare(hag), "member")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1", invites, "1", private, "none"), crone1)
	is(map[string]string{invites: "1", private: "none"})
}

// XEP-0045 §6.4, §10.1.1: a locked room is told of to its creator alone.
func TestInfoOfLockedRoom(t *testing.T) {
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	require.Equal(t, "result", w.get(crone1, "coven", discoInfo).Type)
	require.Equal(t, "cancel/item-not-found", condition(w.get(hag, "coven", discoInfo)))
	require.Equal(t, "message error room cancel/item-not-found", summary(w.message(hag, witches, "groupchat", "<body>?</body>"), hag)) // §17.2
}

// XEP-0045 §6.5: occupants are listed where they are no secret, else there is an empty list.
func TestRoomItems(t *testing.T) {
	w := newWorld(t)
	w.gather()
	items := func(who string) []string { return itemJIDs(w.get(who, "coven", discoItems)) }
	require.Equal(t, []string{first1, second, third}, items(hecate))
	w.configure(crone1, "coven", "muc#roomconfig_presencebroadcast", "moderator")
	require.Equal(t, []string{first1}, items(hecate))
	require.Equal(t, []string{first1, second, third}, items(crone1))
	w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", "s")
	require.Empty(t, items(hecate))
	require.NotNil(t, w.get(hecate, "coven", discoItems).Payload())
}

// XEP-0045 §6.6: who is not there gets bad-request from an occupant's address; what an
// occupant asks goes on to the occupant, whatever the node (§16.4, muc#rooms).
func TestDiscoOfOccupant(t *testing.T) {
	w := newWorld(t)
	w.gather()
	require.Equal(t, "iq error firstwitch modify/bad-request", summary(w.iq(hecate, first1, "get", "i", discoInfo), hecate))
	require.Equal(t, "iq error firstwitch modify/bad-request", summary(w.iq(hecate, first1, "get", "i", discoItems), hecate))
	out := w.iq(hag, first1, "get", "i", "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/muc#rooms'/>")
	require.Equal(t, "iq get thirdwitch", summary(out, crone1))
	require.Equal(t, "http://jabber.org/protocol/muc#rooms", w.only(out, crone1).Payload().AttrValue("node"))
}

// XEP-0045 §7.12, §16.4: the reserved nickname of who asks.
func TestReservedNicknameNode(t *testing.T) {
	w := newWorld(t)
	w.gather()
	q := "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>"
	got := w.get(hag, "coven", q)
	require.Equal(t, "x-roomuser-item", got.Payload().AttrValue("node"))
	require.Nil(t, got.Payload().Child(component.NSDiscoInfo, "identity"))
	w.admin(crone1, "coven", "<item affiliation='member' jid='hag66@shakespeare.lit' nick='oldhag'/>")
	require.Equal(t, "oldhag", w.get(hag, "coven", q).Payload().Child(component.NSDiscoInfo, "identity").AttrValue("name"))
	traffic := "<query xmlns='http://jabber.org/protocol/disco#info' node='" + NSTraffic + "'/>"
	require.Equal(t, "cancel/service-unavailable", condition(w.get(hag, "coven", traffic))) // §18.2: all traffic is allowed
}

// XEP-0307: names of rooms that are not there, another each time.
func TestUniqueName(t *testing.T) {
	w := newWorld(t)
	names := map[string]bool{}
	for i := range 3 {
		got := w.only(w.iq(hag, domain, "get", fmt.Sprint(i), "<unique xmlns='"+NSUnique+"'/>"), hag)
		names[got.Payload().Text()] = true
	}
	require.Len(t, names, 3)
	require.NotContains(t, names, "")
}
