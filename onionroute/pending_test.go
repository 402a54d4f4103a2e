package onionroute

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Who asks and asks pushes out what they have asked themselves, and nothing of others.
func TestPending(t *testing.T) {
	p := newPending[string, int](10, 3)
	any := func(int) bool { return true }
	p.add("alice", "hers", 7)
	for n := range 20 {
		p.add("mallory", fmt.Sprint(n), n)
	}
	assert.False(t, p.has("16"))
	got, ok := p.take("17", any)
	assert.True(t, ok)
	assert.Equal(t, 17, got)
	_, ok = p.take("hers", func(n int) bool { return n != 7 })
	assert.False(t, ok, "it is not that one")
	got, ok = p.take("hers", any)
	assert.True(t, ok)
	assert.Equal(t, 7, got)
	_, ok = p.take("hers", any)
	assert.False(t, ok, "it was answered")

	p.add("mallory", "18", 5) // the same once more
	got, _ = p.take("18", any)
	assert.Equal(t, 5, got)
	for n := range 20 {
		p.add(fmt.Sprint("user", n), fmt.Sprint(n), n)
	}
	assert.Equal(t, 10, p.all.Len())
	assert.Len(t, p.of, 10, "of others nothing is kept")
}
