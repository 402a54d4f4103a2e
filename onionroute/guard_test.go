package onionroute

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A border is a guard with both ways across it, as they are in gateway.go.
type border struct {
	*guard
	said []string // what the guard sent of its own, as XML
	log  bytes.Buffer
}

func newBorder(t testing.TB, p Privacy) *border {
	b := &border{}
	gd, err := newGuard(p, testMap(), []byte("key"), b, slog.New(slog.NewTextHandler(&b.log, nil)))
	require.NoError(t, err)
	b.guard = gd
	return b
}

func (b *border) Send(_ context.Context, s *component.Stanza) error {
	b.said = append(b.said, s.String())
	return nil
}

// out gives the onion side of a stanza of the host, as XML: nothing if it is dropped, and
// the error to its sender if there is one.
func (b *border) out(s *component.Stanza) (xml string, err error) {
	ctx := context.Background()
	to, err := b.m.ToOnion(s.To)
	if err != nil {
		return "", err
	}
	if pass, err := b.egress(ctx, s); !pass {
		return "", err
	}
	toOnion := b.toOnion(Base(to.Domainpart()))
	from, err := b.sender(Base(to.Domainpart()))(s.From)
	if err != nil {
		return "", err
	}
	s.To, s.From = to, from
	toOnion.payload(s.Nodes)
	if pass, err := b.leaving(ctx, s); !pass {
		return "", err
	}
	return s.String(), nil
}

// in is the other way.
func (b *border) in(s *component.Stanza) (xml string, err error) {
	onion := b.m.At(s.From.Domainpart())
	if s.From, err = b.m.ToHost(s.From); err != nil {
		return "", err
	}
	if s.To, err = b.m.ToHost(s.To); err != nil {
		return "", err
	}
	if pass, err := b.ingress(context.Background(), s); !pass {
		return "", err
	}
	b.toHost(onion, s.To).payload(s.Nodes)
	return s.String(), nil
}

func readStanza(t testing.TB, xml string) *component.Stanza {
	e, err := component.NewContentDecoder(strings.NewReader(xml), component.NSClient, component.Limits{}).Next()
	require.NoError(t, err, xml)
	s, err := component.ParseStanza(e)
	require.NoError(t, err, xml)
	return s
}

// In the tables I stands for our onion name and X for a peer's; A for alice's client, on
// the host side and on the onion side, ROOM for a room here and ANA for somebody in it, C for a
// stranger's client, B for bob at the peer, and RANDOM for a resource.
var (
	hostSide = strings.NewReplacer("{A}", "alice@example.org/laptop", "{ALICE}", "alice@example.org", "{ANA}", "r@rooms.example.org/ana", "{ROOM}", "r@rooms.example.org",
		"{C}", "carol@jabber.org/Conversations.x1", "{CAROL}", "carol@jabber.org", "{B}", `bob\40`+testX+"@onion.example.org", "{I}", testI, "{X}", testX)
	onionSide = strings.NewReplacer("{A}", "alice@"+testI+"/RANDOM", "{ALICE}", "alice@"+testI, "{ANA}", "r@rooms."+testI+"/ana", "{ROOM}", "r@rooms."+testI,
		"{C}", `carol\40jabber.org@`+testI+"/RANDOM", "{CAROL}", `carol\40jabber.org@`+testI, "{B}", "bob@"+testX, "{I}", testI, "{X}", testX)
	random   = regexp.MustCompile(`/[A-Z2-7]{26}\b`)
	randomID = regexp.MustCompile(` id='[A-Z2-7]{26}'`)
)

func fixed(xml string) string {
	return randomID.ReplaceAllString(random.ReplaceAllString(xml, "/RANDOM"), " id='1'")
}

// cross is one stanza at the border. What comes out with the rule, without it, and in the
// place of it: an error, or something that the guard says.
type cross struct {
	rule, in, out, off string
	err                stanza.Condition
	said               string
	inward             bool
	wrap               func(payload string) string
}

func (c cross) run(t *testing.T, p Privacy) (*border, string, error) {
	b := newBorder(t, p)
	if !c.inward {
		xml, err := b.out(readStanza(t, hostSide.Replace(c.in)))
		return b, fixed(xml), err
	}
	// The peer knows alice's client, and carol's.
	xml := onionSide.Replace(c.in)
	for _, known := range []string{"{A}", "{C}"} {
		shown, err := b.sender(testX)(jid.MustParse(hostSide.Replace(known)))
		require.NoError(t, err)
		xml = strings.ReplaceAll(xml, onionSide.Replace(known), shown.String())
	}
	xml, err := b.in(readStanza(t, xml))
	return b, xml, err
}

func allCrossings() []cross {
	return slices.Concat(crossings, peopleCrossings, transferCrossings, strictCrossings)
}

// Each rule changes what it is for; switched off it lets it pass; and it counts.
func TestGuard(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range allCrossings() {
		t.Run(c.rule, func(t *testing.T) {
			seen[c.rule] = true
			from, to := hostSide, onionSide
			if c.inward {
				from, to = onionSide, hostSide
			}
			c.in, c.out, c.off = strings.TrimSpace(c.in), to.Replace(c.out), to.Replace(c.off)
			var on, off Privacy
			for _, r := range rules {
				if r.name != c.rule {
					continue
				}
				off.Off = []string{c.rule}
				if r.optional {
					on.On, off.Off = []string{c.rule}, nil
				}
			}
			if c.rule == strictRule {
				on.Strict, off.Off = true, nil
			}
			b, got, err := c.run(t, on)
			t.Logf("\nbefore: %s\nafter:  %s", from.Replace(c.in), got)
			assert.Equal(t, c.out, got)
			var se stanza.Error
			assert.Equal(t, c.err != "", errors.As(err, &se), err)
			assert.Equal(t, c.err, se.Condition)
			if c.said == "" {
				assert.Empty(t, b.said)
			} else if assert.Len(t, b.said, 1) {
				assert.Contains(t, b.said[0], hostSide.Replace(c.said))
			}
			assert.EqualValues(t, 1, b.counts[c.rule].Load())

			b, got, err = c.run(t, off)
			assert.NoError(t, err)
			assert.Equal(t, c.off, got, "with the rule switched off")
			assert.Zero(t, b.counts[c.rule].Load())
			assert.Empty(t, b.said)
		})
	}
	for _, name := range append(PrivacyRules(), strictRule) {
		assert.True(t, seen[name], "no test of %s", name)
	}
}

// What is not for the guard to see to has a test elsewhere.
func TestGuardTable(t *testing.T) {
	var all bytes.Buffer
	for _, where := range []string{"../*/*_test.go", "../cmd/*/*_test.go"} {
		files, err := filepath.Glob(where)
		require.NoError(t, err)
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			all.Write(text)
		}
	}
	var elsewhere []string
	for _, r := range rules {
		if r.egress != nil || r.leaving != nil || r.ingress != nil {
			assert.Empty(t, r.test, r.name)
			continue
		}
		elsewhere = append(elsewhere, r.name)
		if assert.NotEmpty(t, r.test, "no test of %s", r.name) {
			assert.Contains(t, all.String(), "\nfunc "+r.test+"(t *testing.T)", r.name)
		}
	}
	assert.Equal(t, strings.Fields("stream-names redirect fingerprint tls-names dns circuits occupant-id"), elsewhere)
	for _, p := range []Privacy{{Off: []string{"resourse"}}, {Off: []string{"tls-names"}}, {On: []string{strictRule}}} {
		_, err := newGuard(p, testMap(), nil, nil, nil)
		assert.ErrorContains(t, err, "no privacy rule", p)
	}
}

// An address at an alias, which is below the host's domain, is the peer's own there.
func TestGuardAlias(t *testing.T) {
	b := newBorder(t, Privacy{})
	b.m.Aliases = map[string]string{"hidden.example.org": "rooms." + testX}
	xml, err := b.out(readStanza(t, hostSide.Replace("<message to='{B}' from='{A}'><x xmlns='jabber:x:conference' jid='talk@hidden.example.org'/></message>")))
	require.NoError(t, err)
	assert.Contains(t, xml, "jid='talk@rooms."+testX+"'")
}

// A request has another id on the way to the peer, and its answer comes back by its own.
// Only the peer that was asked can answer.
func TestGuardIDs(t *testing.T) {
	b := newBorder(t, Privacy{})
	const ask = "<iq to='{B}' from='alice@example.org' id='rr-1795313571677' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"
	xml, err := b.out(readStanza(t, hostSide.Replace(ask)))
	require.NoError(t, err)
	sent := readStanza(t, xml)
	assert.NotContains(t, sent.ID, "1795313571677")
	answer := func(from string) string {
		xml, err := b.in(readStanza(t, onionSide.Replace("<iq to='alice@{I}' from='"+from+"' id='"+sent.ID+"' type='result'/>")))
		require.NoError(t, err)
		return readStanza(t, xml).ID
	}
	assert.Equal(t, sent.ID, answer("eve@"+onionName("Y")))
	assert.Equal(t, "rr-1795313571677", answer("{B}"))
	assert.Equal(t, sent.ID, answer("{B}"), "there is one answer")
}

// A resource is another one for each peer, lives as long as the session does for that
// peer, and leads back.
func TestMasks(t *testing.T) {
	b := newBorder(t, Privacy{})
	alice := jid.MustParse("alice@example.org/laptop")
	y := onionName("Y")
	shown := b.masks.show(alice, alice, testX)
	assert.Equal(t, shown, b.masks.show(alice, alice, testX))
	assert.NotEqual(t, shown, b.masks.show(alice, alice, y), "peers cannot compare")
	other := jid.MustParse("alice@example.org/phone")
	assert.NotEqual(t, shown, b.masks.show(other, other, testX))
	got, ok := b.masks.real(shown, testX)
	assert.True(t, ok)
	assert.Equal(t, alice, got)
	_, ok = b.masks.real(shown, y)
	assert.False(t, ok, "it means nothing to others")

	room, bob := jid.MustParse(`r\40rooms.`+testX+"@onion.example.org/nick"), jid.MustParse(`bob\40`+testX+"@onion.example.org")
	ends := func() bool {
		k, _ := b.masks.lru.Peek(maskKey{alice.String(), testX})
		return !k.ends.IsZero()
	}
	b.masks.presence(alice, testX, room, "")
	b.masks.presence(alice, testX, bob, "")
	b.masks.presence(alice, testX, room, "unavailable")
	assert.False(t, ends(), "who leaves a room is still there")
	b.masks.presence(alice, testX, bob, "unavailable")
	assert.True(t, ends())
	k, _ := b.masks.lru.Peek(maskKey{alice.String(), testX})
	k.ends = k.ends.Add(-2 * maskLife)
	_, ok = b.masks.real(shown, testX)
	assert.False(t, ok, "the session is over")
	assert.NotEqual(t, shown, b.masks.show(alice, alice, testX), "the next one has another name")

	for i := range maxMasks {
		j := jid.MustParse(fmt.Sprintf("u%d@example.org/x", i))
		b.masks.show(j, j, testX)
	}
	assert.Equal(t, maxMasks, b.masks.lru.Len())
	assert.Len(t, b.masks.byShown, maxMasks)
	assert.Len(t, b.masks.byUser, maxMasks)
}

// A peer cannot have us tell others what the client of somebody is called: neither another
// user, nor a room, in which there can be people of any server.
func TestMasksForOthers(t *testing.T) {
	b := newBorder(t, Privacy{})
	shown, err := b.sender(testX)(jid.MustParse("alice@example.org/laptop"))
	require.NoError(t, err)
	for to, tells := range map[string]bool{"{ALICE}": true, shown.String(): true, "dave@{I}": false, "{ROOM}": false, `carol\40jabber.org@{I}`: false} {
		xml, err := b.in(readStanza(t, onionSide.Replace("<message to='"+to+"' from='{B}'><addresses xmlns='http://jabber.org/protocol/address'><address jid='"+shown.String()+"'/></addresses></message>")))
		require.NoError(t, err)
		assert.Contains(t, xml, "jid='alice@example.org/")
		assert.Equal(t, tells, strings.Contains(xml, "jid='alice@example.org/laptop'"), xml)
	}
}

// Links that a client can open through Tor are left, if the admin says that it can; the
// sender of a link is told once; OMEMO 2 is warned of once.
func TestGuardOnce(t *testing.T) {
	b := newBorder(t, Privacy{OnionLinks: true})
	oob := "<message to='alice@{I}' from='{B}'><body>x</body><x xmlns='jabber:x:oob'><url>%s</url></x></message>"
	for link, stays := range map[string]bool{"https://files.example/1": false, "http://" + testX + "/1": true, "http://" + testX + ".example/1": false, "http://[/": false} {
		xml, err := b.in(readStanza(t, onionSide.Replace(fmt.Sprintf(oob, link))))
		require.NoError(t, err)
		assert.Equal(t, stays, strings.Contains(xml, "oob"), xml)
	}
	const sent = "<message to='{B}' from='{A}'><body>x</body><x xmlns='jabber:x:oob'><url>https://up.example.org/1</url></x></message>"
	for range 3 {
		b.out(readStanza(t, hostSide.Replace(sent)))
	}
	assert.Len(t, b.said, 1)
	b.out(readStanza(t, hostSide.Replace(strings.Replace(sent, "{B}", `carol\40{X}@onion.example.org`, 1))))
	assert.Len(t, b.said, 2)
	for range 3 {
		b.out(readStanza(t, hostSide.Replace("<message to='{B}' from='{A}'><encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'/><payload>AA==</payload></encrypted></message>")))
	}
	assert.Equal(t, 1, strings.Count(b.log.String(), "XEP-0420"))
	assert.NotContains(t, b.log.String(), "alice")
}

// The hash of the common features is what the answer hashes to (XEP-0115 §5.1, which has
// this example).
func TestCapsVersion(t *testing.T) {
	assert.Equal(t, "QgayPKawpkPSDYmwT/WM94uAlu0=", capsOf("client/pc//Exodus 0.9.1<", "http://jabber.org/protocol/caps",
		"http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/muc"))
	var features []string
	q := clientInfo("")
	for _, n := range q.Nodes[1:] {
		features = append(features, n.Element.AttrValue("var"))
	}
	assert.True(t, slices.IsSorted(features))
	assert.Equal(t, commonCaps.AttrValue("ver"), capsOf("client/pc//<", features...))
}
