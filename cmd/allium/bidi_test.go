package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component/hosttest"
)

// oneStream is what Prosody's log says when preferring has come to that.
const oneStream = "all goes by one stream now"

// preferring is a module by which Prosody makes use of what it has. Left to itself, it offers
// stream management (XEP-0198) only to those whose certificate it believes, and writes by
// the stream by which it asked about the other's key, never by one that the other has made
// one for both directions (XEP-0288).
const preferring = `
local timer, s2sout, both = require "util.timer", prosody.hosts[module.host].s2sout, {};
module:hook("s2s-stream-features", function (event)
	if event.origin.type == "s2sin_unauthed" then
		event.features:tag("sm", { xmlns = "urn:xmpp:sm:3" }):up();
	end
end);
local function prefer(peer)
	timer.add_task(0.05, function ()
		local session, other = both[peer], s2sout[peer];
		if not session or session.destroyed or session == other or other and other.type ~= "s2sout" then return end
		if other then other:close(); end
		s2sout[peer] = session;
		module:log("info", "` + oneStream + `");
	end);
end
module:hook("s2sin-established", function (event)
	if event.session.outgoing then
		both[event.session.from_host] = event.session;
		prefer(event.session.from_host);
	end
end);
module:hook("s2sout-established", function (event) prefer(event.session.to_host); end);
`

// bidiNode is a modOnionsNode that talks with others by one stream.
func bidiNode(t *testing.T) *node {
	folder, err := os.MkdirTemp("", "modules")
	require.NoError(t, err)
	atEnd(func() { os.RemoveAll(folder) })
	require.NoError(t, os.WriteFile(filepath.Join(folder, "mod_preferring.lua"), []byte(preferring), 0o600))
	return modOnionsNodeWith(t, "bidi", func(c *hosttest.Config) {
		c.Modules = append(c.Modules, "s2s_bidi", "smacks", "preferring")
		c.Extra += fmt.Sprintf("smacks_s2s_resend = true\nplugin_paths = { %q }\n", folder)
	})
}

var ownCircuits = regexp.MustCompile(`(?m)^(?:250.circuit-status=)?(\d+) .* PURPOSE=HS_CLIENT_REND`)

// A Prosody with bidi and stream management is talked with by one stream, where it takes
// two with others that have mod_onions; and what is under way when that is cut off is not
// lost.
func TestModOnionsBidi(t *testing.T) {
	a, plain, both := alliumNode(t, "alpha", "prosody"), modOnionsNode(t, "onions"), bidiNode(t)
	ctx, from := deadline(t, 3*time.Minute), a.logged()
	for d, own := range map[*node]int{plain: 1, both: 0} {
		tor := d.watch(t)
		circuits := func() [][]string { return ownCircuits.FindAllStringSubmatch(tor.command("GETINFO circuit-status"), -1) }
		hangUp(tor)
		says(t, ctx, a, d, "hi")
		if d == both {
			require.Eventually(t, func() bool { return strings.Contains(tail(d.host.LogFile()), oneStream) }, time.Minute, 20*time.Millisecond)
		}
		for _, c := range circuits() { // which has verified our key
			tor.command("CLOSECIRCUIT " + c[1])
		}
		require.Eventually(t, func() bool { return len(circuits()) == 0 }, time.Minute, 20*time.Millisecond)
		before := tor.count().streams
		for range 5 {
			says(t, ctx, d, a, "from there")
			says(t, ctx, a, d, "from here")
		}
		assert.Equal(t, own, tor.count().streams-before, "streams of its own")
		assert.Len(t, circuits(), own)
	}
	log, err := os.ReadFile(a.log)
	require.NoError(t, err)
	for d, has := range map[*node]bool{plain: false, both: true} {
		assert.Regexp(t, fmt.Sprintf(`msg="stream to the peer" peer=%s .*bidi=%t`, d.onion, has), string(log[from:]))
		assert.Equal(t, has, strings.Contains(string(log[from:]), `msg="the peer manages the stream" peer=`+d.onion))
	}

	w := tortured(t, rand.New(rand.NewPCG(1, 2)), a, both)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, f := range w.flows {
		go f.speak(ctx)
	}
	tors := []*torWatch{both.watch(t), a.watch(t)}
	// One stream again is one that is managed. By another, Prosody would lose what the next
	// cut finds under way.
	managed := func() (ones, sessions int) {
		log, err := os.ReadFile(a.log)
		require.NoError(t, err)
		theirs, err := os.ReadFile(both.host.LogFile())
		require.NoError(t, err)
		return strings.Count(string(theirs), oneStream), strings.Count(string(log[from:]), `msg="the peer manages the stream" peer=`+both.onion)
	}
	for range 3 {
		onesBefore, sessionsBefore := managed()
		hangUp(tors...)
		require.Eventually(t, func() bool {
			ones, sessions := managed()
			return ones > onesBefore && sessions > sessionsBefore
		}, time.Minute, 20*time.Millisecond)
		for _, f := range w.flows {
			f.finish(t) // and go on
		}
	}
	for _, p := range w.people {
		p.pause(t)
	}
	cancel()
	for _, f := range w.flows {
		f.finish(t)
		r := f.reckon(t)
		assert.Empty(t, r.lost, "neither arrived nor returned")
		if f.from.n == a {
			assert.Zero(t, r.returned)
		}
	}
}
