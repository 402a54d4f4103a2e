package onionroute

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

func nativeBorder(t *testing.T) *border {
	b := newBorder(t, Privacy{})
	b.m.Native, b.m.Domains = true, []string{testI, "talk." + testI}
	return b
}

// What a native host is and has it does not tell itself.
func TestGuardNativeHost(t *testing.T) {
	b := nativeBorder(t)
	ask := func(to, payload string) (string, error) {
		return b.in(readStanza(t, "<iq to='"+to+"' from='bob@"+testX+"' id='1' type='get'>"+payload+"</iq>"))
	}
	for payload, answer := range map[string]string{
		"<query xmlns='http://jabber.org/protocol/disco#info'/>": "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='server' type='im'/>" +
			"<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='urn:xmpp:ping'/></query>",
		"<query xmlns='http://jabber.org/protocol/disco#items'/>": "<query xmlns='http://jabber.org/protocol/disco#items'><item jid='talk." + testI + "'/></query>",
	} {
		b.said = nil
		_, err := ask(testI, payload)
		require.NoError(t, err)
		require.Len(t, b.said, 1)
		assert.Contains(t, b.said[0], answer)
		assert.Contains(t, b.said[0], "from='"+testI+"'")
	}
	b.said = nil
	for payload, condition := range map[string]stanza.Condition{
		"<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>":                                    stanza.ItemNotFound,
		"<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>": stanza.ItemNotFound,
		"<vCard xmlns='vcard-temp'/>":                                         stanza.ServiceUnavailable,
		"<query xmlns='urn:xmpp:mam:2'/>":                                     stanza.ServiceUnavailable,
		"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items/></pubsub>": stanza.ServiceUnavailable,
	} {
		_, err := ask(testI, payload)
		assert.ErrorIs(t, err, stanza.Error{Condition: condition}, payload)
	}
	_, err := ask("talk."+testI, "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>")
	assert.ErrorIs(t, err, stanza.Error{Condition: stanza.ItemNotFound})
	for to, payload := range map[string]string{testI: "<ping xmlns='urn:xmpp:ping'/>", "talk." + testI: "<query xmlns='http://jabber.org/protocol/disco#items'/>",
		"r@talk." + testI: "<query xmlns='http://jabber.org/protocol/disco#info'/>"} {
		xml, err := ask(to, payload)
		require.NoError(t, err)
		assert.Contains(t, xml, payload)
	}
	assert.Empty(t, b.said)
}

// Of its services and their rooms there is nothing by which the software is known.
func TestGuardNativeServices(t *testing.T) {
	b := nativeBorder(t)
	service := "talk." + testI
	for from, c := range map[string]struct{ in, out string }{
		service: {
			"<query xmlns='http://jabber.org/protocol/disco#info'><identity category='conference' type='text' name='Chatrooms'/><feature var='urn:xmpp:mucsub:0'/>" +
				"<feature var='http://jabber.org/protocol/muc'/><feature var='http://jabber.org/protocol/disco#info'/><x xmlns='jabber:x:data' type='result'>" +
				"<field var='FORM_TYPE'><value>http://jabber.org/network/serverinfo</value></field></x></query>",
			"<query xmlns='http://jabber.org/protocol/disco#info'><identity category='conference' type='text'/>" +
				"<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/muc'/></query>",
		},
		"r@" + service: {
			"<query xmlns='http://jabber.org/protocol/disco#info'><identity category='conference' type='text' name='The den'/><feature var='muc_public'/>" +
				"<feature var='urn:xmpp:mucsub:0'/><feature var='jabber:iq:version'/><feature var='http://jabber.org/protocol/muc'/><x xmlns='jabber:x:data' type='result'>" +
				"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roominfo</value></field><title>Room</title>" +
				"<field var='{http://prosody.im/protocol/muc}roomconfig_allowmemberinvites'><value>0</value></field><field var='muc#roominfo_subject' label='The subject'><value>x</value></field></x></query>",
			"<query xmlns='http://jabber.org/protocol/disco#info'><identity category='conference' type='text' name='The den'/>" +
				"<feature var='http://jabber.org/protocol/muc'/><feature var='muc_public'/><x xmlns='jabber:x:data' type='result'>" +
				"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roominfo</value></field><field var='muc#roominfo_subject'><value>x</value></field></x></query>",
		},
		service + "/x": {
			"<vCard xmlns='vcard-temp'><FN>ejabberd/mod_muc</FN><URL>https://ejabberd.im</URL></vCard>", "<vCard xmlns='vcard-temp'/>",
		},
		// An owner gives it back with another picture.
		"den@" + service: {
			"<vCard xmlns='vcard-temp'><DESC>Ours</DESC><PHOTO><BINVAL>AA==</BINVAL></PHOTO></vCard>", "<vCard xmlns='vcard-temp'><DESC>Ours</DESC><PHOTO><BINVAL>AA==</BINVAL></PHOTO></vCard>",
		},
	} {
		xml, err := b.out(readStanza(t, "<iq to='bob@"+testX+"' from='"+from+"' id='1' type='result'>"+c.in+"</iq>"))
		require.NoError(t, err)
		assert.Contains(t, xml, c.out, from)
	}
	xml, err := b.out(readStanza(t, "<presence to='bob@"+testX+"' from='r@"+service+"'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://www.process-one.net/en/ejabberd/' ver='x'/></presence>"))
	require.NoError(t, err)
	assert.NotContains(t, xml, "caps")
}
