package main

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Somebody at a server that has no guard of its own asks for all that can be asked for,
// at all addresses, as a contact of the user and in a room with them; and a stranger talks
// to the onion service itself. Nothing of it tells of the host, the machine, or the client.
func TestLeaks(t *testing.T) {
	t.Run("prosody", func(t *testing.T) { leaks(t, hall(t, "delta", "prosody"), modOnionsNode(t, "onions")) })
	t.Run("ejabberd", func(t *testing.T) { leaks(t, hall(t, "gamma", "ejabberd"), modOnionsNode(t, "onions")) })
}

// The same of hosts that live in Tor, and of their own rooms.
func TestNativeLeaks(t *testing.T) {
	t.Run("prosody", func(t *testing.T) { leaks(t, nativeProsody(t, "native"), modOnionsNode(t, "spy")) })
	t.Run("ejabberd", func(t *testing.T) { leaks(t, nativeEjabberd(t, "nativeother"), modOnionsNode(t, "spy")) })
}

func leaks(t *testing.T, victim, spy *node) {
	acquaint(t, spy, victim)
	visits(t, spy, "den@rooms."+victim.onion, victim, "den@"+victim.rooms())
	expose(t, victim, spy)
	learned := investigate(t, victim, spy)
	t.Logf("%d stanzas", len(learned))
	for _, s := range learned {
		tells(t, victim, s.String())
	}
	for _, port := range []int{5269, 5270} {
		for _, heard := range probe(t, victim, port) {
			tells(t, victim, heard)
		}
	}
	for _, s := range victim.client.Received() {
		bySpy := slices.Contains([]string{"onion." + victim.domain, spy.onion}, s.From.Domainpart()) || s.From.String() == "den@"+victim.rooms()+"/"+spy.user
		ours := s.From.Localpart() == "" && s.Child(component.NSPing, "ping") != nil // a native host's gateway asks its users if they are there
		assert.False(t, bySpy && s.IsRequest() && !ours, "it reached the client: %s", s)
	}
	if victim.web == "" {
		return
	}
	for page, has := range map[string]string{"/metrics": `allium_privacy_rule_total{rule="resource"}`, "/readyz": "ok"} {
		r, err := http.Get("http://" + victim.web + page)
		require.NoError(t, err)
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, r.StatusCode)
		assert.Contains(t, string(text), has)
		assert.NotContains(t, string(text), has+" 0")
	}
}

// tells asserts that the text has nothing in it that peers must not know.
func tells(t *testing.T, n *node, text string) {
	t.Helper()
	machine, err := os.Hostname()
	require.NoError(t, err)
	if n.domain != n.onion { // a native host has no other
		assert.NotRegexp(t, `(?i)\b`+regexp.QuoteMeta(n.domain)+`\b`, text)
	}
	for _, secret := range []string{
		`\b` + regexp.QuoteMeta(machine) + `\b`, regexp.QuoteMeta(n.client.JID().Resourcepart()), regexp.QuoteMeta(n.dir),
		`prosody|ejabberd|process-?one|allium|slixmpp|mellium|gajim|\bgo1\.\d`, // software
		`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`, `\[[0-9a-f]*:[0-9a-f:]*\]`, `\b::1\b`,
		`\btzo\b|<utc>|seconds=|\b1[6-9]\d{11}\b|[+-]\d\d:\d\d\b|<tz>`, // clock
		`thinkpad|in the park|\+1 555|secret street|some song`,         // what the user told the host
	} {
		assert.NotRegexp(t, "(?i)"+secret, text)
	}
}

// expose makes the victim's client do what leaks.
func expose(t *testing.T, victim, spy *node) {
	ctx := deadline(t, time.Minute)
	set(t, victim, "<vCard xmlns='vcard-temp'><NICKNAME>ana</NICKNAME><EMAIL><USERID>ana@"+victim.domain+"</USERID></EMAIL><TEL><NUMBER>+1 555</NUMBER></TEL>"+
		"<ADR><STREET>Secret Street</STREET></ADR><PHOTO><TYPE>image/png</TYPE><BINVAL>AAAA</BINVAL></PHOTO></vCard>")
	publish(t, victim)
	victim.showsAddresses(t, ctx, "den@"+victim.rooms())
	seat := "den@rooms." + victim.onion + "/" + spy.user
	spy.send(t, presenceTo(seat, component.NewElement("http://jabber.org/protocol/muc", "x")))
	spy.inRoom(t, ctx, "own presence", seat, is(component.Presence, ""))
	const telling = "<show>dnd</show><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://gajim.org' ver='x'/>" +
		"<idle xmlns='urn:xmpp:idle:1' since='2026-01-01T00:00:00+02:00'/><x xmlns='vcard-temp:x:update'><photo>aa</photo></x></presence>"
	den := "den@" + victim.rooms() + "/"
	require.NoError(t, victim.client.SendXML("<presence>"+telling+"<presence to='"+den+victim.user+"'>"+telling))
	for to, typ := range map[string]string{"den@" + victim.rooms(): "groupchat", den + spy.user: "chat"} {
		require.NoError(t, victim.client.SendXML("<message to='"+to+"' type='"+typ+"'><body>"+typ+"</body><x xmlns='jabber:x:oob'><url>https://upload."+victim.domain+"/a</url></x>"+
			"<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='http://jabber.org/protocol/tune'><item><tune xmlns='http://jabber.org/protocol/tune'><title>Some Song</title></tune></item></items></event></message>"))
	}
	for _, payload := range []string{
		"<body>look</body><x xmlns='jabber:x:oob'><url>https://upload." + victim.domain + "/a</url></x>",
		"<body>late</body><delay xmlns='urn:xmpp:delay' from='" + victim.domain + "' stamp='2026-01-01T00:00:00+02:00'>Offline Storage</delay>",
		"<body>in</body><x xmlns='jabber:x:conference' jid='talk@conference." + victim.domain + "'/>",
	} {
		require.NoError(t, victim.client.SendXML("<message to='"+victim.contacts(spy)+"' type='chat'>"+payload+"</message>"))
	}
	_, err := victim.client.Expect(ctx, "word that the link was removed", func(s *component.Stanza) bool {
		return s.From.String() == "onion."+victim.domain && strings.Contains(s.Body(), "link")
	})
	require.NoError(t, err)
	// A call is refused before it tells anything.
	require.NoError(t, victim.client.SendXML("<iq type='set' id='call' to='"+victim.contacts(spy)+"/x'>"+offer+"</iq>"))
	got, err := victim.client.Expect(ctx, "refused call", func(s *component.Stanza) bool { return s.ID == "call" })
	require.NoError(t, err)
	assert.Equal(t, stanza.NotAcceptable, got.StanzaError().Condition)
	assert.NotEmpty(t, got.StanzaError().Text["en"])
}

// set makes a change to the user's account.
func set(t testing.TB, n *node, payload string) {
	id := rand.Text()
	require.NoError(t, n.client.SendXML("<iq type='set' id='"+id+"'>"+payload+"</iq>"))
	_, err := n.client.Expect(deadline(t, time.Minute), payload, func(s *component.Stanza) bool { return s.ID == id && s.Type == "result" })
	require.NoError(t, err)
}

// publish makes the user publish what is for contacts, and what is not.
func publish(t *testing.T, n *node) {
	for node, item := range map[string]string{
		"http://jabber.org/protocol/tune":           "<tune xmlns='http://jabber.org/protocol/tune'><title>Some Song</title></tune>",
		"http://jabber.org/protocol/geoloc":         "<geoloc xmlns='http://jabber.org/protocol/geoloc'><text>in the park</text></geoloc>",
		"urn:xmpp:omemo:2:devices":                  "<devices xmlns='urn:xmpp:omemo:2'><device id='1' label='ThinkPad' labelsig='AA=='/></devices>",
		"eu.siacs.conversations.axolotl.devicelist": "<list xmlns='eu.siacs.conversations.axolotl'><device id='1'/></list>",
		"http://jabber.org/protocol/nick":           "<nick xmlns='http://jabber.org/protocol/nick'>ana</nick>",
		"urn:xmpp:avatar:data":                      "<data xmlns='urn:xmpp:avatar:data'>AAAA</data>",
		"urn:xmpp:avatar:metadata":                  "<metadata xmlns='urn:xmpp:avatar:metadata'><info id='current' bytes='3' type='image/png'/><info id='other' bytes='3' type='image/png' url='https://" + n.domain + "/a'/></metadata>",
	} {
		set(t, n, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='"+node+"'><item id='current'>"+item+"</item></publish></pubsub>")
	}
}

const offer = "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='1'><content creator='initiator' name='a'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>" +
	"<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'/></content></jingle>"

// investigate gives all that the spy hears from the victim's server.
func investigate(t *testing.T, victim, spy *node) (learned []*component.Stanza) {
	ctx := deadline(t, 2*time.Minute)
	seen := spy.expect(t, ctx, "presence", victim, func(s *component.Stanza) bool { return s.Child(component.NSClient, "show").Text() == "dnd" })
	learned = append(learned, subscribe(t, victim, spy)...)
	caps := seen.Child("http://jabber.org/protocol/caps", "c")
	require.NotNil(t, caps, seen)
	learned = append(learned, seen)
	full := seen.From.String()

	node := func(s, n string) string { return strings.Replace(s, "/>", " node='"+n+"'/>", 1) }
	const info, items, get = "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#items'/>",
		"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items/></pubsub>"
	gets := []string{info, items, node(info, caps.AttrValue("node")+"#"+caps.AttrValue("ver")), node(items, "http://jabber.org/protocol/commands"),
		node(info, "http://jabber.org/protocol/tune"), "<vCard xmlns='vcard-temp'/>", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>", "<time xmlns='urn:xmpp:time'/>",
		"<services xmlns='urn:xmpp:extdisco:2'/>", "<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='urn:xmpp:mam:2'/>", "<query xmlns='urn:x'/>",
		"<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscriptions/></pubsub>", "<prefs xmlns='urn:xmpp:mam:2'/>", "<query xmlns='http://jabber.org/protocol/bytestreams'/>"}
	for _, q := range []string{"version", "time", "last", "register", "private", "roster", "search", "gateway", "agents", "privacy"} {
		gets = append(gets, "<query xmlns='jabber:iq:"+q+"'/>")
	}
	for _, n := range []string{"http://jabber.org/protocol/tune", "http://jabber.org/protocol/geoloc", "http://jabber.org/protocol/nick", "urn:xmpp:avatar:metadata",
		"urn:xmpp:avatar:data", "urn:xmpp:microblog:0", "urn:xmpp:omemo:2:devices", "eu.siacs.conversations.axolotl.devicelist", "urn:xmpp:vcard4", "storage:bookmarks"} {
		gets = append(gets, node(get, n))
	}
	sets := []string{offer, "<query xmlns='http://jabber.org/protocol/bytestreams' sid='1'><streamhost jid='x@y.example' host='192.0.2.1' port='1'/></query>",
		"<si xmlns='http://jabber.org/protocol/si'/>", "<command xmlns='http://jabber.org/protocol/commands' node='list' action='execute'/>",
		"<enable xmlns='urn:xmpp:push:0' jid='x.example'/>", "<open xmlns='http://jabber.org/protocol/ibb' block-size='4096' sid='1'/>",
		"<query xmlns='jabber:iq:register'><username>x</username></query>"}
	bare, nobody := seen.From.Bare().String(), "nobody@"+victim.onion
	rooms, den := "rooms."+victim.onion, "den@rooms."+victim.onion
	occupant := den + "/" + victim.user
	// What reaches the client, it would have to answer; see TestLeaks.
	reaches := func(to, q string) bool {
		if to == occupant && strings.Contains(q, "vcard-temp") { // that is for its server
			return false
		}
		return (to == full || to == occupant) && regexp.MustCompile(`urn:x'|ping|mam:2|vcard|ibb|iq:(roster|search|gateway|agents|privacy)`).MatchString(q)
	}
	asked := map[string]string{}
	// hear waits for the answers. Who asks too much at once does not get them all.
	hear := func() {
		for ; len(asked) > 0; time.Sleep(20 * time.Millisecond) {
			require.NoError(t, ctx.Err(), "no answer: %v", asked)
			for _, s := range spy.client.Received() {
				if strings.HasSuffix(s.From.Domainpart(), victim.onion) {
					learned = append(learned, s)
					delete(asked, s.ID)
				}
			}
		}
	}
	ask := func(kind, typ, to, payload string) {
		id := rand.Text()
		asked[id] = to + ": " + payload
		require.NoError(t, spy.client.SendXML(fmt.Sprintf("<%s type='%s' id='%s' to='%s'>%s</%s>", kind, typ, id, to, payload, kind)))
	}
	for _, to := range []string{bare, full, bare + "/nowhere", nobody, nobody + "/x", victim.onion, victim.onion + "/x", `\40` + victim.domain + "@" + victim.onion,
		rooms, rooms + "/x", den, occupant, den + "/nobody"} {
		for typ, all := range map[string][]string{"get": gets, "set": sets} {
			for _, q := range all {
				if !reaches(to, q) {
					ask("iq", typ, to, q)
				}
			}
		}
		hear()
	}
	walked := map[string]bool{}
	for found := discoItems(learned, victim, walked); len(found) > 0 && len(walked) < 100; found = discoItems(learned, victim, walked) {
		for _, q := range found {
			asked[q.ID] = q.String()
			spy.send(t, q)
		}
		hear()
	}
	for _, to := range []string{den, occupant} { // a room of a native host can be hidden
		assert.True(t, walked[to+" "] || victim.domain == victim.onion, "%s is found", to)
	}
	ask("message", "groupchat", bare+"/nowhere", "<body>x</body>")
	ask("message", "chat", bare, "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>")
	require.NoError(t, spy.client.SendXML("<message type='chat' to='"+nobody+"'><body>x</body></message><presence type='subscribe' to='"+nobody+"'/><presence type='probe' to='"+bare+"'/><presence to='"+full+"'/>"))
	ask("iq", "get", bare, "<ping xmlns='urn:xmpp:ping'/>") // behind these
	hear()
	// What is for contacts still comes.
	hasFrom := func(from, what string) {
		for _, s := range learned {
			if strings.HasPrefix(s.From.String(), from) && strings.Contains(s.String(), what) {
				return
			}
		}
		t.Errorf("nothing from %s had %s", from, what)
	}
	has := func(what string) { hasFrom("", what) }
	has(">ana</nick>")
	has("<NICKNAME>ana</NICKNAME>")
	has("<BINVAL>AAAA</BINVAL>")
	has("<device id='1'/>")
	has("<body>look</body>")
	has("<body>in</body>")
	has("ver='" + caps.AttrValue("ver") + "'")
	// And so does what is for all in the room, of the room as of those in it.
	for _, what := range []string{"<body>groupchat</body>", "<body>chat</body>", "<NICKNAME>ana</NICKNAME>", "<BINVAL>AAAA</BINVAL>", "jid='" + bare + "/",
		caps.String(), "node='" + caps.AttrValue("node") + "#" + caps.AttrValue("ver") + "'", "<show>dnd</show>"} {
		hasFrom(occupant, what)
	}
	hasFrom(den, "category='conference'")
	hasFrom(rooms, "category='conference'")
	return learned
}

// subscribe makes the spy's client interested in all that the victim publishes, and gives
// what comes of it: the questions of the victim's server, and events.
func subscribe(t *testing.T, victim, spy *node) (heard []*component.Stanza) {
	ctx := deadline(t, time.Minute)
	var features []string
	for _, n := range []string{"http://jabber.org/protocol/tune", "http://jabber.org/protocol/geoloc", "http://jabber.org/protocol/nick",
		"urn:xmpp:avatar:metadata", "urn:xmpp:omemo:2:devices"} {
		features = append(features, n+"+notify")
	}
	features = append(features, component.NSDiscoInfo, "http://jabber.org/protocol/caps", "kind:"+victim.domain)
	slices.Sort(features)
	hash := sha1.Sum([]byte("client/pc//<" + strings.Join(features, "<") + "<"))
	require.NoError(t, spy.client.SendXML("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:spy' ver='"+
		base64.StdEncoding.EncodeToString(hash[:])+"'/></presence>"))
	info := component.NewElement(component.NSDiscoInfo, "query").Add(component.NewElement(component.NSDiscoInfo, "identity").With("category", "client").With("type", "pc"))
	for _, f := range features {
		info.Add(component.NewElement(component.NSDiscoInfo, "feature").With("var", f))
	}
	want := []string{"<items node='http://jabber.org/protocol/nick'", "<items node='urn:xmpp:omemo:2:devices'"}
	for ; len(want) > 0; time.Sleep(100 * time.Millisecond) {
		require.NoError(t, ctx.Err(), "no event: %v; heard %v", want, heard)
		publish(t, victim)
		for _, s := range spy.client.Received() {
			if !strings.HasSuffix(s.From.Domainpart(), victim.onion) {
				continue
			}
			heard = append(heard, s)
			want = slices.DeleteFunc(want, func(w string) bool { return strings.Contains(s.String(), w) })
			if s.IsRequest() && s.Payload().Name.Space == component.NSDiscoInfo {
				answer := *info
				answer.SetAttr("node", s.Payload().AttrValue("node"))
				spy.send(t, s.Result(&answer))
			}
		}
	}
	return heard
}
