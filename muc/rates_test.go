package muc

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// XEP-0045 §14.6, §17.3: who has the room tell everything again and again, by probes, by
// entering once more, or by leaving before, is charged for what that is, and waits in the end.
func TestCostOfBeingToldAll(t *testing.T) {
	const others, rate = 300, 5
	at := "coven@" + domain
	for name, ask := range map[string]func(w *world) []*component.Stanza{
		"probe": func(w *world) []*component.Stanza { return w.presence(hag, at, "probe", "") },
		"again": func(w *world) []*component.Stanza { return w.enter(hag, "coven", "thirdwitch") },
		"back": func(w *world) []*component.Stanza {
			w.presence(hag, at+"/thirdwitch", "unavailable", "")
			return w.enter(hag, "coven", "thirdwitch")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.Limits.PresenceRate = rate })
			w.coven()
			for i := range others {
				w.enter(fmt.Sprint("u", i, "@example.org/x"), "coven", fmt.Sprint("u", i))
			}
			start, got := time.Now(), 0
			for range 3 * rate * burstSeconds {
				told := to(ask(w), hag)
				if condition(told[0]) != "" {
					require.Equal(t, "wait/policy-violation", condition(told[0]))
					continue
				}
				require.GreaterOrEqual(t, len(told), others)
				got += len(told)
			}
			// A burst of tokens, what came in meanwhile, and one answer on credit.
			most := (rate*(burstSeconds+time.Since(start).Seconds())+1)*100 + 2*others
			require.Less(t, float64(got), most)
			r := w.sv.awake("coven").room
			r.now = time.Now().Add(2 * burstSeconds * time.Second)
			require.True(t, r.sessions.get(crone1).presences.allow(rate, r.now), "nobody else is concerned")
		})
	}
}

// XEP-0045 §17.3: probes of single occupants are counted too.
func TestRateOfProbes(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.PresenceRate = 1 })
	w.coven()
	n := w.until(hag, "wait/policy-violation", func(int) []*component.Stanza {
		return w.presence(hag, "coven@"+domain+"/firstwitch", "probe", "")
	})
	require.GreaterOrEqual(t, n, burstSeconds)
	require.Less(t, n, 3*burstSeconds)
}

// XEP-0045 §9.5, §14.6: who makes many members, or one again and again, in one room or several,
// does not have as many messages sent to strangers; the lists are as was asked for.
func TestRateOfCourtesies(t *testing.T) {
	const rate = 2
	w := newWorld(t, func(o *Options) { o.Limits.MessageRate = rate })
	w.open(crone1, "coven", "firstwitch")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1"), crone1)
	w.open(crone1, "heath", "firstwitch")
	start, told := time.Now(), 0
	many := func(room, affiliation string) {
		items := ""
		for i := range 100 {
			items += affiliationItem(fmt.Sprint("u", i, "@example.org"), affiliation, "")
		}
		out := w.admin(crone1, room, items)
		w.did(out, crone1)
		for i := range 100 {
			told += len(to(out, fmt.Sprint("u", i, "@example.org")))
		}
	}
	for range 3 {
		many("coven", "member")
		many("heath", "member")
		many("heath", "none")
	}
	require.GreaterOrEqual(t, told, rate*burstSeconds)
	require.LessOrEqual(t, float64(told), rate*(burstSeconds+time.Since(start).Seconds()))
	require.Len(t, w.adminList(crone1, "coven", "affiliation", "member"), 100)
	require.Empty(t, w.adminList(crone1, "heath", "affiliation", "member"))
	require.True(t, w.sv.outside.allow(bare(crone2), rate, time.Now()), "nobody else is concerned")
}

// XEP-0045 §14.6: who makes temporary rooms and leaves them, again and again, is slowed down;
// nobody else is, and nothing is kept of who made rooms long ago.
func TestRateOfMakingRooms(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Limits.RoomRate = 1
		o.Admins = []jid.JID{jid.MustParse(bare(macbeth))}
	})
	comeAndGo := func(who string, i int) []*component.Stanza {
		room := fmt.Sprint("room", i%2)
		out := w.enter(who, room, "x")
		w.presence(who, room+"@"+domain+"/x", "unavailable", "")
		return out
	}
	n := w.until(hag, "wait/policy-violation", func(i int) []*component.Stanza { return comeAndGo(hag, i) })
	require.GreaterOrEqual(t, n, burstSeconds)
	require.LessOrEqual(t, n, 2*burstSeconds)
	for i := range 2 * burstSeconds {
		require.Contains(t, codes(comeAndGo(macbeth, i)[0]), "201", "an admin of the service may")
	}
	w.open(crone1, "coven", "firstwitch")
	require.Len(t, w.sv.makers.of, 2)
	require.True(t, w.sv.makers.allow(bare(crone1), 1, time.Now().Add(2*burstSeconds*time.Second)))
	require.Len(t, w.sv.makers.of, 1)
}
