package onionroute

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// echo is what a stanza of bob's to a room, or to alice, with a name in it, comes back as, and how
// long it is on the way.
func (b *border) echo(stanza, guess, to string) (xml string, size int) {
	s := fuzzed(onionSide.Replace(strings.ReplaceAll(stanza, "GUESS", guess)))
	if s == nil {
		return "", 0
	}
	s.From, s.To, s.ID = name(onionSide.Replace("{B}/x")), name(onionSide.Replace(to)), "1"
	xml, err := b.in(s)
	if err != nil {
		return err.Error(), 0
	}
	size = len(xml)
	if s = fuzzed(xml); s == nil {
		return "", size
	}
	s.From, s.To = s.To, s.From
	if s.IsRequest() {
		s.Type = "result"
	}
	xml, err = b.out(s)
	if err != nil {
		return err.Error(), size
	}
	return regexp.MustCompile("(?i)"+regexp.QuoteMeta(guess)).ReplaceAllString(xml, "GUESS"), size
}

// What comes back from a room does not tell who guesses the name of the host that it is right:
// the same comes back as for any other name, and is as long on the way.
func TestGuess(t *testing.T) {
	b := newBorder(t, Privacy{})
	others := map[string]string{"example.org": "elpmaxe.gro", "eXample.ORG": "eLpmaxe.GRO", "rooms.example.org": "smoor.elpmaxe.gro",
		"example\uff0eorg": "elpmaxe\uff0egro", "exa\uff4dple.org": "elp\uff4daxe.gro", "muc.example.org": "cum.elpmaxe.gro", "onion.example.org": "noino.elpmaxe.gro", "example.net": "elpmaxe.ten"}
	for _, payload := range []string{
		"<a xmlns='urn:x' v='GUESS'/>", "<a xmlns='urn:x'>u@GUESS</a>", "<a xmlns='urn:x' v='GUESS foo.example GUESS'/>", "<a xmlns='urn:x'>x<b/>GUESS</a>",
		"<a xmlns='http://GUESS/x'/>", "<x:a xmlns:x='http://GUESS/x' x:v='1'/>", "<a xmlns='urn:x' xml:lang='GUESS'/>",
		"<x xmlns='jabber:x:conference' jid='u@GUESS'/>", "<x xmlns='jabber:x:conference' jid='GUESS'/>", `<x xmlns='jabber:x:conference' jid='u\40GUESS@{I}'/>`,
		`<x xmlns='jabber:x:conference' jid='u\40GUESS@{X}'/>`, "<x xmlns='jabber:x:conference' jid='u@GUESS/GUESS' reason='GUESS'/>",
		"<x xmlns='jabber:x:conference' jid='u@\uff27GUESS'/>", "<x xmlns='jabber:x:conference' jid='u@g\u00adGUESS'/>", "<a xmlns='urn:x' v='\u2026GUESS'/>",
		"<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:u@GUESS'/>", "<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:u%5C40GUESS@{I}?join'/>",
		"<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:u%2540GUESS'/>", "<a xmlns='urn:x' v='u%40GUESS'/>", `<a xmlns='urn:x' v='u\40GUESS'/>`,
		"<reply xmlns='urn:xmpp:reply:0' to='{ROOM}/GUESS' id='GUESS'/>", "<received xmlns='urn:xmpp:receipts' id='GUESS'/>", "<body xml:lang='GUESS'>GUESS</body>",
		"<thread parent='GUESS'>GUESS</thread>", "<x xmlns='http://jabber.org/protocol/muc#user'><item nick='GUESS' affiliation='none'/></x>",
		"<x xmlns='jabber:x:data' type='form'><field var='muc#roomconfig_roomname'><value>GUESS</value></field></x>",
		"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='u@GUESS' to='{ROOM}/GUESS'><body>x</body></message></forwarded>",
		"<addresses xmlns='http://jabber.org/protocol/address'><address type='to' jid='u@GUESS' uri='xmpp:GUESS'/></addresses>",
	} {
		for name, other := range others {
			for _, kind := range []string{"presence", "iq type='get' id='1'", "message type='groupchat'"} {
				if strings.HasPrefix(kind, "message") {
					payload += "<body>x</body>"
				}
				stanza := "<" + kind + ">" + payload + "</" + strings.Fields(kind)[0] + ">"
				got, size := b.echo(stanza, name, "{ROOM}")
				want, wanted := b.echo(stanza, other, "{ROOM}")
				assert.True(t, want != "" || kind != "message type='groupchat'", payload)
				assert.Equal(t, want, got, "%s, %s", payload, name)
				assert.Equal(t, wanted, size, "%s, %s", payload, name)
			}
		}
	}
	// Nor does what a host or a client answers by itself.
	const question = "<iq type='set' id='1'><open xmlns='http://jabber.org/protocol/ibb' sid='GUESS' block-size='4096'/></iq>"
	for name, other := range others {
		got, _ := b.echo(question, name, "{ALICE}")
		want, _ := b.echo(question, other, "{ALICE}")
		assert.Equal(t, want, got)
		assert.True(t, !isASCII(name) || strings.Contains(got, "GUESS"), got)
	}
	// What nobody writes so does not come back, whichever name it is.
	for _, odd := range []string{"e%78ample.org", `u\40\65xample.org`, "example%2eorg", "u%40example%252eorg", "b\u00fccher.example", "b%C3%BCcher.example", "foo.ex\u00adample", "f%6Fo.example"} {
		got, _ := b.echo("<message type='groupchat'><body>x</body><a xmlns='urn:x' v='GUESS'/></message>", odd, "{ROOM}")
		assert.Contains(t, got, "<body>", odd)
		assert.NotContains(t, got, "urn:x", odd)
	}
	// A stand-in that somebody guesses does not become the name.
	got, _ := b.echo("<message type='groupchat'><body>x</body><a xmlns='urn:x' v='GUESS'/></message>", b.standIns[0], "{ROOM}")
	assert.NotContains(t, got, b.hidden[0])
	require.NotEqual(t, b.hidden, b.standIns)
}

func FuzzGuess(f *testing.F) {
	for _, c := range allCrossings() {
		f.Add(strings.ReplaceAll(c.in, "example.org", "GUESS"))
	}
	f.Fuzz(func(t *testing.T, stanza string) {
		if strings.Contains(strings.ToLower(stanza), "example") {
			return
		}
		to := "{ROOM}"
		if strings.HasPrefix(stanza, "<iq") {
			to = "{ALICE}"
		}
		b := newBorder(t, Privacy{})
		got, size := b.echo(stanza, "example.org", to)
		b = newBorder(t, Privacy{})
		want, wanted := b.echo(stanza, "elpmaxe.gro", to)
		require.Equal(t, want, got)
		require.Equal(t, wanted, size)
	})
}
