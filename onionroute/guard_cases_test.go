package onionroute

import (
	"strings"

	"mellium.im/xmpp/stanza"
)

// Stanzas to bob, and from him.
func wrap(head, tail string) func(string) string {
	return func(s string) string {
		if s == "" {
			return head + "/>"
		}
		return head + ">" + s + tail
	}
}

var (
	msg    = wrap("<message to='{B}' from='{A}'", "</message>")
	pres   = wrap("<presence to='{B}' from='{A}'", "</presence>")
	fault  = wrap("<message to='{B}' from='{A}' id='1' type='error'", "</message>")
	result = wrap("<iq to='{B}' from='{A}' id='1' type='result'", "</iq>")
	failed = wrap("<iq to='{B}' from='{A}' id='1' type='error'", "</iq>")
	set    = wrap("<iq to='{B}' from='{A}' id='1' type='set'", "</iq>")
	get    = wrap("<iq to='{B}' from='{A}' id='1' type='get'", "</iq>")

	inMsg  = wrap("<message to='{A}' from='{B}'", "</message>")
	inPres = wrap("<presence to='{A}' from='{B}'", "</presence>")
	inGet  = wrap("<iq to='{A}' from='{B}' id='1' type='get'", "</iq>")
	inSet  = wrap("<iq to='{A}' from='{B}' id='1' type='set'", "</iq>")
	inAsk  = wrap("<iq to='{ALICE}' from='{B}' id='1' type='get'", "</iq>") // her account

	roomSays = wrap("<iq to='{B}' from='{ROOM}' id='1' type='result'", "</iq>")
	inAnswer = wrap("<iq to='{A}' from='{B}' id='1' type='result'", "</iq>")
)

const (
	noService = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
	noItem    = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)

// part is a stanza of which one part is changed.
func part(w func(string) string, rule, with, without string) cross {
	return cross{rule: rule, wrap: w, in: w(with), out: w(without), off: w(with)}
}

// from says how it is written here, where addresses in it are other ones.
func (c cross) from(payload string) cross { c.in = c.wrap(payload); return c }

// without says what it is when the rule is switched off.
func (c cross) without(payload string) cross { c.off = c.wrap(payload); return c }

// says gives a part of what the guard sends of its own.
func (c cross) says(text string) cross { c.said = text; return c }

// bare is about alice's account, and not her client.
func bare(c cross) cross {
	for _, s := range []*string{&c.in, &c.out, &c.off} {
		*s = strings.ReplaceAll(*s, "{A}", "{ALICE}")
	}
	return c
}

// stopped is one that goes out no further, and whose sender is told.
func stopped(w func(string) string, rule, payload string, c stanza.Condition) cross {
	return cross{rule: rule, in: w(payload), off: w(payload), err: c}
}

// inward makes it one of a peer's.
func inward(c cross) cross { c.inward = true; return c }

// crossings are what TestGuard looks at, and where FuzzGuard begins.
var crossings = func() []cross {
	stood := standIn([]byte("key"), "example.org")
	toRoom, fromRoom := wrap("<message to='{ROOM}' from='{B}'", "</message>"), wrap("<message to='{B}' from='{ANA}'", "</message>")
	common := "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://jabber.org/protocol/caps' ver='" + commonCaps.AttrValue("ver") + "'/>"
	const (
		softForm   = "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field><field var='software'><value>Gajim</value></field></x>"
		contact    = "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field><field var='abuse-addresses'><value>mailto:abuse@example.com</value></field></x>"
		ice        = "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='1'><content creator='initiator' name='voice'><description xmlns='urn:xmpp:jingle:apps:rtp:1'/><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'><candidate ip='192.0.2.3' port='5000'/></transport></content></jingle>"
		s5b        = "<jingle xmlns='urn:xmpp:jingle:1' action='transport-info' sid='1'><content creator='initiator' name='f'><transport xmlns='urn:xmpp:jingle:transports:s5b:1'/></content></jingle>"
		s5bQuery   = "<query xmlns='http://jabber.org/protocol/bytestreams' sid='1'><streamhost host='192.0.2.3' port='7777'/></query>"
		propose    = "<propose xmlns='urn:xmpp:jingle-message:0' id='1'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>"
		config     = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"
		fieldOther = "<field var='other'><value>n</value></field><field var='muc#roomconfig_roomsecret'><value>see b\u00fccher.example and example.org</value></field>"
		oob        = "<x xmlns='jabber:x:oob'><url>https://files.example/a.png</url></x>"
		event      = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='%s'><item id='1'/></items></event>"
		read       = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='%s'/></pubsub>"
		body       = "<body>look</body>"
		metadata   = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:avatar:metadata'><item id='1'><metadata xmlns='urn:xmpp:avatar:metadata'>%s</metadata></item></items></event>"
		vcard      = "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE>%s</PHOTO><URL>http://files.example/</URL></vCard>"
		vcard4     = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:vcard4'><item id='1'><vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'>%s</vcard></item></items></event>"
		media      = "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='form'><field var='ocr'><media xmlns='urn:xmpp:media-element'>%s</media></field></x></query>"
		xhtml      = "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>%s</body></html>"
		post       = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:microblog:0'><item id='1'><entry xmlns='http://www.w3.org/2005/Atom'>%s</entry></item></items></event>"
		slot       = "<slot xmlns='urn:xmpp:http:upload:0'><put url='https://files.example/a'/><get url='https://files.example/a'/></slot>"
	)
	node := func(s, n string) string { return strings.Replace(s, "%s", n, 1) }
	return []cross{
		// An address that is nowhere in the translation's table goes with its element; what
		// people write stays.
		part(msg, "nested-jids", "<body>at example.org</body><x xmlns='urn:x'><y at='alice@example.org'/><z/></x>", "<body>at example.org</body><x xmlns='urn:x'><z/></x>"),
		part(msg, "nested-jids", body+"<x xmlns='urn:x'>https://EXAMPLE.org/a</x>", body),
		part(msg, "nested-jids", body+"<x xmlns='jabber:x:conference' jid='talk\\40conference.example.org@{I}'/>", body).from(body + "<x xmlns='jabber:x:conference' jid='talk@conference.example.org'/>"),
		// So does the reason of an invitation, of which else nothing would be left, and other texts.
		part(msg, "nested-jids", "<x xmlns='jabber:x:conference' jid='talk@rooms.{I}' reason='meet at example.org'/><y xmlns='urn:y' at='example.org'/>",
			"<x xmlns='jabber:x:conference' jid='talk@rooms.{I}' reason='meet at example.org'/>").from("<x xmlns='jabber:x:conference' jid='talk@rooms.example.org' reason='meet at example.org'/><y xmlns='urn:y' at='example.org'/>"),
		part(msg, "nested-jids", "<x xmlns='jabber:x:conference' reason='meet at example.org' at='example.org'/>"+body, body),
		part(msg, "nested-jids", body+"<spoiler xmlns='urn:xmpp:spoiler:0'>of example.org</spoiler><retract xmlns='urn:xmpp:message-retract:1' id='1'><reason>of example.org</reason><y xmlns='urn:y' at='example.org'/></retract>",
			body+"<spoiler xmlns='urn:xmpp:spoiler:0'>of example.org</spoiler><retract xmlns='urn:xmpp:message-retract:1' id='1'><reason>of example.org</reason></retract>"),
		part(msg, "nested-jids", body+"<moderate xmlns='urn:xmpp:message-moderate:1'><reason>of example.org</reason><y xmlns='urn:y' at='example.org'/></moderate>", body+"<moderate xmlns='urn:xmpp:message-moderate:1'><reason>of example.org</reason></moderate>"),
		// A namespace that is declared for all of the stanza is where it is used, too.
		{rule: "nested-jids", in: "<message xmlns:p='urn:example.org' to='{B}' from='{ALICE}'><y xmlns='urn:y' p:a='1'/><body p:a='1'>x</body></message>",
			out: "<message to='{B}' from='{ALICE}'><body>x</body></message>", off: "<message xmlns:p='urn:example.org' to='{B}' from='{ALICE}'><y xmlns='urn:y' p:a='1'/><body p:a='1'>x</body></message>"},
		// What is taken out of a field does not go when the form is submitted: the field does.
		part(msg, "nested-jids", body+"<x xmlns='jabber:x:data' type='form'><field var='name'><value>Friends of example.org</value></field><field var='other'><value>n</value></field></x>",
			body+"<x xmlns='jabber:x:data' type='form'><field var='other'><value>n</value></field></x>"),
		part(set, "nested-jids", config+"<field var='name'><value>Friends of example.org</value></field>"+fieldOther+"</x></query>", config+fieldOther+"</x></query>"),
		// Encoded, it is a name all the same.
		part(msg, "nested-jids", body+"<x xmlns='urn:x'>acct:alice%40example.org</x>", body),
		part(msg, "nested-jids", body+"<x xmlns='urn:x' at='alice\\40example.org'/>", body),
		part(msg, "nested-jids", body+"<x xmlns='urn:x' at='talk\\40example.net@rooms.example'/>", body),
		part(msg, "nested-jids", body+"<x xmlns='urn:x' at='https://a.example/?u=https%253A%252F%252Fexample.org'/>", body),
		part(msg, "nested-jids", body+"<reference xmlns='urn:xmpp:reference:0' uri='xmpp:eve%5C40other.example@{I}' anchor='xmpp:talk%5C40conference.example.org@{I}?x'/>", body).from(
			body + "<reference xmlns='urn:xmpp:reference:0' uri='xmpp:eve@other.example' anchor='xmpp:talk%40conference.example.org?x'/>"),
		{rule: "nested-jids", in: "<iq to='{B}' from='example.org' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
			out: "<iq to='{B}' from='{I}/RANDOM' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
			off: "<iq to='{B}' from='\\40example.org@{I}' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"},
		stopped(get, "nested-jids", "<q xmlns='urn:x' at='example.org'/>", stanza.PolicyViolation),

		{rule: "resource", in: msg("<body>I am at alice@example.org/laptop</body><addresses xmlns='http://jabber.org/protocol/address'><address jid='{A}'/></addresses>"),
			out: msg("<body>I am at alice@example.org/laptop</body><addresses xmlns='http://jabber.org/protocol/address'><address jid='{A}'/></addresses>"),
			off: strings.ReplaceAll(msg("<body>I am at alice@example.org/laptop</body><addresses xmlns='http://jabber.org/protocol/address'><address jid='{A}'/></addresses>"), "{A}", "alice@{I}/laptop")},
		{rule: "resource", inward: true, in: inMsg("<body>x</body>"), out: inMsg("<body>x</body>"), off: inMsg("<body>x</body>")},
		{rule: "resource", inward: true, in: "<message to='alice@{I}/laptop' from='{B}'><body>x</body></message>",
			out: "<message to='alice@example.org' from='{B}'><body>x</body></message>", off: inMsg("<body>x</body>")},
		{rule: "resource", inward: true, in: "<iq to='alice@{I}/laptop' from='{B}' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
			err: stanza.ServiceUnavailable, off: inGet("<ping xmlns='urn:xmpp:ping'/>")},

		inward(stopped(inGet, "version", "<query xmlns='jabber:iq:version'/>", stanza.ServiceUnavailable)),
		{rule: "version", in: result("<query xmlns='jabber:iq:version'><name>Gajim</name></query>"), out: failed(noService), off: result("<query xmlns='jabber:iq:version'><name>Gajim</name></query>")},
		part(pres, "version", softForm, ""),

		inward(stopped(inGet, "clock", "<time xmlns='urn:xmpp:time'/>", stanza.ServiceUnavailable)),
		inward(stopped(inGet, "clock", "<query xmlns='jabber:iq:time'/>", stanza.ServiceUnavailable)),
		inward(stopped(inGet, "clock", "<query xmlns='jabber:iq:last'/>", stanza.ServiceUnavailable)),
		{rule: "clock", in: result("<time xmlns='urn:xmpp:time'><tzo>+01:00</tzo></time>"), out: failed(noService), off: result("<time xmlns='urn:xmpp:time'><tzo>+01:00</tzo></time>")},
		{rule: "clock", in: "<iq to='{B}' from='{A}' id='rr-1795313571677' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
			out: get("<ping xmlns='urn:xmpp:ping'/>"), off: "<iq to='{B}' from='{A}' id='rr-1795313571677' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"},
		part(pres, "clock", "<show>away</show><idle xmlns='urn:xmpp:idle:1' since='2026-01-01T00:00:00+01:00'/><query xmlns='jabber:iq:last' seconds='3'/>", "<show>away</show>"),

		inward(stopped(inGet, "disco", "<query xmlns='http://jabber.org/protocol/disco#items'/>", stanza.ServiceUnavailable)),
		inward(stopped(inGet, "disco", "<services xmlns='urn:xmpp:extdisco:2'/>", stanza.ServiceUnavailable)),
		bare(part(result, "disco", "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='account' type='registered' name='Prosody'/></query>", accountInfo("").String())),
		bare(part(result, "disco", "<query xmlns='http://jabber.org/protocol/disco#items'><item jid='{A}' node='http://jabber.org/protocol/tune'/><item jid='{A}' node='http://jabber.org/protocol/nick'/></query>",
			"<query xmlns='http://jabber.org/protocol/disco#items'><item jid='{A}' node='http://jabber.org/protocol/nick'/></query>")),
		{rule: "disco", in: "<iq to='{B}' from='rooms.example.org' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'>" + contact + "</query></iq>",
			out: "<iq to='{B}' from='rooms.{I}' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
			off: "<iq to='{B}' from='rooms.{I}' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'>" + contact + "</query></iq>"},

		// A request without what it asks for goes no further.
		stopped(get, "version", softForm, stanza.ServiceUnavailable),
		stopped(get, "caps", "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://gajim.org' ver='x'/>", stanza.ServiceUnavailable),
		stopped(get, "delay", "<delay xmlns='urn:xmpp:delay' stamp='noon'/>", stanza.ServiceUnavailable),

		part(pres, "caps", "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://gajim.org' ver='x'/>", common),
		part(pres, "caps", "<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>x</hash></c>", common),
		{rule: "caps", inward: true, in: inGet("<query xmlns='http://jabber.org/protocol/disco#info'/>"),
			said: result(clientInfo("").String()), off: inGet("<query xmlns='http://jabber.org/protocol/disco#info'/>")},
		{rule: "caps", inward: true, in: strings.ReplaceAll(inGet("<query xmlns='http://jabber.org/protocol/disco#info' node='http://gajim.org#x'/>"), "'1'", "'2'"),
			err: stanza.ItemNotFound, off: strings.ReplaceAll(inGet("<query xmlns='http://jabber.org/protocol/disco#info' node='http://gajim.org#x'/>"), "'1'", "'2'")},
		part(result, "caps", "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='phone' name='Conversations'/></query>", clientInfo("").String()),

		part(result, "vcard", "<vCard xmlns='vcard-temp'><NICKNAME>ana</NICKNAME><EMAIL><USERID>a@b.example</USERID></EMAIL><PHOTO><EXTVAL>https://b.example/a</EXTVAL><TYPE>image/png</TYPE><BINVAL>AA==</BINVAL></PHOTO></vCard>",
			"<vCard xmlns='vcard-temp'><NICKNAME>ana</NICKNAME><PHOTO><TYPE>image/png</TYPE><BINVAL>AA==</BINVAL></PHOTO></vCard>"),
		part(result, "vcard", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><tel><uri>tel:1</uri></tel><nickname><text>ana</text></nickname><photo><uri>https://b.example/a</uri></photo><photo><uri>data:image/png;base64,AA==</uri></photo></vcard>",
			"<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><nickname><text>ana</text></nickname><photo><uri>data:image/png;base64,AA==</uri></photo></vcard>"),
		part(pres, "vcard", "<x xmlns='vcard-temp:x:update'><photo>da39a3ee</photo></x>", "<x xmlns='vcard-temp:x:update'/>"),

		{rule: "pep", in: msg(node(event, "http://jabber.org/protocol/geoloc")), off: msg(node(event, "http://jabber.org/protocol/geoloc"))},
		{rule: "pep", in: msg(node(event, "urn:xmpp:avatar:metadata") + "<addresses xmlns='http://jabber.org/protocol/address'/>"),
			off: msg(node(event, "urn:xmpp:avatar:metadata") + "<addresses xmlns='http://jabber.org/protocol/address'/>")},
		{rule: "pep", in: result(node(read, "http://jabber.org/protocol/tune")), out: failed(noItem), off: result(node(read, "http://jabber.org/protocol/tune"))},
		bare(inward(stopped(inGet, "pep", node(read, "urn:xmpp:microblog:0"), stanza.ItemNotFound))),
		inward(stopped(inGet, "pep", node(read, "http://jabber.org/protocol/nick"), stanza.ItemNotFound)),
		inward(stopped(inGet, "pep", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscriptions/></pubsub>", stanza.ItemNotFound)),
		bare(inward(stopped(inGet, "pep", "<query xmlns='http://jabber.org/protocol/disco#info' node='http://jabber.org/protocol/mood'/>", stanza.ItemNotFound))),

		// Who publishes is who it comes from, and no host tells by it which software it is.
		part(msg, "pep", node(event, nsNick), node(event, nsNick)).from("<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='" + nsNick + "'><item id='1' publisher='alice@example.org/laptop'/></items></event>" +
			"<addresses xmlns='http://jabber.org/protocol/address'><address type='replyto' jid='alice@example.org/laptop'/></addresses>").without("<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='" + nsNick + "'><item id='1' publisher='{A}'/></items></event>" +
			"<addresses xmlns='http://jabber.org/protocol/address'><address type='replyto' jid='{A}'/></addresses>"),
		{rule: "pep", in: "<message to='{B}' from='{ALICE}' id='VMlJkQnlWLFI'>" + node(event, nsNick) + "</message>", out: "<message to='{B}' from='{ALICE}'>" + node(event, nsNick) + "</message>",
			off: "<message to='{B}' from='{ALICE}' id='VMlJkQnlWLFI'>" + node(event, nsNick) + "</message>"},

		part(msg, "omemo-label", "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:omemo:2:devices'><item id='current'><devices xmlns='urn:xmpp:omemo:2'><device id='1' label='Dino on ana&apos;s ThinkPad' labelsig='AA=='/></devices></item></items></event>",
			"<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:omemo:2:devices'><item id='current'><devices xmlns='urn:xmpp:omemo:2'><device id='1'/></devices></item></items></event>"),

		stopped(set, "calls", ice, stanza.NotAcceptable),
		stopped(set, "calls", s5b, stanza.NotAcceptable),
		inward(stopped(inSet, "calls", ice, stanza.NotAcceptable)),
		stopped(msg, "calls", propose+"<store xmlns='urn:xmpp:hints'/>", stanza.NotAcceptable),
		inward(stopped(inMsg, "calls", propose, stanza.NotAcceptable)),
		{rule: "calls", in: msg("<proceed xmlns='urn:xmpp:jingle-message:0' id='1'/>"), off: msg("<proceed xmlns='urn:xmpp:jingle-message:0' id='1'/>")},
		part(msg, "calls", "<body>join me</body><invite xmlns='urn:xmpp:call-invites:0'><external uri='https://meet.example.com/1'/></invite>", "<body>join me</body>"),

		stopped(set, "bytestreams", s5bQuery, stanza.NotAcceptable),
		inward(stopped(inSet, "bytestreams", s5bQuery, stanza.NotAcceptable)),
		stopped(set, "bytestreams", "<si xmlns='http://jabber.org/protocol/si' profile='http://jabber.org/protocol/si/profile/file-transfer'/>", stanza.NotAcceptable),
		stopped(set, "bytestreams", "<query xmlns='jabber:iq:oob'><url>http://192.0.2.3/a</url></query>", stanza.NotAcceptable),

		part(msg, "uploads-out", body+oob, body).says("Your message to {B}"),
		part(msg, "uploads-out", body+"<file-sharing xmlns='urn:xmpp:sfs:0'><sources><url-data xmlns='http://jabber.org/protocol/url-data' target='https://up.example/a'/></sources></file-sharing>", body).says("attached"),
		part(msg, "uploads-out", body+"<reference xmlns='urn:xmpp:reference:0' type='data' uri='https://up.example/a'/><reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:bob@{X}'/>",
			body+"<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:bob@{X}'/>").from(
			body + "<reference xmlns='urn:xmpp:reference:0' type='data' uri='https://up.example/a'/><reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:bob%5C40{X}@onion.example.org'/>").says("attached"),
		part(msg, "uploads-out", body+"<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>look<img src='https://up.example/a'/></p></body></html>",
			body+"<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>look</p></body></html>").says("attached"),
		part(msg, "uploads-out", body+"<rdf:Description xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' rdf:about='https://up.example/a'/>", body).says("attached"),
		inward(part(inMsg, "uploads-in", body+oob, body)),
		inward(part(inMsg, "uploads-in", body+"<x xmlns='jabber:x:oob'><url>cid:1</url><url>https://files.example/a.png</url></x>", body)),
		inward(part(inMsg, "uploads-in", body+"<url-data xmlns='http://jabber.org/protocol/url-data' target='https://files.example/a'/>", body)),
		inward(stopped(inSet, "uploads-in", oob, stanza.ServiceUnavailable)),
		// What clients load to show something: avatars, both kinds of vCard, media of forms,
		// formatted text, posts; and where they upload to.
		inward(part(inMsg, "uploads-in", node(metadata, "<info id='1' type='image/png'/><info id='1' type='image/png' url='http://files.example/a'/>"), node(metadata, "<info id='1' type='image/png'/>"))),
		inward(part(inAnswer, "uploads-in", node(vcard, "<EXTVAL>http://files.example/a</EXTVAL>"), node(vcard, ""))),
		inward(part(inMsg, "uploads-in", node(vcard4, "<photo><uri>http://files.example/a</uri></photo><sound><uri>data:,a</uri><uri>http://files.example/a</uri></sound><logo><uri> data:,a</uri></logo>"),
			node(vcard4, "<logo><uri> data:,a</uri></logo>"))),
		inward(part(inAnswer, "uploads-in", node(media, "<uri type='image/png'>http://files.example/a</uri><uri type='image/png'>cid:1</uri>"), node(media, "<uri type='image/png'>cid:1</uri>"))),
		inward(part(inMsg, "uploads-in", body+node(xhtml, "<object data='http://files.example/a'>look</object>"), body+node(xhtml, "<span>look</span>"))),
		inward(part(inMsg, "uploads-in", body+node(xhtml, "<p style='background:url(http://files.example/a)'>look</p>"), body+node(xhtml, "<p>look</p>"))),
		inward(part(inMsg, "uploads-in", body+node(xhtml, "<p style='background:u\\72l(http://files.example/a)' background='http://files.example/a'>look</p>"), body+node(xhtml, "<p>look</p>"))),
		inward(part(inMsg, "uploads-in", body+node(xhtml, "<p>look<svg xmlns='http://www.w3.org/2000/svg'><image href='http://files.example/a'/></svg></p>"), body+node(xhtml, "<p>look</p>"))),
		inward(part(inMsg, "uploads-in", body+node(xhtml, "<a href='http://files.example/a' style='color:rgb(1,2,3)'>look</a><img alt='a' src='cid:1'/><img src='http://files.example/a'/>"),
			body+node(xhtml, "<a href='http://files.example/a' style='color:rgb(1,2,3)'>look</a><img alt='a' src='cid:1'/>"))),
		inward(part(inMsg, "uploads-in", node(post, "<title type='text'>look</title><link rel='alternate' href='http://files.example/a'/><link rel='enclosure' href='http://files.example/a'/><content src='http://files.example/a'/><content type='html'>&lt;img src='http://files.example/a'/&gt;</content><logo>http://files.example/a</logo>"),
			node(post, "<title type='text'>look</title><link rel='alternate' href='http://files.example/a'/>"))),
		{rule: "uploads-in", inward: true, in: inAnswer(slot), out: strings.Replace(inAnswer(noService), "result", "error", 1), off: inAnswer(slot)},

		part(msg, "delay", body+"<delay xmlns='urn:xmpp:delay' from='{A}' stamp='2026-01-01T01:00:00.123+01:00'>Offline Storage</delay>",
			body+"<delay xmlns='urn:xmpp:delay' from='{A}' stamp='2026-01-01T00:00:00Z'/>"),
		part(pres, "delay", "<delay xmlns='urn:xmpp:delay' from='{A}' stamp='2026-01-01T00:00:00Z'/>", "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"),
		part(msg, "delay", body+"<x xmlns='jabber:x:delay' stamp='20260101T00:00:00'>Offline Storage</x>", body+"<x xmlns='jabber:x:delay' stamp='20260101T00:00:00'/>"),
		part(msg, "delay", body+"<delay xmlns='urn:xmpp:delay' stamp='noon'/>", body),
		part(msg, "delay", body+"<delay xmlns='urn:xmpp:delay' from='{I}' stamp='2026-01-01T00:00:00Z'/>", body+"<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>").from(
			body + "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T00:00:00Z'/>"),

		// A host does not tell who is on-line: by errors to what it would deliver in silence, and by
		// what it says on request when it keeps a message.
		bare(cross{rule: "online", in: fault("<composing xmlns='http://jabber.org/protocol/chatstates'/>" + noService), off: fault(noService)}),
		bare(cross{rule: "online", in: fault(body + "<no-store xmlns='urn:xmpp:hints'/>" + noService), off: fault(noService)}),
		bare(cross{rule: "online", in: fault("<x xmlns='jabber:x:event'/><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>" + noService), off: fault(noService)}),
		inward(bare(cross{rule: "online", in: "<message to='{A}' from='{B}' type='chat'/>", off: "<message to='{A}' from='{B}' type='chat'/>"})),
		inward(part(inMsg, "online", body+"<x xmlns='jabber:x:event'><composing/><offline/></x>", body+"<x xmlns='jabber:x:event'><composing/></x>")),

		// Whether a name of the host is right, by what is done with it; see TestGuess.
		// What is odd in a form goes with its field, which stays as it is then.
		inward(cross{rule: "guess", in: "<iq to='{ROOM}' from='{B}' id='1' type='set'>" + config + "<field var='desc'><value>see b\u00fccher.example</value></field>" + fieldOther + "</x></query></iq>",
			out: "<iq to='{ROOM}' from='{B}' id='1' type='set'>" + config + fieldOther + "</x></query></iq>",
			off: "<iq to='{ROOM}' from='{B}' id='1' type='set'>" + config + "<field var='desc'><value>see b\u00fccher.example</value></field>" + fieldOther + "</x></query></iq>"}),
		inward(part(toRoom, "guess", "<x xmlns='jabber:x:conference' jid='talk@example.org'/>", "<x xmlns='jabber:x:conference' jid='talk@"+stood+"'/>")),
		part(fromRoom, "guess", "<x xmlns='jabber:x:conference' jid='talk\\40"+stood+"@{I}'/>", "<x xmlns='jabber:x:conference' jid='talk\\40example.org@{I}'/>").from(
			"<x xmlns='jabber:x:conference' jid='talk@" + stood + "'/>"),

		{rule: "presence-hints", in: msg("<composing xmlns='http://jabber.org/protocol/chatstates'/>"), off: msg("<composing xmlns='http://jabber.org/protocol/chatstates'/>")},
		part(msg, "presence-hints", body+"<active xmlns='http://jabber.org/protocol/chatstates'/><markable xmlns='urn:xmpp:chat-markers:0'/>", body+"<markable xmlns='urn:xmpp:chat-markers:0'/>"),
		{rule: "presence-hints", in: msg("<received xmlns='urn:xmpp:receipts' id='1'/>"), off: msg("<received xmlns='urn:xmpp:receipts' id='1'/>")},
		{rule: "presence-hints", in: msg("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"), off: msg("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>")},

		part(fault, "error-text", "<body>hi</body><error type='wait' by='{B}'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>No such user here</text><why xmlns='urn:x'/></error>",
			strings.Replace(noItem, "cancel", "wait", 1)).from("<body>hi</body><error type='wait' by='bob\\40{X}@onion.example.org'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>No such user here</text><why xmlns='urn:x'/></error>"),
		part(fault, "error-text", "<error type='modify'><redirect xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:alice@elsewhere.example</redirect></error>", noService).without(
			"<error type='modify'><redirect xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:alice%5C40elsewhere.example@{I}</redirect></error>"),
		part(failed, "error-text", "<error type='auth'><subscription-required xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", noService),
		part(fault, "error-text", "<error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><not-connected xmlns='xmpp:prosody.im/protocol/component'/></error>", noService),

		{rule: "room-info", in: "<iq to='{B}' from='r@rooms.example.org' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'><x xmlns='jabber:x:data' type='result'><field var='muc#roominfo_contactjid'><value>admin</value></field><field var='muc#roominfo_occupants'><value>2</value></field></x></query></iq>",
			out: "<iq to='{B}' from='r@rooms.{I}' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'><x xmlns='jabber:x:data' type='result'><field var='muc#roominfo_occupants'><value>2</value></field></x></query></iq>",
			off: "<iq to='{B}' from='r@rooms.{I}' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'><x xmlns='jabber:x:data' type='result'><field var='muc#roominfo_contactjid'><value>admin</value></field><field var='muc#roominfo_occupants'><value>2</value></field></x></query></iq>"},

		inward(stopped(inSet, "misc-iq", "<command xmlns='http://jabber.org/protocol/commands' node='http://jabber.org/protocol/rc#set-status'/>", stanza.ServiceUnavailable)),
		inward(stopped(inGet, "misc-iq", "<confirm xmlns='http://jabber.org/protocol/http-auth' id='1' method='GET' url='https://x.example/'/>", stanza.ServiceUnavailable)),
		inward(stopped(inSet, "misc-iq", "<enable xmlns='urn:xmpp:push:0' jid='push@x.example'/>", stanza.ServiceUnavailable)),
		inward(stopped(inGet, "misc-iq", "<query xmlns='jabber:iq:register'/>", stanza.ServiceUnavailable)),
		inward(stopped(inGet, "misc-iq", "<query xmlns='jabber:iq:private'/>", stanza.ServiceUnavailable)),

		part(msg, strictRule, body+"<thread>1</thread><reply xmlns='urn:xmpp:reply:0' id='1'/><x xmlns='urn:x'/>", body+"<thread>1</thread><reply xmlns='urn:xmpp:reply:0' id='1'/>"),
		part(pres, strictRule, "<status>here</status><x xmlns='http://jabber.org/protocol/muc'/>", "<x xmlns='http://jabber.org/protocol/muc'/>"),
		inward(part(inMsg, strictRule, body+"<x xmlns='urn:x'/>", body)),
		stopped(get, strictRule, "<vCard xmlns='vcard-temp'/>", stanza.ServiceUnavailable),
		inward(stopped(inGet, strictRule, "<vCard xmlns='vcard-temp'/>", stanza.ServiceUnavailable)),
		{rule: strictRule, in: result("<vCard xmlns='vcard-temp'><NICKNAME>a</NICKNAME></vCard>"), out: failed(noService), off: result("<vCard xmlns='vcard-temp'><NICKNAME>a</NICKNAME></vCard>")},
		stopped(get, strictRule, node(read, "http://jabber.org/protocol/nick"), stanza.ServiceUnavailable),
	}
}()
