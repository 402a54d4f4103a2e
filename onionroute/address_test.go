package onionroute

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/cretz/bine/torutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// onionName makes a valid onion name, always the same for a seed.
func onionName(seed string) string {
	key := sha256.Sum256([]byte(seed))
	return torutil.OnionServiceIDFromV3PublicKey(key[:]) + ".onion"
}

var testI, testX, testO, testY = onionName("I"), onionName("X"), onionName("O"), onionName("Y")

func testMap() *AddressMap {
	return &AddressMap{
		Identity: testI, Gateway: "onion.example.org",
		Domains:  []string{"example.org", "example.net"},
		Services: map[string]string{"rooms.example.org": "rooms"},
		Aliases:  map[string]string{"hidden.example.org": "rooms." + testO},
		Peers:    map[string]string{"friends.example": testY},
	}
}

// nativeMap is the map of a host that is I.onion itself.
func nativeMap() *AddressMap {
	m := testMap()
	m.Native, m.Domains = true, []string{testI, "talk." + testI, "example.org"}
	return m
}

// name writes the short forms of the tables as addresses.
func name(s string) jid.JID {
	return jid.MustParse(strings.NewReplacer("I.onion", testI, "X.onion", testX, "O.onion", testO, "Y.onion", testY,
		"@G", "@onion.example.org", "@R", "@rooms.example.org").Replace(s))
}

func TestAddressMap(t *testing.T) {
	type row struct{ host, onion string }
	both := func(m *AddressMap, rows []row) {
		for _, c := range rows {
			onion, err := m.ToOnion(name(c.host))
			if assert.NoError(t, err, c.host) {
				assert.Equal(t, name(c.onion).String(), onion.String())
			}
			host, err := m.ToHost(name(c.onion))
			if assert.NoError(t, err, c.onion) {
				assert.Equal(t, name(c.host).String(), host.String())
			}
			assert.Equal(t, Base(onion.Domainpart()) != testI, m.IsPeers(name(c.host)), c.host)
		}
	}
	both(testMap(), []row{
		{"alice@example.org/phone", "alice@I.onion/phone"},
		{"alice@example.org", "alice@I.onion"},
		{"alice@example.net", `alice\40example.net@I.onion`},
		{"carol@jabber.org", `carol\40jabber.org@I.onion`},
		{"room@R/nick", "room@rooms.I.onion/nick"},
		{"rooms.example.org", "rooms.I.onion"},
		{`bob\40X.onion@G/desk`, "bob@X.onion/desk"},
		{`room\40rooms.X.onion@G/nick`, "room@rooms.X.onion/nick"},
		{"X.onion@G", "X.onion"},
		{"rooms.X.onion@G", "rooms.X.onion"},
		{"onion.example.org", "I.onion"},
		{"onion.example.org/r", "I.onion/r"},
		{"example.org", `\40example.org@I.onion`},
		{"example.net", `\40example.net@I.onion`},
		{`al\40ice@example.org`, `al\5c40ice@I.onion`},
		{`al\5c40ice@example.org`, `al\5c5c40ice@I.onion`},
		{`al\40ice@example.net`, `al\5c40ice\40example.net@I.onion`},
		{`bo\5c40b\40X.onion@G`, `bo\40b@X.onion`},
		{`a\20b@example.org`, `a\20b@I.onion`},
		{"talk@hidden.example.org/nick", "talk@rooms.O.onion/nick"},
		{"hidden.example.org", "rooms.O.onion"},
		{`a\40b@hidden.example.org`, `a\40b@rooms.O.onion`},
		{`bob\40O.onion@G`, "bob@O.onion"},
		{`bob\40friends.example@G/desk`, "bob@friends.example/desk"},
		{"friends.example@G", "friends.example"},
		{"carol@friends.example", `carol\40friends.example@I.onion`},
	})
	both(nativeMap(), []row{
		{"alice@I.onion/phone", "alice@I.onion/phone"},
		{"I.onion", "I.onion"},
		{"room@talk.I.onion/nick", "room@talk.I.onion/nick"},
		{"room@R/nick", "room@rooms.I.onion/nick"},
		{"bob@X.onion/desk", "bob@X.onion/desk"},
		{`b\40b@X.onion`, `b\40b@X.onion`},
		{"room@rooms.X.onion/nick", "room@rooms.X.onion/nick"},
		{"X.onion", "X.onion"},
		{"bob@friends.example", "bob@friends.example"},
		{"talk@hidden.example.org/nick", "talk@rooms.O.onion/nick"},
		{"alice@example.org", `alice\40example.org@I.onion`},
		{"example.org", `\40example.org@I.onion`},
		{"carol@jabber.org", `carol\40jabber.org@I.onion`},
		{`al\40ice@I.onion`, `al\5c40ice@I.onion`},
	})
}

// What would come back as something else is not accepted.
func TestAddressMapRefuses(t *testing.T) {
	refuses := func(m *AddressMap, host, onion []string) {
		for _, s := range host {
			j, err := m.ToOnion(name(s))
			assert.ErrorIs(t, err, ErrAddress, "%s → %s", s, j)
		}
		for _, s := range onion {
			j, err := m.ToHost(name(s))
			assert.ErrorIs(t, err, ErrAddress, "%s → %s", s, j)
		}
	}
	refuses(testMap(), []string{
		"bob@G", `bob\40jabber.org@G`, `bob\40onion@G`, "bob@X.onion", "X.onion", "I.onion@G", `alice\40I.onion@G`,
		`\40X.onion@G`, "a@foo.I.onion", `talk\40rooms.O.onion@G`, "rooms.O.onion@G", `a\40rooms.friends.example@G`,
	}, []string{
		`alice\40example.org@I.onion`, `bob\40X.onion@I.onion`, `a\40onion.example.org@I.onion`,
		`room\40rooms.example.org@I.onion`, `a\40@I.onion`, "a@other.I.onion", "a@jabber.org",
		"a@example.onion", `x\40foo.onion@I.onion`, `a\40xn--bcher-kva.example@I.onion`, `a\40hidden.example.org@I.onion`,
		"a@rooms.friends.example",
	})
	refuses(nativeMap(), []string{
		"onion.example.org", `bob\40X.onion@G`, "a@other.I.onion", "talk@rooms.O.onion", "room@rooms.I.onion", "a@foo.onion",
	}, []string{
		`alice\40I.onion@I.onion`, `bob\40friends.example@I.onion`, "a@other.I.onion", "a@jabber.org", `a\40hidden.example.org@I.onion`,
	})
}

func TestCanonical(t *testing.T) {
	m := testMap()
	for _, c := range []struct{ in, out string }{
		{"bob%X.onion@G/r", `bob\40X.onion@G/r`},
		{"bob%rooms.X.onion@G", `bob\40rooms.X.onion@G`},
		{`bo%b\40X.onion@G`, `bo%b\40X.onion@G`},
		{`b\40b%X.onion@G`, `b\5c40b\40X.onion@G`},
		{"bob%example.com@G", "bob%example.com@G"},
		{"bob%X.onion@example.org", "bob%X.onion@example.org"},
		{"bob%friends.example@G", `bob\40friends.example@G`},
	} {
		assert.Equal(t, name(c.out).String(), m.Canonical(name(c.in)).String())
	}
}

func TestIsOnion(t *testing.T) {
	x := testX
	assert.True(t, IsOnion(x))
	assert.True(t, IsOnion("rooms."+x))
	assert.Equal(t, x, Base("a.b."+x))
	flipped := "a" + x[1:]
	if x[0] == 'a' {
		flipped = "b" + x[1:]
	}
	for _, bad := range []string{"", "onion", "foo.onion", "expyuzz4wqqyqhjn.onion", flipped, strings.TrimSuffix(x, ".onion"),
		x + ".example.org", "a%b." + x, "-a." + x, "xn--bcher-kva." + x, strings.ToUpper(x[:56]) + ".onion", x[:55] + ".onion"} {
		assert.False(t, IsOnion(bad), bad)
		assert.Empty(t, Base(bad), "%s, asked for once more", bad)
	}
}

// FuzzAddressMap: toHost(toOnion(j)) == j and the other way round, for any JID that
// the map accepts.
func FuzzAddressMap(f *testing.F) {
	maps := []*AddressMap{testMap(), nativeMap()}
	domains := []string{testI, testX, "rooms." + testI, "rooms." + testX, "onion.example.org", "rooms.example.org",
		"example.org", "example.net", "jabber.org", "hidden.example.org", "rooms." + testO, testO, "friends.example", testY, "talk." + testI}
	for _, s := range []string{"alice", `al\40ice`, `\5c40`, `a\5c5c40b`, `\40example.net`, "", `x\405c40`, "X%Y", `a\40X`, "X",
		`a\40rooms.Z`, `a\40hidden.example.org`, `a\40friends.example`, "friends.example", `\40Y`} {
		for d := range byte(len(domains)) {
			f.Add(s, d, "res")
		}
	}
	f.Fuzz(func(t *testing.T, local string, domain byte, resource string) {
		local = strings.NewReplacer("X", testX, "Y", testI, "Z", testO).Replace(local)
		j, err := jid.New(local, domains[int(domain)%len(domains)], resource)
		if err != nil {
			return
		}
		for _, m := range maps {
			if onion, err := m.ToOnion(j); err == nil {
				back, err := m.ToHost(onion)
				require.NoError(t, err, "%s → %s", j, onion)
				require.Equal(t, j.String(), back.String(), "by way of %s", onion)
			}
			if host, err := m.ToHost(j); err == nil {
				back, err := m.ToOnion(host)
				require.NoError(t, err, "%s → %s", j, host)
				require.Equal(t, j.String(), back.String(), "by way of %s", host)
			}
		}
	})
}
