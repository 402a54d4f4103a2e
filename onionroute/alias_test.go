package onionroute

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// aliased are a public server a with an alias for the rooms of the hidden server b.
func aliased(t *testing.T, anyone bool) (a, b *server) {
	w := newWire()
	b = startServer(t, w, "b.example")
	a = startServerWith(t, w, "a.example", func(c *Config) {
		c.Aliases = []Alias{{Domain: "hidden.a.example", Onion: "rooms." + b.m.Identity, Anyone: anyone}}
	})
	return a, b
}

// Somebody without Tor reaches a room by the alias, and gets answers that are from it.
func TestAlias(t *testing.T) {
	a, b := aliased(t, true)
	ctx := context.Background()
	carol := `carol\5c40jabber.org\40` + a.m.Identity + "@onion.b.example"
	require.NoError(t, a.HandleStanza(ctx, message("carol@jabber.org/phone", "talk@hidden.a.example/nick", "hi")))
	got := b.receive1(t)
	assert.Equal(t, "talk@rooms.b.example/nick", got.To.String())
	assert.Equal(t, carol, got.From.Bare().String())
	assert.NotContains(t, got.String(), "phone")
	shown := got.From.String()

	item := component.NewElement(nsMUCUser, "x").Add(
		component.NewElement(nsMUCUser, "item").With("affiliation", "member").With("jid", carol),
		component.NewElement(nsMUCUser, "item").With("affiliation", "owner").With("jid", "dave@b.example"))
	require.NoError(t, b.HandleStanza(ctx, message("talk@rooms.b.example/other", shown, "hello").Add(item)))
	got = a.receive1(t)
	assert.Equal(t, "talk@hidden.a.example/other", got.From.String())
	assert.Equal(t, "carol@jabber.org/phone", got.To.String())
	assert.Contains(t, got.String(), "carol@jabber.org")
	assert.Contains(t, got.String(), "owner")
	assert.NotContains(t, got.String(), ".onion")

	// The id of a request, in which a server can write whom it is for, stays here. The answer
	// has it again.
	ask := &component.Stanza{Kind: component.IQ, Type: "get", ID: "q", From: name("talk@rooms.b.example/other"), To: name(shown)}
	ask.Add(component.NewElement(nsVCard, "vCard"))
	require.NoError(t, b.HandleStanza(ctx, ask))
	got = a.receive1(t)
	assert.False(t, b.guard.ids.open.has(got.ID), "it is the one that came from the peer")
	require.NoError(t, a.HandleStanza(ctx, got.Result(component.NewElement(nsVCard, "vCard"))))
	got = b.receive1(t)
	assert.Equal(t, []string{"result", "q"}, []string{got.Type, got.ID})
	// The id of a request from here is not told to who asks with the one that it went by.
	ours := readStanza(t, "<iq type='get' id='made of the time' from='alice@a.example/x' to='talk@hidden.a.example/other'/>")
	a.guard.ids.hide(ours, b.m.Identity, "alice@a.example")
	theirs := readStanza(t, "<iq type='result' id='"+ours.ID+"' from='alice@a.example/x' to='talk@hidden.a.example/other'/>")
	require.NoError(t, a.HandleStanza(ctx, theirs))
	assert.Equal(t, ours.ID, b.receive1(t).ID)

	// A request to a server instead of a person is not relayed, nor is what is from
	// anywhere but the alias's domain.
	require.NoError(t, b.HandleStanza(ctx, message("dave@b.example", carol, "spam")))
	got = b.receive1(t)
	assert.Equal(t, stanza.ItemNotFound, got.StanzaError().Condition, got)
	ping := &component.Stanza{Kind: component.IQ, Type: "get", ID: "p", From: name("room@rooms.b.example"),
		To: name(`\5c40jabber.org\40` + a.m.Identity + "@onion.b.example")}
	ping.Add(component.NewElement(component.NSPing, "ping"))
	require.NoError(t, b.HandleStanza(ctx, ping))
	assert.Equal(t, "error", b.receive1(t).Type)
	a.silent(t)

	// The gateway is no open relay for all that.
	assert.ErrorIs(t, a.HandleStanza(ctx, message("carol@jabber.org", "dave\\40"+b.m.Identity+"@onion.a.example", "hi")),
		stanza.Error{Condition: stanza.Forbidden})
	// What the alias stands for has no second address.
	err := a.HandleStanza(ctx, message("alice@a.example", "talk\\40rooms."+b.m.Identity+"@onion.a.example", "hi"))
	assert.ErrorContains(t, err, "talk@hidden.a.example")
}

// Without access for anyone, the alias is for local users.
func TestAliasLocal(t *testing.T) {
	a, b := aliased(t, false)
	ctx := context.Background()
	assert.ErrorIs(t, a.HandleStanza(ctx, message("carol@jabber.org/phone", "talk@hidden.a.example/nick", "hi")),
		stanza.Error{Condition: stanza.Forbidden})
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", "talk@hidden.a.example/nick", "hi")))
	b.receive1(t)
	require.NoError(t, b.HandleStanza(ctx, message("talk@rooms.b.example/other", `carol\5c40jabber.org\40`+a.m.Identity+"@onion.b.example", "hello")))
	assert.Equal(t, stanza.ItemNotFound, b.receive1(t).StanzaError().Condition)
	a.silent(t)
}

// Who comes by an alias is not told that there is Tor behind it, whatever goes wrong. Our
// own users are.
func TestAliasErrors(t *testing.T) {
	a := startServerWith(t, newWire(), "a.example", func(c *Config) {
		c.Aliases = []Alias{{Domain: "hidden.a.example", Onion: "rooms." + onionName("nobody"), Anyone: true}}
	}, func(s *times) { s.maxAge, s.retryMin = 100*time.Millisecond, 30*time.Millisecond })
	ctx := context.Background()
	const talk = "talk@hidden.a.example/nick"
	texts := func(from string) (told []string) {
		note := func(s *component.Stanza) { told = append(told, s.StanzaError().Text["en"]) }
		// What is refused at once.
		call := message(from, talk, "")
		call.Nodes = []component.Node{component.NewElement("urn:xmpp:jingle-message:0", "propose").Node()}
		for _, s := range []*component.Stanza{message(from, talk, strings.Repeat("a", maxStanza)), call} {
			err := a.HandleStanza(ctx, s)
			require.Error(t, err)
			note(s.Error(err))
		}
		// What comes back later.
		require.NoError(t, a.HandleStanza(ctx, message(from, talk, "hi")))
		note(a.receive1(t))
		for _, err := range []error{errUnreachable(), errExpired(time.Now(), &SOCKSError{socksNoDescriptor}), errNoSuchServer(), errTooMuch(), errNotKept(), errPrivate()} {
			a.bounce(&item{head: *message(from, talk, "")}, err, func() {})
			back := a.receive1(t)
			assert.ErrorIs(t, err, stanza.Error{Type: back.StanzaError().Type, Condition: back.StanzaError().Condition})
			note(back)
		}
		return told
	}
	assert.NotContains(t, texts("alice@a.example/phone"), "")
	for _, from := range []string{"carol@jabber.org/phone", "room@rooms.a.example/nick"} { // a room passes it on
		assert.Equal(t, make([]string, 9), texts(from))
	}
}

// Prosody tells all in a room why somebody was thrown out, by the text of the error, and so also
// who came to a room of a native host by an alias.
func TestErrorsToNativeRooms(t *testing.T) {
	var rooms string
	a := startServerWith(t, newWire(), "a.example", func(c *Config) {
		rooms = "talk." + c.Identity.Name()
		c.Native, c.Hosts, c.Services = true, []string{c.Identity.Name(), rooms}, nil
	}, quick)
	text := func(from string) string {
		err := a.HandleStanza(context.Background(), ping(from, "bob@"+onionName("nobody")))
		back := ping(from, "bob@"+onionName("nobody")).Error(err)
		if err == nil {
			back = a.receive1(t)
		}
		return back.StanzaError().Text["en"]
	}
	assert.Contains(t, text("alice@"+a.m.Identity+"/x"), "Tor")
	assert.Empty(t, text("den@"+rooms+"/nick"))
}

// Addresses that have no form but an onion one go, with what makes no sense without
// them; what a person wrote stays as it is.
func TestVeil(t *testing.T) {
	x := "bob@" + testX
	gateway := `bob\40` + testX + "@onion.example.org"
	alias := &Alias{Domain: "hidden.example.org", Onion: "rooms." + testO}
	for in, want := range map[string]string{
		"<x xmlns='http://jabber.org/protocol/muc#user'><invite from='" + gateway + "'/></x><body>" + x + "/r invited you to talk@rooms." + testO + "</body>": "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x><body>someone invited you to talk@hidden.example.org</body>",
		"<body>ask " + x + "</body>":                             "<body>ask " + x + "</body>",
		"<subject>" + x + "</subject>":                           "<subject>" + x + "</subject>",
		"<x xmlns='jabber:x:conference' jid='" + gateway + "'/>": "",
		"<x xmlns='http://jabber.org/protocol/muc#user'><item role='none' jid='" + gateway + "'><actor jid='" + x + "' nick='n'/></item></x>":                                   "<x xmlns='http://jabber.org/protocol/muc#user'><item role='none'><actor nick='n'/></item></x>",
		"<query xmlns='http://jabber.org/protocol/disco#items'><item jid='r@hidden.example.org'/><item jid='" + x + "'/></query>":                                               "<query xmlns='http://jabber.org/protocol/disco#items'><item jid='r@hidden.example.org'/></query>",
		"<delay xmlns='urn:xmpp:delay' stamp='s' from='" + strings.ToUpper(x) + "'/>":                                                                                           "<delay xmlns='urn:xmpp:delay' stamp='s'/>",
		"<x xmlns='jabber:x:data'><field var='abuse-addresses'><value>xmpp:" + x + "</value></field></x>":                                                                       "<x xmlns='jabber:x:data'><field var='abuse-addresses'/></x>",
		"<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:" + x + "</gone><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no route</text></error>": "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'></gone></error>",
		// Peers of an ordinary name, and we ourselves, are at the gateway.
		`<x xmlns='http://jabber.org/protocol/muc#user'><item role='none' jid='bob\40friends.example@onion.example.org/x'/></x>`: "<x xmlns='http://jabber.org/protocol/muc#user'><item role='none'/></x>",
		"<delay xmlns='urn:xmpp:delay' stamp='s' from='onion.example.org/x'/>":                                                   "<delay xmlns='urn:xmpp:delay' stamp='s'/>",
		`<reference xmlns='urn:xmpp:reference:0' uri='xmpp:bob%5C40friends.example@onion.example.org'/>`:                         "",
		"<x xmlns='jabber:x:conference' jid='talk@hidden.onion.example.org'/>":                                                   "<x xmlns='jabber:x:conference' jid='talk@hidden.onion.example.org'/>",
		// Whom an admin of the room can kick, by the nickname. An affiliation is of nobody then.
		"<query xmlns='http://jabber.org/protocol/muc#admin'><item role='moderator' nick='n' jid='" + x + "/r'/><item affiliation='owner' nick='n' jid='" + x + "'/></query>": "<query xmlns='http://jabber.org/protocol/muc#admin'><item role='moderator' nick='n'/></query>",
		// A link to what the alias stands for is one by the alias.
		"<x xmlns='jabber:x:data'><field var='uri'><value>xmpp:talk@rooms." + testO + "?join;password=p</value></field><field var='other'><value>xmpp:" + x + "</value></field></x>": "<x xmlns='jabber:x:data'><field var='uri'><value>xmpp:talk@hidden.example.org?join;password=p</value></field><field var='other'/></x>",
		"<x xmlns='jabber:x:data'><field var='onion-uri' label='Link for users of onion servers'><value>xmpp:talk@rooms." + testO + "?join;password=p</value></field></x>":           "<x xmlns='jabber:x:data'><field var='link' label='Link'><value>xmpp:talk@hidden.example.org?join;password=p</value></field></x>",
		// Who submits a form does not throw out the owners of whom they see nothing.
		"<x xmlns='jabber:x:data' type='form'><field var='owners'><value>carol@jabber.org</value><value>" + x + "</value></field><field var='name'><value>n</value></field></x>": "<x xmlns='jabber:x:data' type='form'><field var='name'><value>n</value></field></x>",
		"<thing xmlns='urn:x' at='" + testX + "' keep='1'><b>" + testX + "</b></thing>":                                                                                          "<thing xmlns='urn:x' keep='1'/>",
	} {
		e, err := component.NewContentDecoder(strings.NewReader("<message>"+in+"</message>"), component.NSClient, component.Limits{}).Next()
		require.NoError(t, err, in)
		s, err := component.ParseStanza(e)
		require.NoError(t, err)
		alias.veil(s, "onion.example.org")
		want = "<message>" + want + "</message>"
		if want == "<message></message>" {
			want = "<message/>"
		}
		assert.Equal(t, want, s.String())
	}
}

// With an address that people also write, a message arrives, and comes back from there. What has an
// answer gets an error that tells the address which that would be from.
func TestOtherForm(t *testing.T) {
	a := startServerWith(t, newWire(), "a.example", func(*Config) {}, quick, func(s *times) { s.maxAge = 100 * time.Millisecond })
	x, ctx := onionName("x"), context.Background()
	bob := "bob%" + x + "@onion.a.example"
	for _, s := range []*component.Stanza{presence("alice@a.example", bob, "subscribe"), ping("alice@a.example/x", bob), joins("alice@a.example/x", bob+"/nick")} {
		err := a.HandleStanza(ctx, s)
		var e *component.Stanza
		if err == nil { // to who joins
			e = a.receive1(t)
		} else {
			e = s.Error(err)
		}
		assert.Equal(t, bob, e.From.Bare().String())
		assert.Contains(t, e.StanzaError().Text["en"], `is bob\40`+x+"@onion.a.example")
	}
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example/x", bob, "hi")))
	assert.Equal(t, bob, a.receive1(t).From.String())
	a.empties(t)
}

// Who writes to a wrong address reads what is wrong with it.
func TestWrongAddresses(t *testing.T) {
	a := startServerWith(t, newWire(), "a.example", func(*Config) {}, quick)
	x := onionName("x")
	for to, says := range map[string]string{
		"bob@onion.a.example":                                         "is it complete?",
		`bob\40example.net@onion.a.example`:                           "is it complete?",
		`bob\40` + strings.Repeat("a", 56) + `.onion@onion.a.example`: "a letter must be wrong.",
		`bob\40` + x[1:] + "@onion.a.example":                         "is it complete?",
		`bob\40` + a.m.Identity + "@onion.a.example":                  "This is an address of this server",
	} {
		err := a.HandleStanza(context.Background(), message("alice@a.example", to, "hi"))
		assert.ErrorContains(t, err, says, to)
	}
}
