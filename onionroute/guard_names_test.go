package onionroute

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
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
