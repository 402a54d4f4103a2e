package main

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// TestOutageCounts makes sure that what goes wrong with numbered messages is counted, and
// as what it is.
func TestOutageCounts(t *testing.T) {
	receiver := &person{n: &node{domain: "b.example"}}
	f := &flow{id: "x", to: receiver, seen: jid.MustParse("ann@a.example"), returned: map[int]bool{},
		conditions: map[stanza.Condition]int{}, sent: make([]time.Time, 10)}
	message := func(id, text string) *component.Stanza {
		return (&component.Stanza{Kind: component.Message, ID: id, From: jid.MustParse("ann@a.example/x")}).Add(body(text))
	}
	for _, n := range []int{0, 1, 3, 2, 3, 6} {
		f.arrived(message(f.stanzaID(n), strconv.Itoa(n)))
	}
	f.arrived(message(f.stanzaID(5), "5").Add(component.NewElement("urn:xmpp:delay", "delay").With("from", "b.example"))) // by the receiver's host
	f.arrived(message(f.stanzaID(4), "4").Add(component.NewElement("urn:xmpp:delay", "delay").With("from", "a.example")))
	for _, n := range []int{6, 7} {
		f.cameBack(message(f.stanzaID(n), "").Error(component.NewError(stanza.Cancel, stanza.ServiceUnavailable, "")))
	}
	assert.Equal(t, reckoning{sent: 10, arrived: 7, returned: 2, lost: []int{8, 9}, both: []int{6}, twice: []int{3},
		disorder: []int{2, 4}, late: []int{5}}, f.between(0, 10))
	assert.Equal(t, reckoning{sent: 2, arrived: 2, disorder: []int{4}}, f.between(4, 6))
	assert.Empty(t, f.strange())
	f.arrived(message(f.stanzaID(8), "7"))
	f.arrived(message("another", "8"))
	assert.Len(t, f.strange(), 2)

	d := &duo{there: f, broken: time.Now().Add(-time.Minute)}
	_, ok := d.again()
	assert.False(t, ok, "nothing was mended")
	d.mends()
	_, ok = d.again()
	assert.False(t, ok, "nothing arrived since")
	assert.Len(t, d.early(), 8)
	f.arrived(message(f.stanzaID(9), "9"))
	_, ok = d.again()
	assert.True(t, ok)
}
