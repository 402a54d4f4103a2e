package onionroute

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A name of the host is one however it is encoded; but peers know users of its other
// domains by these.
func TestExposes(t *testing.T) {
	b := newBorder(t, Privacy{})
	for v, exposed := range map[string]bool{
		"":                                        false,
		"example.org":                             true,
		"example.org.":                            true,
		"notexample.org":                          false,
		"example.org.uk":                          false,
		"40example.org":                           false,
		"alice@EXAMPLE.org/x":                     true,
		"https://up.example.org/a":                true,
		"alice%40example.org":                     true,
		"alice%40EXAMPLE%2eORG":                   true,
		"xmpp:talk%2540example.org?join":          true,
		"xmpp:talk%255c40example.org?join":        true,
		"https%3A%2F%2Fexample.org%2Fa":           true,
		`alice\40example.org`:                     true,
		`alice\5c40example.org@` + testI:          true,
		`alice\40example.org@` + testI:            true, // it has no such form
		`\2fexample.org`:                          true,
		`alice\40example.net@` + testI:            false,
		`alice\40example.net@` + testI + "/x":     false,
		`xmpp:alice%5C40example.net@` + testI:     false,
		`alice%5c40example.net%40` + testI:        false,
		`alice\40example.net@` + testX:            true,
		`alice\40example.net`:                     true,
		`alice\40up.example.net@` + testI:         true,
		`100% alice\40example.org`:                true,
		"100% of % and %zz":                       false,
		`a\5c\2` + strings.Repeat(`\40a`, 20_000): false,
		strings.Repeat("%25", 20_000) + "40":      false,
	} {
		assert.Equal(t, exposed, b.exposes(v), "%.80s", v)
	}
}

// What is at jabber.org can use XMPP, and a name is one in both of its forms (RFC 5891).
func TestExposesOfNames(t *testing.T) {
	for v, of := range map[string]string{
		"http://jabber.org/protocol/muc": "", "http://jabber.org/network/serverinfo": "", "http://jabber.org/features/compress": "",
		"http://jabber.org/protocol/muc at jabber.org": "jabber.org", "https://jabber.org/a": "jabber.org", "alice@jabber.org": "jabber.org",
		"https://xn--bcher-kva.example/a": "bücher.example", "alice@Bücher.example": "bücher.example", "alice%40b%C3%BCcher.example": "bücher.example",
	} {
		for _, d := range []string{"jabber.org", "bücher.example"} {
			m := testMap()
			m.Domains = []string{d}
			gd, err := newGuard(Privacy{}, m, nil, nil, nil)
			require.NoError(t, err)
			assert.Equal(t, of == d, gd.exposes(v), "%s: %s", d, v)
		}
	}
}
