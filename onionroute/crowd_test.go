package onionroute

import (
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// crowded makes a server that has room for few peers.
func crowded(t testing.TB, w *wire, change ...func(*times)) *server {
	return startServerWith(t, w, "a.example", func(c *Config) { c.bounds = bounds{peers: 30, strangers: 10, answers: 1 << 20} }, change...)
}

// A stranger is who has an onion key and no onion service.
type strangerKey struct {
	name string
	*credentials
}

func newStranger(t testing.TB) strangerKey {
	id, err := CreateIdentity(filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	c, err := newCredentials(id)
	require.NoError(t, err)
	return strangerKey{id.Name(), c}
}

// opens opens a stream, and proves who it is from.
func (k strangerKey) opens(t testing.TB, a *server) *raw {
	r := k.greets(t, a)
	r.write("<bidi xmlns='urn:xmpp:bidi'/>" + string(externalAuth("").AppendXML(nil, component.NSServer)))
	require.True(t, r.next().Is(nsSASL, "success"))
	r.d.Restart()
	r.greet(k.name, a.m.Identity)
	return r
}

// greets opens a stream with its chain, and leaves it to the test to prove anything.
func (k strangerKey) greets(t testing.TB, a *server) *raw {
	c, err := net.Dial("unix", a.Ports()[portServerTLS])
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	c = tls.Client(c, k.clientTLS(a.m.Identity, true))
	c.SetDeadline(time.Now().Add(time.Minute))
	r := &raw{t, c, component.NewDecoder(c, component.Limits{})}
	r.greet(k.name, a.m.Identity)
	return r
}

// enables opens a stream with a session that can be resumed.
func (k strangerKey) enables(t testing.TB, a *server) *raw {
	r := k.opens(t, a)
	r.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	require.True(t, r.next().Is(nsSM, "enabled"))
	return r
}

// peersHere is how many peers there are.
func (s *server) peersHere() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.peers)
}

// talk asserts that a message of each server comes to the other, whatever comes to mallory.
func talk(t *testing.T, a, b *server, bob, alice, text string) {
	t.Helper()
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, text)))
	assert.Equal(t, text, b.receive1(t).Body())
	require.NoError(t, b.HandleStanza(context.Background(), message("bob@"+b.c.Hosts[0], alice, text+" too")))
	got := a.receive1(t)
	for got.To.Bare().String() == "mallory@a.example" {
		got = a.receive1(t)
	}
	assert.Equal(t, text+" too", got.Body())
}

// Who makes a key for each stream that they open shuts nobody out: neither peers that are
// new here, nor users here, and not after a restart.
func TestThrowAwayKeys(t *testing.T) {
	w := newWire()
	a, b := crowded(t, w, quick), startServer(t, w, "b.example", quick)
	bob, alice := `bob\40`+b.m.Identity+"@onion.a.example", `alice\40`+a.m.Identity+"@onion.b.example"
	for range 45 {
		newStranger(t).enables(t, a).Close()
	}
	require.NoError(t, b.HandleStanza(context.Background(), message("bob@b.example", alice, "from a new peer")))
	assert.Equal(t, "from a new peer", a.receive1(t).Body())
	talk(t, a, b, bob, alice, "hi")
	assert.LessOrEqual(t, a.peersHere(), 11)
	a.stop()
	a.start()
	talk(t, a, b, bob, alice, "hi again")
	c := startServer(t, w, "c.example", quick)
	talk(t, a, c, `bob\40`+c.m.Identity+"@onion.a.example", `alice\40`+a.m.Identity+"@onion.c.example", "and to another")
}

// A session that a stranger has opened and not used does not stay for long, and a restart
// does not make it younger.
func TestUnusedSession(t *testing.T) {
	a := startServer(t, newWire(), "a.example", func(s *times) { s.unusedAge, s.peerIdle = 50*time.Millisecond, 20*time.Millisecond })
	user := newStranger(t)
	r := user.enables(t, a)
	r.write("<message from='eve@" + user.name + "' to='alice@" + a.m.Identity + "'><body>hi</body></message>")
	require.Equal(t, "hi", a.receive1(t).Body())
	r.Close()
	left := func() (peers []string) {
		stored, err := a.spool.settled(t).sessions()
		require.NoError(t, err)
		for _, ss := range stored {
			peers = append(peers, ss.peer)
		}
		return peers
	}
	newStranger(t).enables(t, a).Close()
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual([]string{user.name}, left()) }, 5*time.Second, 10*time.Millisecond)
	assert.Equal(t, 1, a.peersHere())
	// One that was used lasts for a day.
	a.crash(t)
	a.start()
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, []string{user.name}, left())
	a.stop()
	db, err := openSpool(a.c.Spool, nil)
	require.NoError(t, err)
	_, err = db.db.Exec("UPDATE session SET since = since - ?", int64(a.times.sessionAge/time.Second)+1)
	require.NoError(t, err)
	require.NoError(t, db.close())
	a.start()
	require.Eventually(t, func() bool { return len(left()) == 0 && a.peersHere() == 0 }, 5*time.Second, 10*time.Millisecond)
}

// Servers that are named to us and cannot be reached do not keep those waiting that users
// here have business with.
func TestMadeUpNames(t *testing.T) {
	nothingLeft(t)
	w := newWire()
	a := crowded(t, w, quick)
	honest := startRawServer(t, w, believe)
	honest.got = make(chan string, 10)
	require.NoError(t, a.HandleStanza(context.Background(), presence("alice@a.example", `bob\40`+honest.name+"@onion.a.example", "subscribe")))
	<-honest.got
	w.mu.Lock()
	w.slow = 20 * time.Second
	w.mu.Unlock()
	for i := range 100 {
		r := dialRaw(t, a, portServer)
		r.greet("", a.m.Identity)
		for j := range maxAsking {
			r.write(fmt.Sprintf("<db:result from='%s' to='%s'>k</db:result>", onionName(fmt.Sprint(i, j)), a.m.Identity))
		}
	}
	honest.proven(t, a)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+honest.name+"@onion.a.example", "hi")))
	assert.Equal(t, "hi", <-honest.got)
	other := startRawServer(t, w, believe)
	other.got = make(chan string, 10)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+other.name+"@onion.a.example", "to a new one")))
	assert.Equal(t, "to a new one", <-other.got)
	other.proven(t, a)
}

// One user who writes to very many servers that do not exist costs a bounded number of
// peers, and what of theirs is too much comes back to them; others do not notice.
func TestManyPeers(t *testing.T) {
	w := newWire()
	a, b := crowded(t, w), startServer(t, w, "b.example")
	w.slow = 20 * time.Second
	bob, alice := `bob\40`+b.m.Identity+"@onion.a.example", `alice\40`+a.m.Identity+"@onion.b.example"
	carols := `carol\40` + onionName("carol's") + "@onion.a.example"
	require.NoError(t, a.HandleStanza(context.Background(), message("mallory@a.example", carols, "of both")))
	require.NoError(t, a.HandleStanza(context.Background(), message("carol@a.example", carols, "waits")))
	for i := range 100 {
		require.NoError(t, a.HandleStanza(context.Background(), message("mallory@a.example", `x\40`+onionName(fmt.Sprint(i))+"@onion.a.example", "hi")))
	}
	require.LessOrEqual(t, a.peersHere(), 30)
	for range 101 - 30 {
		back := a.receive1(t)
		require.Equal(t, "mallory@a.example", back.To.String())
		require.Equal(t, stanza.ResourceConstraint, back.StanzaError().Condition)
	}
	talk(t, a, b, bob, alice, "hi")
	for len(a.toUs) > 0 {
		assert.Equal(t, "mallory@a.example", a.receive1(t).To.String())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	assert.NotNil(t, a.peers[onionName("carol's")])
}

// What the host says in a user's name to strangers, since they ask, takes none of what the
// user may have waiting, and nobody here hears of it.
func TestProbesOfStrangers(t *testing.T) {
	w := newWire()
	a := startServerWith(t, w, "a.example", func(c *Config) { c.UserBytes = 20_000 })
	for range 100 {
		s := presence("alice@a.example", `eve\40`+onionName("eve")+"@onion.a.example", "unsubscribed")
		if err := a.HandleStanza(context.Background(), s); err != nil {
			require.Nil(t, s.Error(err))
		}
	}
	assert.Zero(t, a.waits())
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+onionName("bob")+"@onion.a.example", "hi")))
}

// Peers that talk are not given up for those that do not, and who is given up has nothing left
// here; it can come again.
func TestEvicted(t *testing.T) {
	nothingLeft(t)
	a := crowded(t, newWire())
	say := func(k strangerKey, r *raw) {
		r.write("<message from='eve@" + k.name + "' to='alice@" + a.m.Identity + "'><body>hi</body></message>")
		require.Equal(t, "hi", a.receive1(t).Body())
	}
	talks, silent := newStranger(t), newStranger(t)
	idle := []*raw{silent.enables(t, a), silent.enables(t, a)} // the second one waits for the first
	talking := talks.enables(t, a)
	say(talks, talking)
	for range 2 * a.c.bounds.strangers {
		newStranger(t).enables(t, a)
	}
	for _, r := range idle {
		for err := error(nil); err == nil; {
			_, err = r.d.Next()
		}
	}
	time.Sleep(50 * time.Millisecond) // for what should not come
	a.mu.Lock()
	assert.NotContains(t, a.peers, silent.name, "it does not come again by itself")
	a.mu.Unlock()
	say(talks, talking)
	require.Eventually(t, func() bool {
		stored, err := a.spool.settled(t).sessions()
		return err == nil && len(stored) == a.c.bounds.strangers
	}, 5*time.Second, 10*time.Millisecond)
	say(silent, silent.enables(t, a))
	// With nobody left, nothing is counted.
	a.mu.Lock()
	defer a.mu.Unlock()
	assert.Len(t, a.peers, a.c.bounds.strangers)
	assert.Empty(t, a.counts)
	assert.Zero(t, a.ours)
}

// A peer counts against who has fewest of those who write to it, and those who have few lose
// none for who has more.
func TestParties(t *testing.T) {
	g := &Gateway{peers: map[string]*peer{}, counts: map[string]int{}, verifying: map[string]int{}, c: Config{bounds: bounds{peers: 6, strangers: 2}}}
	add := func(name string, parties ...string) bool {
		p := g.peers[name]
		if (p == nil || len(p.parties) == 0) && !g.makeRoom(parties) {
			return false
		}
		if p == nil {
			p = &peer{g: g, onion: name, since: time.Now(), stop: func() {}}
			g.peers[name] = p
		}
		for _, who := range parties {
			g.attribute(p, who)
		}
		return true
	}
	require.True(t, add("of all", "mallory"))
	for i := range 5 {
		require.True(t, add(fmt.Sprint("m", i), "mallory"))
	}
	for i := range maxParties + 1 {
		require.True(t, add("of all", fmt.Sprint("user", i)))
	}
	assert.Len(t, g.peers["of all"].parties, maxParties)
	assert.NotContains(t, g.peers["of all"].parties, "mallory", "who had most")
	require.True(t, add("a0", "alice"))
	require.True(t, add("a1", "alice"))
	assert.NotContains(t, g.peers, "m0")
	assert.NotContains(t, g.peers, "m1")
	require.True(t, add("m5", "mallory"), "for one of his own")
	assert.NotContains(t, g.peers, "m2")
	require.True(t, add("a2", "alice"), "of her own: he has not more than she would have")
	assert.NotContains(t, g.peers, "a0")
	require.True(t, add("c0", "carol"))
	assert.Contains(t, g.peers, "of all")
	assert.Equal(t, 6, g.ours)
	for i := range 3 {
		require.True(t, add(fmt.Sprint("s", i)))
	}
	assert.NotContains(t, g.peers, "s0")
	g.verifying["s1"], g.verifying["s2"] = 1, 1
	assert.False(t, add("s3"), "who is being verified stays")
	require.True(t, add("s1", "dave"), "and is a stranger no more")
	require.True(t, add("s3"))
	for _, p := range g.peers {
		g.remove(p)
	}
	assert.Empty(t, g.counts)
	assert.Zero(t, g.ours)
}

// When there are too many streams, those of strangers go before those of peers that somebody
// here has business with.
func TestStreamsOfStrangers(t *testing.T) {
	w := newWire()
	a := startServer(t, w, "a.example")
	friend := startRawServer(t, w, believe)
	friend.got = make(chan string, 1)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", `bob\40`+friend.name+"@onion.a.example", "hi")))
	<-friend.got
	first := friend.proven(t, a)
	for range maxInbound/maxOfPeer + 1 {
		x := startRawServer(t, w, believe)
		for range maxOfPeer {
			x.proven(t, a)
		}
	}
	first.write("<message from='bob@" + friend.name + "' to='alice@" + a.m.Identity + "'><body>still here</body></message>")
	assert.Equal(t, "still here", a.receive1(t).Body())
}

// What is known of the ports of peers does not grow without end, and strangers do not add to it.
func TestAbilities(t *testing.T) {
	a := startServer(t, newWire(), "a.example")
	count := func() (n int) {
		require.NoError(t, a.spool.change(func(tx *sql.Tx) error { return tx.QueryRow("SELECT COUNT(*) FROM peer").Scan(&n) }))
		return n
	}
	k := newStranger(t)
	k.enables(t, a)
	assert.Zero(t, count())
	for i := range 5 {
		a.learnt(onionName(fmt.Sprint(i)), true)
	}
	a.learnt(k.name, false)
	k.enables(t, a)
	direct, known := a.spool.direct(k.name, time.Hour)
	assert.True(t, direct && known, "it has proved that it takes TLS")
	assert.Equal(t, 6, count())
	a.spool.tidy(time.Hour, 4)
	assert.Equal(t, 4, count())
	require.NoError(t, a.spool.change(func(tx *sql.Tx) error { _, err := tx.Exec("UPDATE peer SET seen = seen - 7200"); return err }))
	a.learnt(k.name, true)
	a.spool.tidy(time.Hour, 4)
	assert.Equal(t, 1, count())
}
