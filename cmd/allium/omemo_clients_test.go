package main

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// privateHall is a node with rooms as they are by default, which is for people who encrypt.
func privateHall(t testing.TB, name, kind string) *node {
	return alliumNode(t, name, kind, "[muc]", fmt.Sprintf("domain = %q", "rooms."+name+".example"))
}

func encryptingNodes(t testing.TB) (a, b *node) {
	return privateHall(t, "omemo-a", "prosody"), alliumNode(t, "omemo-b", "prosody")
}

// A confidence is what people say to each other, and nobody else may read. In all that they
// encrypt is one word. In what they do not is another, to see that we would find the first.
type confidence struct {
	secret, open string
	wire         *wiretap
	nodes        []*node
}

func confide(t testing.TB, nodes ...*node) *confidence {
	c := &confidence{secret: "secret-" + rand.Text(), open: "open-" + rand.Text(), nodes: nodes}
	c.wire = listenFor(t, c.secret, c.open)
	return c
}

// kept asserts that no encrypted word was on the wire, nor is on a disk in clear text: in
// what the server keeps, in what Allium keeps, or in a log.
func (c *confidence) kept(t testing.TB) {
	t.Helper()
	assert.NotZero(t, c.wire.count(t, c.open), "we hear what is not encrypted")
	assert.Zero(t, c.wire.count(t, c.secret), "on the wire")
	for _, n := range c.nodes {
		assert.Empty(t, filesWith(t, n.dir, c.secret), "on disk")
	}
}

// keeps waits until there is some text in one of the files of the node's Allium.
func (n *node) keeps(t testing.TB, file, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		return strings.Contains(strings.Join(filesWith(t, filepath.Join(n.dir, "state"), text), " "), "/"+file)
	}, time.Minute, 50*time.Millisecond, "%s: %s", file, text)
}

// Two people at two servers encrypt to each other. Then the server of one is stopped, and
// the other has a new device, which has never heard of the keys that it needs.
func TestClientsEncrypt(t *testing.T) {
	a, b := encryptingNodes(t)
	c := confide(t, a, b)
	ann, ben := firstDevice(t, a.guest(a.second(), "ann", "", a)), firstDevice(t, b.guest(b.second(), "ben", "", a))
	ann.types(t, "/msg %s %s: not encrypted", ann.address(ben.guest), c.open)
	ben.opens(t, ben.address(ann.guest), c.open+": not encrypted")
	ann.encrypts(t, ben)
	ann.types(t, "%s: a question", c.secret)
	ben.shows(t, c.secret+": a question")
	ben.encrypts(t, ann)
	ben.types(t, "%s: an answer", c.secret)
	ann.shows(t, c.secret+": an answer")
	c.kept(t)

	b.stopAllium()
	require.NoError(t, b.host.Stop())
	fresh := anotherDevice(t, ann.guest)
	fresh.types(t, "/msg %s %s: for later", fresh.address(ben.guest), c.open)
	a.keeps(t, "spool.sqlite", c.open+": for later")
	fresh.encrypts(t, ben)
	fresh.types(t, "%s: for later", c.secret)
	a.keeps(t, "spool.sqlite", "sid='"+fresh.device+"'")
	c.kept(t)
	require.NoError(t, b.host.Start(deadline(t, time.Minute)))
	defer b.login(t) // as others expect it
	b.startAllium(t)
	ben.types(t, "/win 1")
	ben.types(t, "/connect me")
	ben.shows(t, "Connection re-established")
	ben.opens(t, ben.address(ann.guest), c.secret+": for later")
	c.kept(t)
}

// Three people are members of a room in which they see each other's addresses. Two are
// users of the host, and one comes from another server, by Tor. What is said while one of
// them is away is for her too, who stands in the list of members alone.
func TestClientsEncryptInRooms(t *testing.T) {
	a, b := encryptingNodes(t)
	for clash := true; clash && !t.Failed(); {
		t.Run("with new devices", func(t *testing.T) { clash = encryptInRoom(t, a, b) })
	}
}

// encryptInRoom is true if two chose the same of a hundred keys that are for one message
// each: the second one cannot be read, as with any server.
func encryptInRoom(t *testing.T, a, b *node) (clash bool) {
	c := confide(t, a, b)
	room := "den-" + strings.ToLower(rand.Text())
	ann, ben, pia := firstDevice(t, a.guest(a.account(), "ann", room, a)), firstDevice(t, b.guest(b.account(), "ben", room, a)), firstDevice(t, a.guest(a.third(), "pia", room, a))
	ann.enters(t)
	ann.shows(t, "Room locked")
	ann.types(t, "/room accept")
	ann.shows(t, "Room unlocked")
	for _, p := range []*keyholder{ben, pia} {
		ann.types(t, "/affiliation set member %s", ann.address(p.guest))
		p.shows(t, "Chat room invite received")
	}
	enters := func(p *keyholder) {
		t.Helper()
		p.enters(t)
		p.shows(t, "You have joined the room as "+p.nick)
	}
	speaks := func(from *keyholder, text string, to ...*keyholder) {
		t.Helper()
		from.types(t, "%s", text)
		for _, p := range to {
			p.shows(t, from.nick+": "+text)
		}
	}
	encrypted := func(from *keyholder) string { return c.secret + " of " + from.nick }
	enters(ben)
	speaks(ann, c.open+": not encrypted", ben)
	a.keeps(t, "rooms.sqlite", c.open+": not encrypted")
	ann.types(t, "/affiliation list member") // as others do when they enter, since she made members when she was in
	ann.shows(t, "Affiliation: member")
	for _, p := range [][]*keyholder{{ann, ben}, {ben, ann}} {
		p[0].encrypts(t, p[1], pia)
		speaks(p[0], encrypted(p[0]), p[1])
	}
	if ann.preKey(t, pia) == ben.preKey(t, pia) {
		return true
	}
	enters(pia)
	pia.shows(t, "ann: "+encrypted(ann))
	pia.shows(t, "ben: "+encrypted(ben))
	pia.encrypts(t, ann, ben)
	speaks(pia, encrypted(pia), ann, ben)
	a.keeps(t, "rooms.sqlite", "sid='"+pia.device+"'")
	c.kept(t)
	return false
}
