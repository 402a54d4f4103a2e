package onionroute

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

// jingle is an action in a session with a content for each transport (XEP-0166).
func jingle(action string, transports ...string) string {
	head := "<jingle xmlns='urn:xmpp:jingle:1' action='" + action + "' sid='1'"
	if len(transports) == 0 {
		return head + "/>"
	}
	var contents strings.Builder
	for _, t := range transports {
		contents.WriteString("<content creator='initiator' name='" + t + "'><description xmlns='urn:xmpp:jingle:apps:file-transfer:5'/>" +
			"<transport xmlns='urn:xmpp:jingle:transports:" + t + "' sid='1'/></content>")
	}
	return head + ">" + contents.String() + "</jingle>"
}

const ibb = "ibb:1" // XEP-0261

// bothWays are a crossing of the host's, and the same of a peer's.
func bothWays(out, in func(string) string, of func(w func(string) string) cross) []cross {
	return []cross{of(out), inward(of(in))}
}

// transferCrossings are of calls, files, and links to files.
var transferCrossings = func() (all []cross) {
	const (
		body = "<body>look</body>"
		link = "https://files.example/a.png"
		info = "<query xmlns='http://jabber.org/protocol/disco#info'><x xmlns='jabber:x:data' type='result'><field var='muc#roominfo_subject'><value>a</value></field>%s</x></query>"
	)
	refusedIQ := func(payload string) {
		all = append(all, bothWays(set, inSet, func(w func(string) string) cross { return stopped(w, "calls", payload, stanza.NotAcceptable) })...)
	}
	// Older ways to call, which some clients have still.
	for _, payload := range []string{
		"<session xmlns='http://www.google.com/session' type='initiate' id='1'><transport xmlns='http://www.google.com/transport/p2p'><candidate address='192.0.2.3'/></transport></session>",
		"<jingle xmlns='urn:xmpp:jingle:0' action='session-initiate' sid='1'><content><transport xmlns='urn:xmpp:jingle:transports:raw-udp:0'/></content></jingle>",
		"<jingle xmlns='urn:xmpp:jingle:1' action='transport-info' sid='1'><content><transport xmlns='http://www.google.com/transport/p2p'/></content></jingle>",
		"<query xmlns='google:jingleinfo'><stun><server host='192.0.2.3' udp='1'/></stun></query>",
	} {
		refusedIQ(payload)
	}
	for _, transport := range []string{"ice-udp:0", "ice-udp:1", "ice:0", "raw-udp:1", "s5b:1", "dtls-sctp:1", "webrtc-datachannel:1", "ibbs:1"} {
		for _, action := range []string{"session-initiate", "session-accept", "content-add", "transport-info", "transport-replace"} {
			refusedIQ(jingle(action, transport))
		}
		refusedIQ(jingle("session-initiate", ibb, transport))
		refusedIQ(jingle("session-accept", transport, ibb))
	}
	refusedIQ(jingle("session-initiate"))
	refusedIQ(strings.Replace(jingle("session-initiate", "p2p"), "urn:xmpp:jingle:transports:p2p", "http://www.google.com/transport/p2p", 1))
	refusedIQ("<query xmlns='urn:xmpp:http:online-meetings:initiate:0' type='jitsi'/>")
	refusedIQ("<query xmlns='urn:xmpp:http:online-meetings:0' type='galene'/>")

	// Who calls is told, of what follows nobody; and what is beside it passes.
	for _, c := range []struct {
		payload string
		err     stanza.Condition
	}{
		{"<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>", stanza.NotAcceptable},
		{"<propose xmlns='urn:xmpp:jingle-message:1' id='1'/>", stanza.NotAcceptable},
		{"<retract xmlns='urn:xmpp:jingle-message:0' id='1'/>", ""},
		{"<ringing xmlns='urn:xmpp:jingle-message:0' id='1'/>", ""},
		{"<proceed xmlns='urn:xmpp:jingle-message:0' id='1'/>", ""},
		{"<reject xmlns='urn:xmpp:jingle-message:0' id='1'/>", ""},
		{"<finish xmlns='urn:xmpp:jingle-message:0' id='1'/>", ""},
		{"<invite xmlns='urn:xmpp:call-invites:0' video='true'><jingle sid='1'/></invite>", stanza.NotAcceptable},
		{"<invite xmlns='urn:xmpp:call-invites:0'><external uri='https://meet.example/1'/></invite>", stanza.NotAcceptable},
		{"<accept xmlns='urn:xmpp:call-invites:0' id='1'/>", ""},
		{"<reject xmlns='urn:xmpp:call-invites:0' id='1'/>", ""},
		{"<left xmlns='urn:xmpp:call-invites:0' id='1'/>", ""},
		{"<propose xmlns='urn:xmpp:call-message:0' id='1'/>", stanza.NotAcceptable},
		{"<accept xmlns='urn:xmpp:call-message:0' id='1'/>", ""},
		{"<x xmlns='urn:xmpp:http:online-meetings:invite:0' url='https://meet.example/1'/>", stanza.NotAcceptable},
		{"<meeting xmlns='urn:xmpp:http:online-meetings:invite:0' url='https://meet.example/1'/>", stanza.NotAcceptable},
		{"<muji xmlns='urn:xmpp:jingle:muji:0' room='1'/>", ""},
	} {
		all = append(all, bothWays(msg, inMsg, func(w func(string) string) cross { return stopped(w, "calls", c.payload, c.err) })...)
		all = append(all, bothWays(msg, inMsg, func(w func(string) string) cross { return part(w, "calls", body+c.payload, body) })...)
	}
	all = append(all, bothWays(pres, inPres, func(w func(string) string) cross {
		return part(w, "calls", "<show>dnd</show><muji xmlns='urn:xmpp:jingle:muji:0'/>", "<show>dnd</show>")
	})...)
	// An error has no answer.
	all = append(all, cross{rule: "calls", in: fault("<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>"), out: fault(noService), off: fault(noService)})

	// Links to files, and what describes them.
	for _, c := range []struct{ with, without string }{
		{"<x xmlns='jabber:x:oob'><url>" + link + "</url><desc>a</desc></x>", ""},
		{"<x xmlns='jabber:x:oob'/>", ""},
		{"<reference xmlns='urn:xmpp:reference:0' type='data' uri='" + link + "'/>", ""},
		{"<url-data xmlns='http://jabber.org/protocol/url-data' target='" + link + "'/>", ""},
		{"<file-sharing xmlns='urn:xmpp:sfs:0' id='1'><file xmlns='urn:xmpp:file:metadata:0'/></file-sharing>", ""},
		{"<sources xmlns='urn:xmpp:sfs:0' id='1'><url-data xmlns='http://jabber.org/protocol/url-data' target='" + link + "'/></sources>", ""},
		{"<media-sharing xmlns='urn:xmpp:sims:1'><sources><reference xmlns='urn:xmpp:reference:0' uri='" + link + "'/></sources></media-sharing>", ""},
		{"<reference xmlns='urn:xmpp:reference:0' type='data' uri='cid:1'><media-sharing xmlns='urn:xmpp:sims:1'><sources/></media-sharing></reference>", "<reference xmlns='urn:xmpp:reference:0' type='data' uri='cid:1'/>"},
		{"<thumbnail xmlns='urn:xmpp:thumbs:1' uri='" + link + "' width='1' height='1'/>", ""},
		{"<file xmlns='urn:x'><thumbnail xmlns='urn:xmpp:thumbs:1' uri='cid:1'/></file>", "<file xmlns='urn:x'/>"},
		{"<rdf:Description xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' rdf:about='" + link + "'><og:image xmlns:og='https://ogp.me/ns#'>" + link + "</og:image></rdf:Description>", ""},
		{"<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>a<img src='" + link + "' alt='b'/></p><img/></body></html>", "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>a</p></body></html>"},
	} {
		all = append(all, part(msg, "uploads-out", body+c.with, body+c.without).says("Your message to {B}"), inward(part(inMsg, "uploads-in", body+c.with, body+c.without)))
	}

	// What is nothing but a link comes back to its sender.
	all = append(all, stopped(msg, "uploads-out", "<x xmlns='jabber:x:oob'><url>"+link+"</url></x><store xmlns='urn:xmpp:hints'/>", stanza.NotAcceptable))

	// What a room tells of who is behind it.
	for _, field := range []string{
		"'muc#roominfo_contactjid'><value>admin", "'muc#roominfo_ldapgroup'><value>staff", "'muc#roominfo_logs'><value>http://files.example/", "'muc#roominfo_webchat_url'><value>http://files.example/",
		"'muc#roomconfig_roomadmins'><value>{B}", "'muc#roomconfig_roomowners'><value>{B}",
	} {
		all = append(all, part(roomSays, "room-info", strings.Replace(info, "%s", "<field var="+field+"</value></field>", 1), strings.Replace(info, "%s", "", 1)))
	}
	return all
}()

// Sessions by in-band bytestreams show nobody's network address, and pass; so does what is
// in the message itself.
func TestGuardTransfers(t *testing.T) {
	for _, payload := range []string{
		jingle("session-initiate", ibb), jingle("session-initiate", "ibb:0"), jingle("session-initiate", ibb, ibb),
		jingle("session-accept", ibb), jingle("content-add", ibb), jingle("transport-replace", ibb),
		jingle("session-info"), jingle("session-terminate"),
	} {
		assertPasses(t, cross{rule: "calls", in: set(payload)})
		assertPasses(t, inward(cross{rule: "calls", in: inSet(payload)}))
	}
	for _, payload := range []string{
		"<body>https://files.example/a.png</body>",
		"<reference xmlns='urn:xmpp:reference:0' type='data' uri='cid:1'/>",
		"<x xmlns='jabber:x:oob'><url>cid:1</url></x>",
		"<url-data xmlns='http://jabber.org/protocol/url-data' target='data:,a'/>",
		"<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><img src='data:image/png;base64,AA=='/></body></html>",
	} {
		assertPasses(t, cross{rule: "uploads-out", in: msg(payload)})
		assertPasses(t, inward(cross{rule: "uploads-in", in: inMsg(payload)}))
	}
}

// Who is refused reads why.
func TestGuardTransferWords(t *testing.T) {
	for s, want := range map[string]string{
		set(jingle("session-initiate", "ice-udp:1")):                           textCalls,
		msg("<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>"):             textCalls,
		set("<query xmlns='http://jabber.org/protocol/bytestreams' sid='1'/>"): textFiles,
	} {
		_, _, err := cross{in: s}.run(t, Privacy{})
		var se stanza.Error
		require.ErrorAs(t, err, &se)
		assert.Equal(t, want, se.Text["en"])
		assert.Contains(t, want, "network address")
	}
}

// assertPasses asserts that a stanza passes as it is, and that the rule found nothing in it.
func assertPasses(t *testing.T, c cross) {
	t.Helper()
	want := onionSide.Replace(c.in)
	if c.inward {
		want = hostSide.Replace(c.in)
	}
	b, got, err := c.run(t, Privacy{Strict: c.rule == strictRule})
	require.NoError(t, err, c.in)
	assert.Equal(t, want, got)
	assert.Zero(t, b.counts[c.rule].Load())
	assert.Empty(t, b.said)
}
