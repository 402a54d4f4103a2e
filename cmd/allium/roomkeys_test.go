package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/omemo"
)

// Members of a room at the host, at a third, ordinary server and at two onion peers get each
// other's keys by the addresses that they see there, and read what each of them encrypts, as
// does a device that comes later. What was fetched is there also when its owner's server is
// away, or when whom to ask says so. Who is no member gets no keys.
func TestKeysInRooms(t *testing.T) {
	x, y := privateHall(t, "keys-a", "prosody"), alliumNode(t, "keys-b", "prosody")
	third, host := neighbours(t, "rooms", "[muc]")
	owner := host.guest(host.account(), "dora", "den", host)
	c := gather(t, confide(t, x, y, third, host), owner, x.guest(x.second(), "alice", "den", host), y.guest(y.second(), "bob", "den", host),
		guest{host: third.host, account: third.account(), pass: third.pass, nick: "carol", room: owner.room})
	dora, alice, bob, carol := c.members[0], c.members[1], c.members[2], c.members[3]
	c.know(t)
	c.confer(t, "a plan")
	c.joins(t, alice)
	c.know(t)
	c.confer(t, "a better plan")
	c.kept(t)

	aliceSeen, carolSeen := carol.seen(t, "alice"), alice.seen(t, "carol")
	bobSeen := map[*talker]string{dora: dora.seen(t, "bob"), alice: alice.seen(t, "bob"), carol: carol.seen(t, "bob")}
	for p, at := range map[*talker]string{carol: aliceSeen, alice: carolSeen} {
		assert.NotEmpty(t, p.try(t, "ask", "jid", at, "node", "http://jabber.org/protocol/nick").Error, "keys, and nothing else")
	}
	dora.do(t, "affiliation", "jid", carol.account, "affiliation", "none")
	carol.refused(t, "forbidden", "ask", "jid", aliceSeen, "node", omemo.NodeLegacyDevices)
	alice.refused(t, "item-not-found", "ask", "jid", carolSeen, "node", omemo.NodeLegacyDevices)
	dora.do(t, "affiliation", "jid", carol.account, "affiliation", "member")

	ofBob, ofCarol := bob.reads(t, bob.account).rationed(), carol.reads(t, carol.account).rationed()
	require.NoError(t, y.host.Stop())
	y.stopAllium()
	defer func() { // as others expect it
		require.NoError(t, y.host.Start(deadline(t, time.Minute)))
		y.startAllium(t)
		y.login(t)
	}()
	for p, k := range together[keysOf](t, []*talker{dora, alice, carol}, "keys", func(p *talker) []any { return []any{"jid", bobSeen[p]} }) {
		assert.Equal(t, ofBob, k, "%s: nobody is there", p.nick)
	}
	require.NoError(t, third.host.Stop())
	assert.Equal(t, ofCarol, alice.reads(t, carolSeen), "the room's Allium keeps them")
	host.stopAllium()
	require.NoError(t, os.Remove(filepath.Join(host.dir, "state", "keys.sqlite")))
	host.startAllium(t)
	dora.refused(t, "remote-server-not-found", "ask", "jid", carol.account, "node", omemo.NodeLegacyDevices)
	assert.Equal(t, ofCarol, alice.reads(t, carolSeen), "the room's Allium says the same to a peer, whose own keeps them")
}

// The same where the host is an ejabberd.
func TestKeysInRoomsAtEjabberd(t *testing.T) {
	host, x := privateHall(t, "keys-c", "ejabberd"), privateHall(t, "keys-a", "prosody")
	c := gather(t, confide(t, host, x), host.guest(host.second(), "dora", "den", host), x.guest(x.third(), "alice", "den", host))
	c.know(t)
	c.confer(t, "a plan")
	c.joins(t, c.members[1])
	c.know(t)
	c.confer(t, "a better plan")
	c.kept(t)
}

// keysOf are somebody's keys, by format and device.
type keysOf map[string]map[string]struct {
	Identity, Signature string
	PreKeys             int
}

// rationed are these keys as they are when they do not come from their owner's server: with
// one one-time pre-key of each device.
func (k keysOf) rationed() keysOf {
	r := keysOf{}
	for format, devices := range k {
		r[format] = maps.Clone(devices)
		for id, d := range devices {
			d.PreKeys = 1
			r[format][id] = d
		}
	}
	return r
}

// A circle are members of a room, who encrypt. The first is the owner, at the host.
type circle struct {
	*confidence
	members []*talker
}

// gather makes a room of the kind that is the default, and those members of it.
func gather(t *testing.T, c *confidence, guests ...guest) *circle {
	circle := &circle{confidence: c}
	for _, g := range guests {
		circle.members = append(circle.members, startTalker(t, "omemo", g))
	}
	owner := circle.members[0]
	owner.do(t, "join", "room", owner.room, "nick", owner.nick)
	owner.do(t, "unlock")
	for _, p := range circle.members[1:] {
		owner.do(t, "affiliation", "jid", owner.address(p.guest), "affiliation", "member")
		circle.enters(t, p)
	}
	owner.do(t, "say", "body", c.open+": not encrypted")
	return circle
}

func (c *circle) enters(t *testing.T, p *talker) {
	t.Helper()
	p.do(t, "join", "room", p.room, "nick", p.nick)
	c.members[0].learns(t, "change", p.nick)
}

// joins is one more device of a member.
func (c *circle) joins(t *testing.T, of *talker) {
	t.Helper()
	g := of.guest
	g.nick = strings.ToUpper(g.nick)
	p := startTalker(t, "omemo", g)
	c.enters(t, p)
	c.members = append(c.members, p)
}

// know asserts that each gets the keys of each, by the address that is seen in the room, as
// that one's own server has them.
func (c *circle) know(t *testing.T) {
	t.Helper()
	want := map[string]keysOf{}
	for p, k := range together[keysOf](t, c.members, "keys", func(p *talker) []any { return []any{"jid", p.account} }) {
		require.NotEmpty(t, k[omemo.Legacy.String()])
		require.NotEmpty(t, k[omemo.OMEMO2.String()])
		want[p.nick] = k
	}
	for p, got := range together[map[string]keysOf](t, c.members, "everybody", func(*talker) []any { return nil }) {
		assert.Equal(t, want, got, p.nick)
	}
}

// confer: what each says in each format is read by all others.
func (c *circle) confer(t *testing.T, about string) {
	t.Helper()
	for _, format := range []*omemo.Format{omemo.Legacy, omemo.OMEMO2} {
		for _, p := range c.members {
			text := fmt.Sprintf("%s: %s of %s in %s", c.secret, about, p.nick, format)
			p.do(t, "secret", "body", text, "format", format.String())
			for _, q := range c.members {
				if q != p { // what was said before a device was there it cannot read
					q.take(t, text, func(l roomLine) bool { return l.Event == "secret" && l.Nick == p.nick && l.Body == text })
				}
			}
		}
	}
}

// together makes all do something at the same time, and gives what came of it.
func together[T any](t *testing.T, people []*talker, what string, with func(*talker) []any) map[*talker]T {
	t.Helper()
	answers, results := map[*talker]func() roomLine{}, map[*talker]T{}
	for _, p := range people {
		answers[p] = p.begin(t, what, with(p)...)
	}
	for p, answer := range answers {
		l := answer()
		require.Empty(t, l.Error, "%s: %s %v", p.nick, what, with(p))
		var r T
		require.NoError(t, json.Unmarshal(l.Result, &r))
		results[p] = r
	}
	return results
}

// reads gets somebody's keys by an address.
func (p *talker) reads(t *testing.T, address string) keysOf {
	t.Helper()
	return together[keysOf](t, []*talker{p}, "keys", func(*talker) []any { return []any{"jid", address} })[p]
}

// seen is the address of somebody that somebody else sees in the room.
func (p *talker) seen(t *testing.T, nick string) string {
	t.Helper()
	var v roomView
	require.NoError(t, json.Unmarshal(p.do(t, "view"), &v))
	require.NotEmpty(t, v.Occupants[nick].JID, "%s sees %s: %+v", p.nick, nick, v)
	return v.Occupants[nick].JID
}
