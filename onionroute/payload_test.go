package onionroute

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// Each payload as the host writes it and as peers do. H stands for alice@example.org
// in the one form and alice@I.onion in the other; B for bob\40X.onion@G and bob@X.onion.
func TestPayload(t *testing.T) {
	m := testMap()
	x := testX
	host := strings.NewReplacer("{H}", "alice@example.org", "{B}", `bob\40`+x+"@onion.example.org", "{R}", "room@rooms.example.org",
		"{HU}", "alice@example.org", "{BU}", "bob%5C40"+x+"@onion.example.org", "{D}", "example.org", "{G}", "onion.example.org")
	onion := strings.NewReplacer("{H}", "alice@"+testI, "{B}", "bob@"+x, "{R}", "room@rooms."+testI,
		"{HU}", "alice@"+testI, "{BU}", "bob@"+x, "{D}", `\40example.org@`+testI, "{G}", testI)
	read := func(s string) []component.Node {
		e, err := component.NewContentDecoder(strings.NewReader("<message>"+s+"</message>"), component.NSAccept, component.Limits{}).Next()
		require.NoError(t, err, s)
		return e.Nodes
	}
	write := func(n []component.Node) string {
		e := component.NewElement(component.NSClient, "message", n...)
		return strings.TrimSuffix(strings.TrimPrefix(e.String(), "<message>"), "</message>")
	}
	for _, p := range []string{
		`<error by='{D}'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:{BU}?message</gone></error>`,
		`<error><redirect xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:{HU}</redirect></error>`,
		`<x xmlns='jabber:x:data' type='form'><field type='jid-single' var='a'><value>{H}</value></field><field type='jid-multi' var='b'><value>{H}</value><value>{B}</value></field><field var='c'><value>text {H}</value></field></x>`,
		`<x xmlns='jabber:x:data' type='form'><field type='jid-single' var='a'><option><value>{R}</value></option></field></x>`,
		`<x xmlns='jabber:x:data' type='submit'><field var='hats#jid'><value>{H}</value></field><field var='muc#register_jid'><value>{B}</value></field></x>`,
		`<x xmlns='jabber:x:data' type='result'> <field var='jid'><value>{R}</value></field><reported> <field var='note'/><field var='creator' type='jid-single'/><field var='hats#jid' type='jid-single'/></reported><item> <field var='note'><value>text {H}</value></field><field var='creator'><value>{H}</value></field><field var='hats#jid'><value>{B}</value></field></item></x>`,
		`<x xmlns='jabber:x:data' type='result'><reported><field var='owner'/></reported><item><field var='owner' type='jid-single'><value>{H}</value></field></item></x>`,
		`<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='with'><value>{B}</value></field></x></query>`,
		`<query xmlns='http://jabber.org/protocol/disco#items'><item jid='{R}' name='x'/><item jid='{B}'/><item jid='{G}'/></query>`,
		`<addresses xmlns='http://jabber.org/protocol/address'><address type='to' jid='{H}'/><address uri='xmpp:{BU}'/></addresses>`,
		`<x xmlns='http://jabber.org/protocol/muc#user'><item jid='{H}/phone' affiliation='member'><actor jid='{B}' nick='n'/></item><status code='110'/></x>`,
		`<x xmlns='http://jabber.org/protocol/muc#user'><invite from='{R}/nick' to='{B}'><reason>come to {H}</reason></invite></x>`,
		`<x xmlns='http://jabber.org/protocol/muc#user'><decline from='{B}' to='{H}'/></x>`,
		`<x xmlns='http://jabber.org/protocol/muc#user'><destroy jid='{R}'/></x>`,
		`<query xmlns='http://jabber.org/protocol/muc#admin'><item jid='{B}' affiliation='owner'><actor jid='{H}'/></item></query>`,
		`<query xmlns='http://jabber.org/protocol/muc#owner'><destroy jid='{R}'/></query>`,
		`<unique xmlns='http://jabber.org/protocol/muc#unique'>6d9423a55f499b29</unique>`,
		`<x xmlns='jabber:x:conference' jid='{R}' password='p'/>`,
		`<moderated xmlns='urn:xmpp:message-moderate:1' by='{R}/nick'/>`,
		`<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='n' jid='{H}'/><items node='n'><item id='1' publisher='{B}'><entry xmlns='urn:x' jid='{H}x'/></item></items></pubsub>`,
		`<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='n'><item publisher='{H}'/></items></event>`,
		`<query xmlns='http://jabber.org/protocol/bytestreams'><streamhost jid='{H}/x' host='h'/><streamhost-used jid='{B}'/></query>`,
		`<x xmlns='http://jabber.org/protocol/rosterx'><item action='add' jid='{B}'/></x>`,
		`<vCard xmlns='vcard-temp'><JABBERID>{H}</JABBERID></vCard>`,
		`<x xmlns='jabber:x:oob'><url>xmpp:{HU}?roster</url></x>`,
		`<x xmlns='jabber:x:oob'><url>https://example.org/alice@example.org</url></x>`,
		`<delay xmlns='urn:xmpp:delay' from='{D}' stamp='2026-01-01T00:00:00Z'/>`,
		`<x xmlns='jabber:x:delay' from='{R}/nick' stamp='20260101T00:00:00'/>`,
		`<jingle xmlns='urn:xmpp:jingle:1' initiator='{H}/x' responder='{B}/y'/>`,
		`<prefs xmlns='urn:xmpp:mam:2'><always><jid>{B}</jid></always></prefs>`,
		`<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='{R}'/>`,
		`<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:{BU}' anchor='xmpp:{HU}?;node=messages'/>`,
		`<reply xmlns='urn:xmpp:reply:0' to='{R}/nick with blank' id='1'/>`,
		`<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'><keys jid='{B}'><key rid='2'>AA==</key></keys><keys jid='{H}'/></header></encrypted>`,
		`<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' to='{H}' from='{B}/x'><body>{H}x</body><delay xmlns='urn:xmpp:delay' from='{H}'/></message></forwarded>`,
		`<result xmlns='urn:xmpp:mam:2' id='1'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='x'/><message xmlns='jabber:client' from='{R}/n'/></forwarded></result>`,
		`<body>{H}x</body>`,
		`<unknown xmlns='urn:x' jid='{H}x'/>`,
	} {
		// What is marked with x after the address is text, which nobody touches.
		h := host.Replace(strings.ReplaceAll(p, "{H}x", "alice@example.org"))
		o := onion.Replace(strings.ReplaceAll(p, "{H}x", "alice@example.org"))
		if strings.Contains(p, "text {H}") || strings.Contains(p, "come to {H}") {
			o = strings.NewReplacer("text alice@"+testI, "text alice@example.org", "come to alice@"+testI, "come to alice@example.org").Replace(o)
		}
		n := read(h)
		translation(m.ToOnion).payload(n)
		assert.Equal(t, o, write(n))
		translation(m.ToHost).payload(n)
		assert.Equal(t, h, write(n))
	}
}

// When all has ended, nothing is left running.
func TestNothingLeft(t *testing.T) {
	nothingLeft(t)
	w, a, b, bob, alice := two(t)
	x := startRawServer(t, w, believe)
	for range 20 {
		x.proven(t, a)
		dialRaw(t, a, portServer).greet("", a.m.Identity)
		dialRaw(t, a, portServerTLS)
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
		require.NoError(t, b.HandleStanza(context.Background(), message("bob@b.example", alice, "hi")))
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `x\40`+onionName("none")+"@onion.a.example", "hi")))
	}
	a.receive1(t)
	b.receive1(t)
}
