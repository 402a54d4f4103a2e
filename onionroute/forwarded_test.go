package onionroute

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// streamTo is the stream that items for a peer go by.
func (s *server) streamTo(onion string) *stream {
	for _, p := range s.known() {
		p.mu.Lock()
		st := p.cur
		p.mu.Unlock()
		if p.onion == onion {
			return st
		}
	}
	return nil
}

// What a peer is asked to verify for somebody else is not so long that it ends our stream.
func TestLongKey(t *testing.T) {
	w, a, b, bob, alice := two(t)
	talk(t, a, b, bob, alice, "hi")
	before := a.streamTo(b.m.Identity)
	x := startRawServer(t, w, believe)
	r := x.proven(t, a)
	r.write("<db:result from='" + b.m.Identity + "' to='" + a.m.Identity + "'><![CDATA[" + strings.Repeat("<", 200_000) + "]]></db:result>")
	r.fails("policy-violation")
	talk(t, a, b, bob, alice, "more")
	assert.True(t, before == a.streamTo(b.m.Identity), "our stream has ended")
}
