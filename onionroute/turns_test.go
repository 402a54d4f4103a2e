package onionroute

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A place goes to who has fewest, strangers have half of them at most, and who does not wait
// any more is passed over.
func TestTurns(t *testing.T) {
	ts := newTurns(4)
	given := func(tn *turn) bool {
		select {
		case <-tn.granted:
			return true
		default:
			return false
		}
	}
	var strangers, mallorys []*turn
	for range 5 {
		strangers = append(strangers, ts.ask(nil))
	}
	for range 5 {
		mallorys = append(mallorys, ts.ask([]string{"mallory"}))
	}
	assert.True(t, given(strangers[1]) && given(mallorys[1]))
	assert.False(t, given(strangers[2]) || given(mallorys[2]))
	alices, both := ts.ask([]string{"alice"}), ts.ask([]string{"mallory", "bob"})
	ts.leave(alices) // she has changed her mind
	ts.leave(mallorys[0])
	assert.True(t, given(both), "against bob, who has none")
	assert.False(t, given(mallorys[2]))
	ts.leave(both)
	assert.True(t, given(mallorys[2]), "of two who have as many, who has waited longer")
	for _, tn := range [][]*turn{strangers, mallorys[1:]} {
		for _, tn := range tn {
			ts.leave(tn)
		}
	}
	assert.Empty(t, ts.of)
	assert.Zero(t, ts.taken)
	assert.Empty(t, ts.waiting)
}
