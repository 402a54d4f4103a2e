package onionroute

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// What peers see in the place of a session is the same after a restart for as long as the
// session lives, and is another one for each peer.
func TestMasksAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spool.sqlite")
	var s *spool
	open := func() *masks {
		var err error
		s, err = openSpool(file, nil)
		require.NoError(t, err)
		m := newMasks()
		require.NoError(t, m.keep(s))
		return m
	}
	alice, quiet := jid.MustParse("alice@example.org/laptop"), jid.MustParse("alice@example.org/quiet")
	room, bob := jid.MustParse(`r\40rooms.`+testX+"@onion.example.org/nick"), jid.MustParse(`bob\40`+testX+"@onion.example.org")
	y := onionName("Y")

	m := open()
	m.presence(alice, testX, room, "")
	m.presence(alice, testX, bob, "")
	atX, atY, quietAtX := m.show(alice, alice, testX), m.show(alice, alice, y), m.show(quiet, quiet, testX)
	require.NoError(t, s.close())

	m = open()
	got, ok := m.real(atX, testX)
	assert.True(t, ok, "what a peer sends to it finds it before it says anything")
	assert.Equal(t, alice, got)
	_, ok = m.real(atX, y)
	assert.False(t, ok)
	assert.Equal(t, atX, m.show(alice, alice, testX))
	assert.Equal(t, atY, m.show(alice, alice, y))
	assert.Equal(t, quietAtX, m.show(quiet, quiet, testX))
	assert.NotEqual(t, atX, atY)
	k, _ := m.lru.Peek(maskKey{quiet.String(), testX})
	assert.False(t, k.ends.IsZero(), "nobody is told of its end")
	m.presence(alice, testX, room, "unavailable")
	require.NoError(t, s.close())

	m = open()
	k, _ = m.lru.Peek(maskKey{alice.String(), testX})
	assert.True(t, k.ends.IsZero(), "somebody still has it on-line")
	m.presence(alice, testX, bob, "unavailable")
	require.NoError(t, s.close())

	m = open()
	assert.Equal(t, atX, m.show(alice, alice, testX), "it has ended only now")
	_, err := s.db.Exec("UPDATE mask SET ends = ?", time.Now().Add(-time.Second).Unix())
	require.NoError(t, err)
	require.NoError(t, s.close())

	m = open()
	_, ok = m.real(atX, testX)
	assert.False(t, ok)
	assert.NotEqual(t, atX, m.show(alice, alice, testX), "the next session has another name")
	require.NoError(t, s.close())
	s, err = openSpool(file, nil)
	require.NoError(t, err)
	for table, want := range map[string]int{"mask": 1, "mask_open": 0} {
		var n int
		require.NoError(t, s.db.QueryRow("SELECT count(*) FROM "+table).Scan(&n))
		assert.Equal(t, want, n, table)
	}
	require.NoError(t, s.close())

	// One user has no more of them in the file than in memory.
	m = open()
	for i := range maxOwn + 3 {
		m.show(quiet, quiet, fmt.Sprint(i))
	}
	require.NoError(t, s.close())
	_ = open()
	_, err = s.db.Exec("INSERT INTO mask (peer, real, shown, ends) VALUES ('p', 'alice@example.org/more', 'alice@example.org/S', 0)")
	require.NoError(t, err)
	require.NoError(t, s.close())
	_ = open()
	require.NoError(t, s.close())
	_ = open()
	var n int
	require.NoError(t, s.db.QueryRow("SELECT count(*) FROM mask").Scan(&n))
	assert.Equal(t, maxOwn, n)
	require.NoError(t, s.close())
}

// Whoever talks with a session goes on doing so when the session's Allium was killed.
func TestSessionsAfterCrash(t *testing.T) {
	_, a, b, bob, alice := two(t, quick)
	ctx := context.Background()
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/phone", alice, "")))
	before := a.receive1(t).From
	require.Eventually(t, func() bool {
		known, err := b.spool.masks(time.Now())
		return err == nil && len(known.order) == 1 && len(known.byReal[known.order[0]].open) == 1
	}, 5*time.Second, time.Millisecond)
	b.crash(t)
	b.start()
	groupchat := message("alice@a.example", before.String(), "from the room that bob is in")
	groupchat.Type = "groupchat"
	require.NoError(t, a.HandleStanza(ctx, groupchat))
	for {
		if got := b.receive1(t); got.Kind == component.Message {
			assert.Equal(t, "bob@b.example/phone", got.To.String())
			break
		}
	}
	require.NoError(t, b.HandleStanza(ctx, presence("bob@b.example/phone", alice, "")))
	var after jid.JID
	for after.Equal(jid.JID{}) {
		if got := a.receive1(t); got.Kind == component.Presence && got.Type == "" {
			after = got.From
		}
	}
	assert.Equal(t, before, after, "nobody sees %s twice", bob)
}
