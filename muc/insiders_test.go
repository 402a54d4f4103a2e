package muc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// hold keeps a room busy until release is called.
func (w *world) hold(name string) (release func()) {
	busy, goOn := make(chan struct{}), make(chan struct{})
	require.NoError(w.t, w.sv.awake(name).post(event{do: func(*room) { close(busy); <-goOn }}))
	<-busy
	return func() { close(goOn); w.settle() }
}

// atOnce is what is sent because of a stanza while nothing is waited for, without the name of
// the room, which is %s in it.
func (w *world) atOnce(xml, room string) (answers []string) {
	w.t.Helper()
	s := parseOne(w.t, strings.ReplaceAll(xml, "%s", room+"@"+domain))
	if err := w.sv.HandleStanza(w.t.Context(), s); err != nil {
		w.Send(w.t.Context(), s.Error(err))
	}
	return w.sent(room)
}

// sent is what was sent, without the name of the room.
func (w *world) sent(room string) (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.out {
		all = append(all, strings.ReplaceAll(s.String(), room+"@", "ROOM@"))
	}
	w.out = nil
	return all
}

func hiddenAndBusy(t *testing.T, kind string) *world {
	w := newWorld(t, func(o *Options) {
		o.DefaultKind = kind
		o.Limits.Waiting, o.Limits.Backlog, o.Limits.MessageRate = 100, 1<<20, -1
		o.MayCreate = func(bare jid.JID) bool { return bare.Domainpart() == "shakespeare.lit" }
	})
	w.open(crone1, "hidden", "firstwitch")
	w.admin(crone1, "hidden", affiliationItem("member@x.lit", "member", ""), affiliationItem("members.lit", "member", ""),
		affiliationItem("outcast@members.lit", "outcast", ""))
	w.sent("hidden")
	return w
}

// XEP-0045 §6.4, §14.6: who floods a hidden room from outside is answered as by one that is not
// there, all along; nobody finds out in that way, and nobody in the room is kept from talking.
func TestFloodFromOutside(t *testing.T) {
	for kind, entering := range map[string]bool{"encrypted": true, "hidden": false} {
		w := hiddenAndBusy(t, kind)
		flood := "<message type='groupchat' id='f' from='stranger@x.lit/a' to='%s'><body>" + strings.Repeat("x", 20_000) + "</body></message>"
		nothing := w.atOnce(flood, "nothing")
		release := w.hold("hidden")
		var answers []string
		for range 300 {
			answers = append(answers, w.atOnce(flood, "hidden")...)
		}
		require.NotEmpty(t, answers, "the room is overloaded")
		for range 100 { // to the last place
			answers = append(answers, w.atOnce("<message type='groupchat' id='f' from='stranger@x.lit/a' to='%s'/>", "hidden")...)
		}
		stanzas := probes
		if entering {
			stanzas = append(append([]string{}, probes...), entries...)
		}
		for _, xml := range stanzas {
			for _, who := range []string{"stranger@x.lit", "outcast@members.lit"} {
				xml := strings.ReplaceAll(xml, "stranger@x.lit", who)
				require.Equal(t, w.atOnce(xml, "nothing"), w.atOnce(xml, "hidden"), "%s: %s", kind, xml)
			}
		}
		for i := range 5 {
			require.Empty(t, w.atOnce(fmt.Sprintf("<message type='groupchat' id='%d' from='%s' to='%%s'><body>Something wicked</body></message>", i, crone1), "hidden"))
		}
		const info = "<iq type='get' id='i' from='%w' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
		for _, who := range []string{"member@x.lit/a", "one@members.lit/a", bare(crone1) + "/other"} {
			require.Empty(t, w.atOnce(strings.ReplaceAll(info, "%w", who), "hidden"), "%s waits", who)
		}
		release()
		said, told := 0, 0
		for _, answer := range w.sent("hidden") {
			switch {
			case strings.Contains(answer, "Something wicked"):
				said++
			case strings.Contains(answer, "muc_hidden"):
				told++
			default:
				answers = append(answers, answer)
			}
		}
		require.Equal(t, []int{5, 3}, []int{said, told})
		require.Len(t, answers, 400)
		for _, answer := range answers {
			require.Equal(t, nothing, []string{answer})
		}
	}
}

// XEP-0045 §14.6: who belongs to a room, or may know of it, is told when it is overloaded;
// members as they are now, also after they were read from the store.
func TestOverloadedIsToldToInsiders(t *testing.T) {
	const busy = "<resource-constraint "
	for kind, mayEnter := range map[string]bool{"encrypted": false, "hidden": true, "public": true} {
		w := hiddenAndBusy(t, kind)
		w.restart()
		w.enter(crone1, "hidden", "firstwitch")
		w.admin(crone1, "hidden", affiliationItem("late@x.lit", "member", ""), affiliationItem("member@x.lit", "none", ""))
		w.enter("late@x.lit/here", "hidden", "late")
		w.enter("gone@members.lit/here", "hidden", "gone")
		w.presence("gone@members.lit/here", "hidden@"+domain+"/gone", "unavailable", "")
		w.admin(crone1, "hidden", affiliationItem("members.lit", "none", ""))
		w.sent("hidden")
		release := w.hold("hidden")
		for range 100 { // to the last place
			w.atOnce("<message type='groupchat' from='"+crone1+"' to='%s'><body>x</body></message>", "hidden")
		}
		told := func(who, xml string) bool {
			return strings.Contains(strings.Join(w.atOnce(strings.ReplaceAll(xml, "%w", who), "hidden"), ""), busy)
		}
		const info = "<iq type='get' id='i' from='%w' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
		const enter = "<presence from='%w' to='%s/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
		for who, insider := range map[string]bool{crone1: true, "late@x.lit/a": true, "late@x.lit": true, "member@x.lit/a": false,
			"gone@members.lit/here": false, "late@x.lite/a": false, "outcast@members.lit/a": false} {
			require.Equal(t, insider || kind == "public", told(who, info), "%s %s", kind, who)
			require.Equal(t, insider || mayEnter, told(who, enter), "%s %s", kind, who)
		}
		require.True(t, told(hecate, enter), "who may make rooms finds out by that")
		release()
	}
}

// An address that reads as one, and not any more as it is written then, is none: who has rights
// in a room is found by what is written.
func TestAddressesThatCannotBeReadAgain(t *testing.T) {
	const odd = "a@j\u2135.c"
	w := newWorld(t)
	w.coven()
	for _, item := range []string{affiliationItem(odd, "owner", ""), affiliationItem("j\u2135.c", "member", "")} {
		w.refused(w.admin(crone1, "coven", item), crone1, "modify/jid-malformed")
	}
	w.refused(w.configure(crone1, "coven", "muc#roomconfig_roomadmins", odd), crone1, "modify/not-acceptable")
	w.refused(w.message(crone1, "coven@"+domain, "", "<x xmlns='"+NSUser+"'><invite to='"+odd+"'/></x>"), crone1, "modify/jid-malformed")
	w.did(w.configure(crone1, "coven"), crone1)
}
