package muc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// probes is one of each kind of stanza that a stranger could find out with if there is a
// room; %s is the room.
var probes = []string{
	"<iq type='get' id='1' from='stranger@x.lit/a' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
	"<iq type='get' id='2' from='stranger@x.lit/a' to='%s'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
	"<iq type='get' id='3' from='stranger@x.lit/a' to='%s'><query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/></iq>",
	"<iq type='get' id='4' from='stranger@x.lit/a' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>",
	"<iq type='get' id='5' from='stranger@x.lit/a' to='%s'><query xmlns='jabber:iq:register'/></iq>",
	"<iq type='set' id='6' from='stranger@x.lit/a' to='%s'><query xmlns='jabber:iq:register'><username>me</username></query></iq>",
	"<iq type='get' id='7' from='stranger@x.lit/a' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'/></iq>",
	"<iq type='set' id='8' from='stranger@x.lit/a' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq>",
	"<iq type='get' id='9' from='stranger@x.lit/a' to='%s'><query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='owner'/></query></iq>",
	"<iq type='set' id='10' from='stranger@x.lit/a' to='%s'><query xmlns='http://jabber.org/protocol/muc#admin'><item nick='firstwitch' role='none'/></query></iq>",
	"<iq type='set' id='11' from='stranger@x.lit/a' to='%s'><query xmlns='urn:xmpp:mam:2' queryid='q'/></iq>",
	"<iq type='get' id='12' from='stranger@x.lit/a' to='%s'><query xmlns='urn:xmpp:mam:2'/></iq>",
	"<iq type='get' id='13' from='stranger@x.lit/a' to='%s'><metadata xmlns='urn:xmpp:mam:2'/></iq>",
	"<iq type='get' id='14' from='stranger@x.lit/a' to='%s'><vCard xmlns='vcard-temp'/></iq>",
	"<iq type='set' id='15' from='stranger@x.lit/a' to='%s'><vCard xmlns='vcard-temp'/></iq>",
	"<iq type='set' id='16' from='stranger@x.lit/a' to='%s'><command xmlns='http://jabber.org/protocol/commands' node='x'/></iq>",
	"<iq type='get' id='17' from='stranger@x.lit/a' to='%s'><unknown xmlns='urn:x'/></iq>",
	"<iq type='get' id='18' from='stranger@x.lit/a' to='%s'/>",
	"<iq type='get' from='stranger@x.lit/a' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>",
	"<iq type='other' id='19' from='stranger@x.lit/a' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>",
	"<iq type='result' id='20' from='stranger@x.lit/a' to='%s'/>",
	"<iq type='error' id='still-there-ping' from='stranger@x.lit/a' to='%s'/>",
	"<iq type='get' id='21' from='stranger@x.lit/a' to='%s/firstwitch'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
	"<iq type='get' id='22' from='stranger@x.lit/a' to='%s/firstwitch'><ping xmlns='urn:xmpp:ping'/></iq>",
	"<iq type='get' id='23' from='stranger@x.lit/a' to='%s/nobody'><ping xmlns='urn:xmpp:ping'/></iq>",
	"<iq type='get' id='24' from='stranger@x.lit/a' to='%s/firstwitch'><vCard xmlns='vcard-temp'/></iq>",
	"<iq type='result' id='1.1' from='stranger@x.lit/a' to='%s/firstwitch'/>",
	"<message type='groupchat' id='30' from='stranger@x.lit/a' to='%s'><body>hello?</body></message>",
	"<message type='groupchat' id='31' from='stranger@x.lit/a' to='%s'><subject>hello?</subject></message>",
	"<message id='32' from='stranger@x.lit/a' to='%s'><body>hello?</body></message>",
	"<message type='chat' id='33' from='stranger@x.lit/a' to='%s'><body>hello?</body></message>",
	"<message type='headline' id='34' from='stranger@x.lit/a' to='%s'><body>hello?</body></message>",
	"<message type='error' id='35' from='stranger@x.lit/a' to='%s'><error type='cancel'/></message>",
	"<message type='chat' id='36' from='stranger@x.lit/a' to='%s/firstwitch'><body>hello?</body></message>",
	"<message type='groupchat' id='37' from='stranger@x.lit/a' to='%s/firstwitch'><body>hello?</body></message>",
	"<message id='38' from='stranger@x.lit/a' to='%s'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='other@x.lit'/></x></message>",
	"<message id='39' from='stranger@x.lit/a' to='%s'><x xmlns='http://jabber.org/protocol/muc#user'><decline to='crone1@shakespeare.lit'/></x></message>",
	"<message id='40' from='stranger@x.lit/a' to='%s'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field></x></message>",
	"<message id='41' from='stranger@x.lit/a' to='%s'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field></x></message>",
	"<presence id='50' from='stranger@x.lit/a' to='%s/nick'/>",
	"<presence id='51' from='stranger@x.lit/a' to='%s'/>",
	"<presence id='52' from='stranger@x.lit/a' to='%s/nick' type='unavailable'/>",
	"<presence id='53' from='stranger@x.lit/a' to='%s' type='unavailable'/>",
	"<presence id='54' from='stranger@x.lit/a' to='%s/firstwitch' type='probe'/>",
	"<presence id='55' from='stranger@x.lit/a' to='%s' type='probe'/>",
	"<presence id='56' from='stranger@x.lit/a' to='%s' type='subscribe'/>",
	"<presence id='57' from='stranger@x.lit/a' to='%s' type='unsubscribe'/>",
	"<presence id='58' from='stranger@x.lit/a' to='%s/firstwitch' type='error'/>",
	"<presence id='59' from='stranger@x.lit/a' to='%s/firstwitch' type='invisible'/>",
	"<presence id='60' from='stranger@x.lit/a' to='%s'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
}

// entries are those for who wants to enter.
var entries = []string{
	"<presence id='70' from='stranger@x.lit/a' to='%s/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
	"<presence id='71' from='stranger@x.lit/a' to='%s/firstwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
	"<presence id='72' from='stranger@x.lit/a' to='%s/nick'><x xmlns='http://jabber.org/protocol/muc'><password>guess</password></x></presence>",
	"<presence id='73' from='stranger@x.lit/a' to='%s/" + strings.Repeat("n", 500) + "'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
	"<presence id='74' from='stranger@x.lit/a' to='%s/nick'><x xmlns='http://jabber.org/protocol/muc'/><status>" + strings.Repeat("s", 20000) + "</status></presence>",
}

// answered is all that comes back, without the name of the room.
func answered(w *world, xml, room string) []string {
	var all []string
	for _, s := range w.send(strings.ReplaceAll(xml, "%s", room+"@"+domain)) {
		all = append(all, strings.ReplaceAll(s.String(), room+"@", "ROOM@"))
	}
	return all
}

// XEP-0045 §6.4, §10.1.1: to a stranger, a hidden room, a locked one, and one that does not
// exist are the same.
func TestHiddenMeansHidden(t *testing.T) {
	for kind, entering := range map[string]bool{"encrypted": true, "hidden": false} {
		w := newWorld(t, func(o *Options) {
			o.DefaultKind = kind
			o.MayCreate = func(bare jid.JID) bool { return bare.Domainpart() == "shakespeare.lit" }
		})
		w.open(crone1, "hidden", "firstwitch")
		w.enter(crone1, "locked", "firstwitch")
		stanzas := probes
		if entering {
			stanzas = append(append([]string{}, probes...), entries...)
		}
		for _, xml := range stanzas {
			nothing := answered(w, xml, "nothing")
			require.Equal(t, nothing, answered(w, xml, "hidden"), "%s: %s", kind, xml)
			require.Equal(t, nothing, answered(w, xml, "locked"), "%s: %s", kind, xml)
		}
		require.Empty(t, itemJIDs(w.only(w.iq("stranger@x.lit/a", domain, "get", "i", discoItems), "stranger@x.lit/a")))
	}
}

// Who is banned from a hidden room knows no more of it than a stranger, unless entering.
func TestHiddenFromOutcasts(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.DefaultKind = "hidden"
		o.MayCreate = func(bare jid.JID) bool { return bare.Domainpart() == "shakespeare.lit" }
	})
	w.open(crone1, "hidden", "firstwitch")
	w.admin(crone1, "hidden", "<item jid='stranger@x.lit' affiliation='outcast'/>")
	for _, xml := range append(append([]string{}, probes...), entries...) {
		require.Equal(t, answered(w, xml, "nothing"), answered(w, xml, "hidden"), xml)
	}
}

// Who may know of a hidden room is told the truth: members, who is invited, and all clients
// of who is in it.
func TestHiddenFromStrangersOnly(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.DefaultKind = "hidden" })
	w.open(crone1, "hidden", "firstwitch")
	info := func(who string) string { return w.get(who, "hidden", discoInfo).Type }
	require.Equal(t, "error", info(hecate))
	require.Equal(t, "result", info(crone1))
	require.Equal(t, "result", info("crone1@shakespeare.lit/other"))
	w.enter(hag, "hidden", "thirdwitch")
	require.Equal(t, "result", info("hag66@shakespeare.lit/other"))
	w.message(crone1, "hidden@"+domain, "", "<x xmlns='"+NSUser+"'><invite to='hecate@shakespeare.lit'/></x>")
	require.Equal(t, "result", info(hecate))
	w.admin(crone1, "hidden", "<item jid='"+crone2[:strings.Index(crone2, "/")]+"' affiliation='member'/>")
	require.Equal(t, "result", info(crone2))
}

// XEP-0045 §7.2.11: who may not make rooms cannot; and a room that was made for somebody
// who then could not enter it is gone again.
func TestRoomsThatAreNotMade(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.MayCreate = func(bare jid.JID) bool { return bare.Domainpart() == "shakespeare.lit" }
		o.Limits.RoomsPerUser = 2
		o.Limits.Name = 20
	})
	said := w.enter("stranger@x.lit/a", "new", "n")
	require.Equal(t, "presence error n cancel/not-allowed", summary(said, "stranger@x.lit/a"))
	require.Contains(t, w.only(said, "stranger@x.lit/a").StanzaError().Text["en"], "ask for an invitation")
	for i := range 3 {
		name := fmt.Sprint("room", i)
		require.Equal(t, "presence error room modify/jid-malformed", summary(w.presence(hag, name+"@"+domain, "", "<x xmlns='"+NSMUC+"'/>"), hag))
		long := strings.Repeat("n", 200)
		require.Equal(t, "presence error "+long+" modify/not-acceptable", summary(w.enter(hag, name, long), hag))
	}
	require.Empty(t, w.sv.kept())
	require.Contains(t, summary(w.enter(hag, strings.Repeat("r", 21), "n"), hag), "modify/policy-violation")
	w.open(hag, "room1", "n")
	w.open(hag, "room2", "n")
	require.Equal(t, "presence error n wait/resource-constraint", summary(w.enter(hag, "room3", "n"), hag))
	w.presence(hag, "room2@"+domain+"/n", string("unavailable"), "")
	require.Contains(t, summary(w.enter(hag, "room3", "n"), hag), "201")
	require.Len(t, w.sv.kept(), 2)
}
