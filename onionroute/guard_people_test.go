package onionroute

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// inRoom makes it one of an occupant of a room here.
func inRoom(c cross) cross { return c.with("{A}", "{ANA}") }

// abroad makes it one of a stranger, who uses an alias or is in a room.
func abroad(c cross) cross { return c.with("{A}", "{C}").with("{ALICE}", "{CAROL}") }

func (c cross) with(from, to string) cross {
	for _, s := range []*string{&c.in, &c.out, &c.off, &c.said} {
		*s = strings.ReplaceAll(*s, from, to)
	}
	return c
}

// peopleCrossings are those of people other than the users of the host.
var peopleCrossings = func() []cross {
	common := commonCaps.String()
	const (
		info, items = "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#items'/>"
		gajim       = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://gajim.org' ver='x'/>"
		phone       = "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='phone' name='Conversations'/></query>"
		card        = "<vCard xmlns='vcard-temp'><FN>Ana</FN><NICKNAME>ana</NICKNAME><TEL><NUMBER>1</NUMBER></TEL><PHOTO><BINVAL>AA==</BINVAL></PHOTO></vCard>"
		cardLeft    = "<vCard xmlns='vcard-temp'><NICKNAME>ana</NICKNAME><PHOTO><BINVAL>AA==</BINVAL></PHOTO></vCard>"
		photo       = "<x xmlns='vcard-temp:x:update'><photo>da39a3ee</photo></x>"
		item        = "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' role='participant'/></x>"
		idle        = "<idle xmlns='urn:xmpp:idle:1' since='2026-01-01T00:00:00+01:00'/>"
		read        = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:avatar:metadata'/></pubsub>"
		event       = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='http://jabber.org/protocol/tune'><item id='1'/></items></event>"
		command     = "<command xmlns='http://jabber.org/protocol/commands' node='http://jabber.org/protocol/rc#get-unreads'/>"
		about       = "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field></x>"
	)
	var all []cross
	for _, of := range []func(cross) cross{inRoom, abroad} {
		for _, c := range []cross{
			part(pres, "caps", item+gajim, item+common),
			part(result, "caps", phone, clientInfo("").String()),
			inward(cross{rule: "caps", in: inGet(info), said: result(clientInfo("").String()), off: inGet(info)}),
			inward(stopped(inGet, "caps", strings.Replace(info, "/>", " node='https://gajim.org#x'/>", 1), stanza.ItemNotFound)),
			part(result, "vcard", card, cardLeft),
			part(pres, "vcard", item+photo, item+"<x xmlns='vcard-temp:x:update'/>"),
			part(pres, "clock", item+idle, item),
			{rule: "version", in: result("<query xmlns='jabber:iq:version'><name>Gajim</name></query>"), out: failed(noService), off: result("<query xmlns='jabber:iq:version'><name>Gajim</name></query>")},
			inward(stopped(inGet, "version", "<query xmlns='jabber:iq:version'/>", stanza.ServiceUnavailable)),
			inward(stopped(inGet, "clock", "<query xmlns='jabber:iq:last'/>", stanza.ServiceUnavailable)),
			inward(stopped(inGet, "disco", items, stanza.ServiceUnavailable)),
			inward(stopped(inGet, "pep", read, stanza.ItemNotFound)),
			{rule: "pep", in: result(read), out: failed(noItem), off: result(read)},
			part(msg, "pep", "<body>x</body>"+event, "<body>x</body>"),
			inward(stopped(inSet, "misc-iq", command, stanza.ServiceUnavailable)),
		} {
			all = append(all, of(c))
		}
	}
	open := strings.Replace(read, "urn:xmpp:avatar:metadata", "http://jabber.org/protocol/mood", 1)
	return append(all,
		abroad(bare(inward(stopped(inGet, "pep", open, stanza.ItemNotFound)))),
		abroad(bare(part(result, "disco", "<query xmlns='http://jabber.org/protocol/disco#info'>"+about+"</query>", accountInfo("").String()))),
		// What a stranger's client is called. One that the peer does not know leads to the account.
		cross{rule: "resource", in: "<message to='{B}' from='{C}'><body>x</body></message>", out: "<message to='{B}' from='{C}'><body>x</body></message>",
			off: `<message to='{B}' from='carol\40jabber.org@{I}/Conversations.x1'><body>x</body></message>`},
		cross{rule: "resource", inward: true, in: "<message to='{CAROL}/other' from='{B}'><body>x</body></message>",
			out: "<message to='{CAROL}' from='{B}'><body>x</body></message>", off: "<message to='{CAROL}/other' from='{B}'><body>x</body></message>"},
		abroad(cross{rule: "resource", inward: true, in: inMsg("<body>x</body>"), out: inMsg("<body>x</body>"), off: inMsg("<body>x</body>")}),
	)
}()

// What is for the room, for its service, or for all in it passes as it is.
func TestGuardRooms(t *testing.T) {
	b := newBorder(t, Privacy{})
	const room, in = "r@rooms.example.org", "r@rooms.{I}"
	const photo = "<x xmlns='vcard-temp:x:update'><photo>da39a3ee</photo></x>"
	for _, payload := range []string{photo, "<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>"} {
		xml, err := b.out(readStanza(t, hostSide.Replace("<presence to='{B}' from='"+room+"'>"+payload+"</presence>")))
		require.NoError(t, err)
		assert.Contains(t, xml, payload)
	}
	for _, payload := range []string{"<vCard xmlns='vcard-temp'><FN>Den</FN><DESC>of ours</DESC></vCard>",
		"<query xmlns='http://jabber.org/protocol/disco#info'><identity category='conference' type='text' name='Den'/></query>"} {
		xml, err := b.out(readStanza(t, hostSide.Replace("<iq to='{B}' from='"+room+"' id='1' type='result'>"+payload+"</iq>")))
		require.NoError(t, err)
		assert.Contains(t, xml, payload)
	}
	// A room at a peer gets all of the vCard that its owner here gives it: it has been there before.
	const card = "<vCard xmlns='vcard-temp'><DESC>of theirs</DESC><PHOTO><BINVAL>AA==</BINVAL></PHOTO></vCard>"
	xml, err := b.out(readStanza(t, hostSide.Replace("<iq to='{B}' from='{A}' id='1' type='set'>"+card+"</iq>")))
	require.NoError(t, err)
	assert.Contains(t, xml, card)
	for to, payloads := range map[string][]string{
		in: {"<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#items'/>", "<vCard xmlns='vcard-temp'/>",
			"<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>", "<query xmlns='jabber:iq:register'/>",
			"<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>",
			"<command xmlns='http://jabber.org/protocol/commands' node='invite'/>"},
		"rooms.{I}": {"<query xmlns='http://jabber.org/protocol/disco#info'/>", "<command xmlns='http://jabber.org/protocol/commands' node='list'/>"},
		in + "/ana": {"<ping xmlns='urn:xmpp:ping'/>", "<vCard xmlns='vcard-temp'/>"},
	} {
		for _, payload := range payloads {
			xml, err := b.in(readStanza(t, onionSide.Replace("<iq to='"+to+"' from='{B}' id='1' type='set'>"+payload+"</iq>")))
			require.NoError(t, err, payload)
			assert.Contains(t, xml, payload)
		}
	}
	// A nickname is what it is, and leads to its room.
	for _, kind := range []string{"message", "presence"} {
		xml, err := b.in(readStanza(t, onionSide.Replace("<"+kind+" to='"+in+"/ana' from='{B}'/>")))
		require.NoError(t, err)
		assert.Contains(t, xml, "to='"+room+"/ana'")
		xml, err = b.out(readStanza(t, hostSide.Replace("<"+kind+" to='{B}' from='"+room+"/ana'><x xmlns='http://jabber.org/protocol/muc#user'/></"+kind+">")))
		require.NoError(t, err)
		assert.Contains(t, xml, onionSide.Replace("from='"+in+"/ana'"))
	}
	assert.Empty(t, b.said)
}

// Errors still come to what was worth to be kept, to what is for one client, and where the
// host does not say what they are about; so do those of rooms.
func TestGuardErrorsThatCome(t *testing.T) {
	b := newBorder(t, Privacy{})
	const typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
	for from, payload := range map[string]string{"{ALICE}": "<body>x</body>" + typing, "{CAROL}": "", "{A}": typing, "{ROOM}": typing, "{ANA}": typing} {
		xml, err := b.out(readStanza(t, hostSide.Replace("<message type='error' to='{B}' from='"+from+"'>"+payload+noService+"</message>")))
		require.NoError(t, err)
		assert.Contains(t, xml, noService, from)
	}
	assert.Zero(t, b.counts["online"].Load())
}

// Whom a room tells of has no resource of their own there either.
func TestGuardStrangersInRooms(t *testing.T) {
	b := newBorder(t, Privacy{})
	for _, real := range []string{"carol@jabber.org/Conversations.x1", "carol@friends.example/Conversations.x1", "alice@example.org/Conversations.x1"} {
		xml, err := b.out(readStanza(t, hostSide.Replace("<presence to='{B}' from='r@rooms.example.org/c'><x xmlns='http://jabber.org/protocol/muc#user'><item jid='"+real+"'/></x></presence>")))
		require.NoError(t, err)
		assert.NotContains(t, xml, "Conversations")
		assert.Contains(t, xml, "jid='"+strings.Split(real, "@")[0])
	}
	// At a domain of the host that peers do not know there is nobody who could write to them.
	_, err := b.out(readStanza(t, hostSide.Replace("<message to='{B}' from='carol@chat.example.org/x'/>")))
	assert.ErrorIs(t, err, ErrAddress)
}

// Rooms that a native host has below its own name are no different.
func TestGuardNativeRooms(t *testing.T) {
	b := newBorder(t, Privacy{})
	b.m.Native, b.m.Domains = true, []string{testI, "talk." + testI}
	room := "r@talk." + testI
	for who, is := range map[string]bool{room + "/ana": true, room: false, "talk." + testI: false, "talk." + testI + "/x": false,
		"alice@" + testI + "/x": true, "alice@" + testI: true, "carol@jabber.org": true, "bob@" + testX + "/x": false, testI: false} {
		assert.Equal(t, is, b.isPerson(jid.MustParse(who)), who)
		assert.Equal(t, who == room+"/ana", b.isOccupant(jid.MustParse(who)), who)
	}
	xml, err := b.out(readStanza(t, "<presence to='bob@"+testX+"' from='"+room+"/ana'><c xmlns='http://jabber.org/protocol/caps' node='https://gajim.org' ver='x'/></presence>"))
	require.NoError(t, err)
	assert.Contains(t, xml, "from='"+room+"/ana'")
	assert.Contains(t, xml, commonCaps.String())
	assert.NotContains(t, xml, "gajim")
	_, err = b.in(readStanza(t, "<iq to='"+room+"/ana' from='bob@"+testX+"' id='1' type='get'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"))
	require.NoError(t, err)
	require.Len(t, b.said, 1)
	assert.Contains(t, b.said[0], clientInfo("").String())
	const contact = "<field xmlns='jabber:x:data' var='muc#roominfo_contactjid'><value>admin</value></field>"
	xml, err = b.out(readStanza(t, "<iq to='bob@"+testX+"' from='"+room+"' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'>"+contact+"</query></iq>"))
	require.NoError(t, err)
	assert.NotContains(t, xml, "contactjid")
}
