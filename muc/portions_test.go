package muc

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

const crowd = 50

// gathering is a room with a crowd in it, beside its owner.
func gathering(t *testing.T) *world {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1", "muc#maxhistoryfetch", "0"), crone1)
	for i := range crowd {
		w.enter(oneOf(i), "coven", fmt.Sprint(i))
	}
	w.most = 0
	return w
}

func oneOf(i int) string { return fmt.Sprintf("user%d@crowd.example/a", i) }

// presences are how many of a kind somebody got.
func presences(stanzas []*component.Stanza, who, typ string) (n int) {
	for _, s := range to(stanzas, who) {
		if s.Kind == component.Presence && s.Type == typ {
			n++
		}
	}
	return n
}

// XEP-0045 §10.2.1: where all are told of all, that is not in memory at once; nothing is lost
// by that, and the order is the same.
func TestAllAreToldOfAllByPortions(t *testing.T) {
	w := gathering(t)
	portioned := func(out []*component.Stanza) {
		t.Helper()
		w.did(out, crone1)
		require.Greater(t, len(out), flushAt+2*crowd)
		require.Less(t, w.most, flushAt+2*crowd)
		w.most = 0
	}
	out := w.configure(crone1, "coven", "muc#roomconfig_whois", "anyone")
	portioned(out)
	for i := range crowd {
		mine := to(out, oneOf(i))
		require.Equal(t, crowd, presences(mine, oneOf(i), ""), "all others, of whom it knew the owner without address")
		require.NotEmpty(t, item(mine[0]).AttrValue("jid"))
		require.Equal(t, []string{"172"}, codes(mine[len(mine)-1]))
	}
	out = w.configure(crone1, "coven", "muc#roomconfig_presencebroadcast", "moderator")
	portioned(out)
	require.Equal(t, crowd-1, presences(out, oneOf(0), "unavailable"))
	portioned(w.configure(crone1, "coven", "muc#roomconfig_presencebroadcast", "visitor"+"</value><value>participant</value><value>moderator"))
	hat := []string{"hats#title", "Hat", "hats#uri", "urn:h:1"}
	w.command(crone1, "coven", hatNode+"create", hat...)
	for i := range crowd {
		w.command(crone1, "coven", hatNode+"assign", append(hat, "hats#jid", bare(oneOf(i)))...)
	}
	w.most = 0
	answer, others := w.command(crone1, "coven", hatNode+"destroy", hat...)
	portioned(append(others, answer))
	portioned(w.grant("crowd.example", "admin"))
	portioned(w.grant("crowd.example", "none"))
	out = w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1")
	portioned(out)
	require.Equal(t, crowd, presences(out, crone1, "unavailable"))
}

// What cannot be stored has not happened, also where it would be told by portions: nobody
// gets an address, and all come again.
func TestPortionsOfWhatCannotBeStored(t *testing.T) {
	w := gathering(t)
	_, err := w.st.db.Exec("CREATE TRIGGER broken BEFORE UPDATE ON room BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(t, err)
	out := w.configure(crone1, "coven", "muc#roomconfig_whois", "anyone")
	require.Equal(t, "wait/resource-constraint", condition(answerTo(out, crone1)))
	require.Len(t, out, 1+crowd+1)
	for i := range crowd {
		require.Equal(t, []string{"110", "332"}, codes(w.only(out, oneOf(i))))
	}
	_, err = w.st.db.Exec("DROP TRIGGER broken")
	require.NoError(t, err)
	w.enter(oneOf(0), "coven", "0")
	require.Empty(t, item(to(w.enter(oneOf(1), "coven", "1"), oneOf(1))[0]).AttrValue("jid"))
}

// The same holds where a room panics between two portions: who was told of something gets no
// second answer.
func TestPanicBetweenPortions(t *testing.T) {
	w := gathering(t)
	request := parseOne(t, "<iq type='set' id='set' from='"+crone1+"' to='coven@"+domain+"'><query xmlns='urn:x'/></iq>")
	require.NoError(t, w.sv.awake("coven").post(event{s: request, do: func(r *room) {
		r.result(request)
		r.cfg.NonAnon = true
		r.reveal()
		panic("a fault of ours")
	}}))
	w.settle()
	out := w.send("")
	require.Equal(t, "result", w.only(out[:1], crone1).Type)
	answers := 0
	for _, s := range to(out, crone1) {
		if s.Kind == component.IQ {
			answers++
		}
	}
	require.Equal(t, 1, answers)
	for i := range crowd {
		mine := to(out, oneOf(i))
		require.Equal(t, []string{"110", "332"}, codes(mine[len(mine)-1]))
	}
}
