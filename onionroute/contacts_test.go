package onionroute

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

func presence(from, to, typ string) *component.Stanza {
	return &component.Stanza{Kind: component.Presence, Type: typ, From: jid.MustParse(from), To: jid.MustParse(to)}
}

// befriend makes alice, at a, subscribe to bob, at b.
func befriend(t testing.TB, a, b *server, bob string) {
	require.NoError(t, a.HandleStanza(context.Background(), presence("alice@a.example", bob, "subscribe")))
	require.Equal(t, "subscribe", b.receive1(t).Type)
}

// A contact whose server vanishes goes off-line after a while, is probed when it is
// back, and gets the newest presence that was for it.
func TestContactsOfVanishedServer(t *testing.T) {
	w, a, b, bob, alice := two(t, quick, func(s *times) { s.grace, s.tick = 300*time.Millisecond, 20*time.Millisecond })
	ctx := context.Background()
	befriend(t, a, b, bob)
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/phone", alice, "")))
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/gone", alice, "")))
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/gone", alice, "unavailable")))
	for range 3 {
		a.receive1(t)
	}
	w.vanish(b)
	got := a.receive1(t)
	assert.Equal(t, "unavailable", got.Type)
	assert.Equal(t, bob, got.From.Bare().String())
	assert.Equal(t, "alice@a.example", got.To.String())
	// Of what happens meanwhile, the newest is kept.
	require.Eventually(t, func() bool {
		err := a.HandleStanza(ctx, (&component.Stanza{Kind: component.IQ, Type: "get", ID: "x", From: jid.MustParse("alice@a.example/x"), To: jid.MustParse(bob)}).Add(component.NewElement(component.NSPing, "ping")))
		return err != nil
	}, 5*time.Second, 10*time.Millisecond)
	for _, show := range []string{"away", "dnd"} {
		s := presence("alice@a.example/x", bob, "")
		require.NoError(t, a.HandleStanza(ctx, s.Add(component.NewElement(component.NSClient, "show", component.Text(show)))))
	}
	w.appear(b)
	a.TryAgain()
	types := map[string]string{}
	for range 2 {
		got := b.receive1(t)
		require.Equal(t, component.Presence, got.Kind, got)
		types[got.Type] = got.Child(component.NSClient, "show").Text()
		assert.Equal(t, "bob@b.example", got.To.String())
	}
	assert.Equal(t, map[string]string{"": "dnd", "probe": ""}, types)
	b.silent(t)
	a.empties(t)
	b.empties(t)
}

// Who was taken for off-line as there are too many peers is probed when theirs is there again.
func TestContactsOfEvicted(t *testing.T) {
	_, a, b, bob, alice := two(t, quick)
	ctx := context.Background()
	befriend(t, a, b, bob)
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/phone", alice, "")))
	a.receive1(t)
	a.mu.Lock()
	require.True(t, a.evictPeer(0, func(*peer) int { return 0 }))
	a.mu.Unlock()
	assert.Equal(t, "unavailable", a.receive1(t).Type)
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "are you there?")))
	types := map[string]int{}
	for range 2 {
		types[b.receive1(t).Type]++
	}
	assert.Equal(t, map[string]int{"chat": 1, "probe": 1}, types)
}

// A host that was killed answers the probe for who is not there any more without a client. All
// that were there go off-line.
func TestContactWithoutClients(t *testing.T) {
	_, a, b, bob, alice := two(t, quick)
	ctx := context.Background()
	befriend(t, a, b, bob)
	there := map[string]bool{bob: true}
	for _, client := range []string{"phone", "desk"} {
		require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/"+client, alice, "")))
		there[a.receive1(t).From.String()] = true
	}
	require.NoError(t, b.HandleStanza(ctx, presence("bobby@b.example/x", alice, "")))
	a.receive1(t)
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example", alice, "unavailable")))
	gone := map[string]bool{}
	for range 3 {
		s := a.receive1(t)
		assert.Equal(t, []string{"unavailable", "alice@a.example"}, []string{s.Type, s.To.String()})
		gone[s.From.String()] = true
	}
	assert.Equal(t, there, gone)
	assert.False(t, a.contacts.any(b.m.Identity))
	a.silent(t)
}

// Also after a crash it is known who was on-line.
func TestContactsAfterCrash(t *testing.T) {
	_, a, b, bob, alice := two(t, quick, func(s *times) { s.grace = 300 * time.Millisecond })
	befriend(t, a, b, bob)
	require.NoError(t, b.HandleStanza(context.Background(), presence("bob@b.example/phone", alice, "")))
	a.receive1(t)
	require.Eventually(t, func() bool {
		kept := newContacts(a.spool, a.contacts.account, &defaultBounds)
		return kept.load() == nil && len(kept.peers()) == 1
	}, 5*time.Second, time.Millisecond)
	a.crash(t)
	b.stop()
	a.start()
	got := a.receive1(t)
	assert.Equal(t, "unavailable", got.Type)
	assert.Equal(t, bob, got.From.Bare().String())
}

// A peer that was away for long is tried again soon when somebody writes to it.
func TestWritingTriesAgain(t *testing.T) {
	w, a, b, bob, _ := two(t, func(s *times) { s.retryMin, s.retryMax, s.talk = time.Hour, time.Hour, 10*time.Millisecond })
	ctx := context.Background()
	w.vanish(b)
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "waits")))
	require.Eventually(t, func() bool {
		ping := &component.Stanza{Kind: component.IQ, Type: "get", ID: "x", From: jid.MustParse("alice@a.example/x"), To: jid.MustParse(bob)}
		return a.HandleStanza(ctx, ping.Add(component.NewElement(component.NSPing, "ping"))) != nil
	}, 5*time.Second, 10*time.Millisecond, "it is known to be away")
	w.appear(b)
	require.NoError(t, a.HandleStanza(ctx, message("alice@a.example", bob, "are you there?")))
	for _, want := range []string{"waits", "are you there?"} {
		got := b.receive1(t)
		for got.Kind != component.Message {
			got = b.receive1(t)
		}
		assert.Equal(t, want, got.Body())
	}
	a.empties(t)
}

// Presence is noted of those whom somebody here has business with, and no more of it than
// there is room for: a stranger fills neither memory nor disk.
func TestNotes(t *testing.T) {
	w := newWire()
	a := startServerWith(t, w, "a.example", func(c *Config) {
		c.bounds = defaultBounds
		c.bounds.ofPeer = 20_000
	})
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	say := func(client, to, attributes string) {
		r.write("<presence from='eve@" + x.name + "/" + client + "' to='" + to + "'" + attributes + "/>")
		a.receive1(t)
	}
	available := func(client, to string) { say(client, to, "") }
	eve := `eve\40` + x.name + "@onion.a.example"
	noted := func() (memory, disk int) {
		a.contacts.mu.Lock()
		memory = len(a.contacts.online[x.name])
		a.contacts.mu.Unlock()
		require.NoError(t, a.spool.change(func(tx *sql.Tx) error { return tx.QueryRow("SELECT COUNT(*) FROM online").Scan(&disk) }))
		return memory, disk
	}
	assertNoted := func(n int, about string) {
		t.Helper()
		memory, disk := noted()
		assert.Equal(t, []int{n, n}, []int{memory, disk}, about)
	}
	for i := range 1000 {
		available("x", fmt.Sprintf("user%d@%s", i, a.m.Identity))
	}
	assertNoted(0, "to users that are invented, or do not know eve")
	require.NoError(t, a.HandleStanza(context.Background(), presence("alice@a.example", eve, "subscribe")))
	for i := range 1000 {
		available(fmt.Sprint(i), "alice@"+a.m.Identity)
	}
	memory, disk := noted()
	assert.InDelta(t, 20_000/250, memory, 20)
	assert.Equal(t, memory, disk)
	for i := range 1000 {
		say(fmt.Sprint(i), "alice@"+a.m.Identity, " type='unavailable'")
	}
	assertNoted(0, "who is not there any more")
	require.NoError(t, a.HandleStanza(context.Background(), presence("alice@a.example", eve, "unsubscribe")))
	available("x", "alice@"+a.m.Identity)
	assertNoted(0, "after the end of the subscription")
	// A room, once it has let somebody in.
	room := "room@rooms." + a.m.Identity
	available("x", room+"/eve")
	available("x", "other@rooms."+a.m.Identity+"/eve")
	assertNoted(0, "at the door")
	require.NoError(t, a.HandleStanza(context.Background(), presence("room@rooms.a.example/somebody", eve+"/x", "")))
	assertNoted(1, "in the room")
	require.NoError(t, a.HandleStanza(context.Background(), presence("room@rooms.a.example/eve", eve+"/x", "unavailable")))
	assertNoted(0, "when it has put them out")
}

// Who has business with whom is known after a restart.
func TestContactsAfterRestart(t *testing.T) {
	w, a, b, bob, alice := two(t, quick, func(s *times) { s.grace = 300 * time.Millisecond })
	befriend(t, a, b, bob)
	a.stop()
	a.start()
	require.NoError(t, b.HandleStanza(context.Background(), presence("bob@b.example/phone", alice, "")))
	a.receive1(t)
	w.vanish(b)
	assert.Equal(t, "unavailable", a.receive1(t).Type)
}

// An account has room for so many contacts, and all for so many: those that were not seen for
// longest are forgotten, and old ones in any case.
func TestMet(t *testing.T) {
	n := noteOctets("x00", "alice")
	b := &bounds{contacts: 6 * n, ofAccount: 4 * n}
	m := newMet()
	for i := range 6 {
		m.put(acquaintance{fmt.Sprintf("x%02d", i), "alice"}, meeting{onion: testX, day: int64(10 + (i+3)%6)}, b)
	}
	assert.Len(t, m.of["alice"], 4)
	assert.NotContains(t, m.of["alice"], "x03", "the oldest")
	assert.NotContains(t, m.of["alice"], "x04")
	for i := range 3 {
		m.put(acquaintance{fmt.Sprintf("x%02d", i), "carol"}, meeting{onion: testO, day: 1}, b)
	}
	assert.Len(t, m.of["alice"], 3, "who has most loses one")
	assert.Len(t, m.of["carol"], 3)
	assert.Equal(t, map[string]map[string]int{testX: {"alice": 3}, testO: {"carol": 3}}, m.at)
	for who, of := range m.of {
		for contact := range of {
			m.remove(acquaintance{contact, who})
		}
	}
	assert.Equal(t, newMet(), m)
}

// Servers that vanish one after the other, and never come back, are not remembered without
// bound; and those who only visit a room here leave room for contacts.
func TestVanishForGood(t *testing.T) {
	a := startServerWith(t, newWire(), "a.example", func(c *Config) {
		c.bounds = bounds{notes: 20_000, ofPeer: 20_000, contacts: 20_000, ofAccount: 20_000}
	})
	c := a.contacts
	vanishes := func(onion, to string) {
		for i := range 20 {
			bob := fmt.Sprintf(`bob%d\40%s@onion.a.example`, i, onion)
			c.told(onion, presence(to, bob, ""))
			c.note(onion, presence(bob+"/x", to, ""))
		}
		assert.NotEmpty(t, c.vanish(onion))
	}
	octets := func() (n int) {
		for _, of := range c.lost {
			for a := range of {
				n += noteOctets(a.from, a.to)
			}
		}
		return n
	}
	for i := range 20 {
		vanishes(onionName(fmt.Sprint(i)), "room@rooms.a.example")
	}
	assert.InDelta(t, 10_000, octets(), 300)
	vanishes(testX, "alice@a.example")
	assert.Len(t, c.lost[testX], 20)
	assert.Len(t, c.back(testX), 20)
	for i := range 20 {
		c.back(onionName(fmt.Sprint(i)))
	}
	assert.Zero(t, octets()+c.away)
}
