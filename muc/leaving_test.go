package muc

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// XEP-0045 §7.14: who leaves is told so, with the id that it gave, and everybody else,
// with what it says.
func TestLeave(t *testing.T) {
	w := newWorld(t)
	w.gather()
	out := w.presence(hag, third, "unavailable", "<status>gone where the goblins go</status>")
	require.Len(t, out, 3)
	require.Equal(t, "presence unavailable thirdwitch none 110", summary(out, hag))
	require.Equal(t, "p", w.only(out, hag).ID)
	require.Equal(t, "presence unavailable thirdwitch none", summary(out, crone1))
	require.Contains(t, w.only(out, crone1).String(), "<status>gone where the goblins go</status>")
	require.Equal(t, hag, item(w.only(out, crone1)).AttrValue("jid"))
	require.Empty(t, item(w.only(out, crone2)).AttrValue("jid"))
	require.Len(t, ids(w.only(out, crone2)), 1)
	require.Empty(t, to(w.say(crone1, "coven", "m", "gone?"), hag))
	// To the room itself it is the same (as of a server for its user).
	require.Equal(t, "presence unavailable secondwitch none 110", summary(w.presence(crone2, witches, "unavailable", ""), crone2))
}

// XEP-0045 §7.14: a temporary room goes with the last; a persistent one stays.
func TestLastLeaves(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.presence(crone1, first1, "unavailable", "")
	require.Equal(t, "iq error room cancel/item-not-found", summary(w.iq(crone1, witches, "get", "i", discoInfo), crone1))
	require.Contains(t, summary(w.enter(hag, "coven", "thirdwitch"), hag), "201")
	w.configure(hag, "coven", "muc#roomconfig_persistentroom", "1")
	w.presence(hag, third, "unavailable", "")
	require.NotContains(t, summary(w.enter(crone1, "coven", "firstwitch"), crone1), "201")
}

// XEP-0045 §10.1.3: a room that its creator leaves before it is configured is destroyed.
func TestCreatorLeavesLocked(t *testing.T) {
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	out := w.presence(crone1, first1, "unavailable", "")
	require.Equal(t, "presence unavailable firstwitch none 110", summary(out, crone1))
	require.NotNil(t, w.only(out, crone1).Child(NSUser, "x").Child(NSUser, "destroy"))
	require.Contains(t, summary(w.enter(crone1, "coven", "firstwitch"), crone1), "201")
}

// XEP-0045 §11.1, §18.1.2: an error that says that nobody is there puts out, and tells why.
func TestErrorsPutOut(t *testing.T) {
	for _, c := range []string{"gone", "item-not-found", "recipient-unavailable", "redirect", "remote-server-not-found", "remote-server-timeout"} {
		for _, at := range []string{witches, first1} {
			w := newWorld(t)
			w.gather()
			out := w.message(hag, at, "error", bounce(c))
			require.Equal(t, "presence unavailable thirdwitch none 307 333 110", summary(out, hag), c)
			require.Equal(t, "presence unavailable thirdwitch none 307 333", summary(out, crone1))
			require.Equal(t, "presence unavailable thirdwitch none 307 333", summary(out, crone2))
		}
	}
	// Presence that was not taken, whatever the reason, even none.
	for _, c := range []string{bounce("service-unavailable"), ""} {
		w := newWorld(t)
		w.gather()
		require.Equal(t, "presence unavailable thirdwitch none 307 333", summary(w.presence(hag, third, "error", c), crone1))
	}
}

// XEP-0045 §11.1: an error that may mean something else does not.
func TestErrorsThatDoNot(t *testing.T) {
	w := newWorld(t)
	w.gather()
	for _, c := range []string{"resource-constraint", "policy-violation", "feature-not-implemented", "not-acceptable", "internal-server-error"} {
		require.Empty(t, w.message(hag, witches, "error", bounce(c)), c)
		// Who wrote privately learns of it.
		require.Equal(t, "message error thirdwitch cancel/"+c, summary(w.message(hag, first1, "error", bounce(c)), crone1))
	}
	require.Empty(t, w.presence(hag, third, "error", bounce("resource-constraint")))
	require.Equal(t, "message groupchat thirdwitch here", summary(w.say(hag, "coven", "m", "here"), crone1))
	require.Empty(t, w.message(hecate, witches, "error", bounce("gone")))
	require.Empty(t, w.presence(hecate, third, "error", ""))
}

// XEP-0045 §18.1.2: service-unavailable may be a client that is gone, or one that blocked
// somebody: the room asks.
func TestUnavailableIsAsked(t *testing.T) {
	w := newWorld(t)
	w.gather()
	out := w.message(hag, first1, "error", bounce("service-unavailable"))
	require.Len(t, out, 1)
	require.Equal(t, "iq get room", summary(out, hag))
	ping := w.only(out, hag)
	require.True(t, ping.Payload().Is(component.NSPing, "ping"))
	require.Empty(t, w.message(hag, second, "error", bounce("service-unavailable"))) // once is enough
	require.Empty(t, w.iq(hag, witches, "result", ping.ID, ""))
	require.NotEmpty(t, w.say(hag, "coven", "m", "here"))
	// A client that knows no ping, and a server without the client, both say so.
	out = w.iq(hag, witches, "error", ping.ID, bounce("service-unavailable"))
	require.Equal(t, "message groupchat room", summary(out, hag))
	lost := w.send("<message type='error' id='" + w.only(out, hag).ID + "' from='" + hag + "' to='" + witches + "'>" + bounce("service-unavailable") + "</message>")
	require.Equal(t, "presence unavailable thirdwitch none 307 333", summary(lost, crone1))
}

// XEP-0045 §18.1.2: silent clients are asked if they are there; who is not, leaves.
func TestGhosts(t *testing.T) {
	w := newWorld(t)
	w.gather()
	ask := func(after time.Duration) []*component.Stanza {
		for _, a := range w.sv.all() {
			a.post(event{do: func(r *room) { r.pingSilent(after) }})
		}
		w.settle()
		w.mu.Lock()
		defer w.mu.Unlock()
		out := w.out
		w.out = nil
		return out
	}
	require.Empty(t, ask(time.Hour)) // nobody was silent for so long
	w.sv.Recheck()
	w.settle()
	out := ask(0)
	require.Len(t, to(out, hag), 2)
	id := to(out, hag)[0].ID
	require.Empty(t, w.iq(crone1, witches, "result", id, ""))
	require.Empty(t, w.iq(crone2, witches, "error", id, bounce("feature-not-implemented")))
	require.Equal(t, "presence unavailable thirdwitch none 307 333", summary(w.iq(hag, witches, "error", id, bounce("remote-server-not-found")), crone1))
	require.Empty(t, w.iq(hag, witches, "error", id, bounce("remote-server-not-found")))
	require.Len(t, itemJIDs(w.get(crone1, "coven", discoItems)), 2)
}

// Who missed something while the host was away has to come again when it is back: they would
// never know, and stay among people who have left.
func TestMissedWhileHostWasAway(t *testing.T) {
	for _, c := range []struct {
		name   string
		miss   func(w *world)
		answer string
	}{
		{"message", func(w *world) { w.say(crone1, "coven", "m", "here") }, ""},
		{"leave", func(w *world) { w.presence(crone2, second, "unavailable", "") }, ""},
		{"ping", func(w *world) {}, ""}, // that is asked for below
		{"private", func(w *world) { w.message(crone1, third, "chat", "<body>psst</body>") }, bounce("service-unavailable")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.gather()
			w.away = hag
			c.miss(w)
			w.sv.Recheck() // with another link
			w.settle()
			w.away = ""
			w.out = nil
			w.sv.Recheck()
			w.settle()
			ping := w.only(w.send(""), hag)
			typ := map[bool]string{true: "result", false: "error"}[c.answer == ""]
			out := w.iq(hag, witches, typ, ping.ID, c.answer)
			if c.name == "ping" {
				require.Empty(t, out)
				return
			}
			require.Equal(t, "presence unavailable thirdwitch none 307 333 110", summary(out, hag))
			require.Equal(t, "presence unavailable thirdwitch none 307 333", summary(out, crone1))
			w.enter(hag, "coven", "thirdwitch")
			require.Empty(t, w.iq(hag, witches, typ, ping.ID, bounce("feature-not-implemented")), "once")
			require.Empty(t, w.iq(crone1, witches, "result", ping.ID, ""), "who missed nothing stays")
		})
	}
}

// Who missed something and has come again of their own accord, as clients do whose host was started
// again, knows all by then, and stays.
func TestMissedAndCameAgain(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.away = hag
	w.say(crone1, "coven", "m", "here")
	w.away = ""
	w.sv.Recheck()
	w.settle()
	ping := w.only(w.send(""), hag)
	require.Contains(t, summary(w.enter(hag, "coven", "thirdwitch"), hag), "here")
	require.Empty(t, w.iq(hag, witches, "result", ping.ID, ""))
}

// Who missed something because the host took too little is asked soon, also if they speak.
func TestMissedAndSpeaks(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.away = hag
	w.say(crone1, "coven", "m", "here")
	w.away = ""
	require.NotEmpty(t, w.say(hag, "coven", "m", "there"))
	w.sv.tick(time.Now())
	w.settle()
	ping := w.only(w.send(""), hag)
	require.Equal(t, "presence unavailable thirdwitch none 307 333 110", summary(w.iq(hag, witches, "result", ping.ID, ""), hag))
}

// A clock that was put back does not keep a room from asking, nor in memory.
func TestClockPutBack(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_persistentroom", "1")
	later := time.Now().Add(24 * time.Hour)
	require.Empty(t, w.together("coven", event{do: func(r *room) {
		for _, o := range r.list {
			o.shown.seen, o.shown.asked = later.Unix(), later.Unix()
		}
		r.comings, r.swept = map[string]rateLimit{"duncan@shakespeare.lit": {last: later.UnixNano()}}, later.UnixNano()
		r.warm, r.entered = true, later.Unix()
	}}))
	w.sv.Recheck()
	w.settle()
	out := w.send("")
	require.Len(t, out, 3)
	w.sv.tick(time.Now())
	w.settle()
	require.Empty(t, w.send(""), "they were asked now")
	a := w.sv.awake("coven")
	require.Nil(t, a.room.comings)
	require.False(t, a.room.warm)
	// A client that is there says so, and one that cannot take messages is gone.
	for _, ping := range out {
		w.iq(ping.To.String(), witches, "error", ping.ID, bounce("gone"))
	}
	a.busy.Store(later.Unix())
	w.sv.tick(time.Now())
	require.Nil(t, w.sv.awake("coven"))
}

// XEP-0045 §11.2: a service that stops tells so.
func TestShutdown(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.sv.stop()
	w.settle()
	for who, nick := range map[string]string{crone1: "firstwitch", crone2: "secondwitch", hag: "thirdwitch"} {
		require.Equal(t, "presence unavailable "+nick+" none 110 332", summary(w.out, who))
	}
	require.Len(t, w.out, 3)
}

// Who comes when all have been told that the service stops is not let in: nobody would tell them.
func TestEnteringBehindShutdown(t *testing.T) {
	w := newWorld(t)
	w.gather()
	out := w.together("coven", event{do: (*room).shutDown},
		event{s: parseOne(t, "<presence from='"+hecate+"' to='"+witches+"/hecate'><x xmlns='"+NSMUC+"'/></presence>")})
	require.Equal(t, "presence error hecate cancel/service-unavailable", summary(out, hecate))
}

// A room that cannot be read does not keep the service from stopping.
func TestShutdownWithBrokenRoom(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_persistentroom", "1")
	w.restart()
	_, err := w.st.db.Exec("UPDATE room SET config = 'x'")
	require.NoError(t, err)
	require.Equal(t, "cancel/internal-server-error", condition(w.only(w.enter(crone1, "coven", "firstwitch"), crone1)))
	w.sv.stop()
}

// XEP-0045 §7.6: the old nickname goes, with the new one, before the new one comes.
func TestNickChange(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.admin(crone1, "coven", "<item nick='thirdwitch' role='visitor'/>")
	out := w.presence(hag, witches+"/oldhag", "", "<show>dnd</show>")
	require.Len(t, out, 6)
	require.Equal(t, "presence unavailable thirdwitch visitor 303 110\npresence oldhag visitor 110", summary(out, hag))
	for _, who := range []string{crone1, crone2} {
		require.Equal(t, "presence unavailable thirdwitch visitor 303\npresence oldhag visitor", summary(out, who))
		got := to(out, who)
		require.Equal(t, "oldhag", item(got[0]).AttrValue("nick"))
		require.Empty(t, item(got[1]).AttrValue("nick"))
		require.Equal(t, ids(got[0]), ids(got[1])) // XEP-0421 §3.1
		require.Len(t, ids(got[0]), 1)
	}
	require.Equal(t, hag, item(to(out, crone1)[0]).AttrValue("jid"))
	require.Empty(t, item(to(out, crone2)[0]).AttrValue("jid"))
	out = w.presence(hag, first1, "", "")
	require.Equal(t, "presence error firstwitch cancel/conflict", summary(out, hag))
	require.Len(t, out, 1)
	w.admin(crone1, "coven", "<item affiliation='member' jid='hecate@shakespeare.lit' nick='mine'/>")
	require.Equal(t, "presence error mine cancel/conflict", summary(w.presence(hag, witches+"/mine", "", ""), hag))
	require.Equal(t, "message groupchat oldhag", strings.TrimSpace(strings.Replace(summary(w.message(crone1, witches+"/oldhag", "chat", "<body>?</body>"), hag), "message chat firstwitch ?", "message groupchat oldhag", 1)))
}

// XEP-0045 §7.6, §7.2.8: one of two clients with a nickname takes another: the other keeps
// it; and it can come back.
func TestNickOfOneSession(t *testing.T) {
	w := newWorld(t)
	w.gather()
	hag2 := "hag66@shakespeare.lit/laptop"
	w.enter(hag2, "coven", "thirdwitch")
	out := w.presence(hag2, witches+"/oldhag", "", "")
	require.Equal(t, "presence thirdwitch participant\npresence oldhag participant", summary(out, crone1))
	require.Equal(t, "presence thirdwitch participant 110\npresence oldhag participant", summary(out, hag))
	require.Equal(t, "presence unavailable thirdwitch participant 303 110\npresence thirdwitch participant\npresence oldhag participant 110", summary(out, hag2))
	out = w.presence(hag2, third, "", "")
	require.Equal(t, "presence unavailable oldhag participant 303\npresence thirdwitch participant", summary(out, crone1))
	require.Equal(t, "presence unavailable oldhag participant 303 110\npresence thirdwitch participant 110", summary(out, hag2))
	require.Len(t, itemJIDs(w.get(crone1, "coven", discoItems)), 3)
	// A room that is full takes no second nickname of theirs.
	w.configure(crone1, "coven", "muc#roomconfig_maxusers", "3")
	require.Equal(t, "presence error oldhag wait/service-unavailable", summary(w.presence(hag2, witches+"/oldhag", "", ""), hag2))
}

// XEP-0045 §7.7: what somebody's presence is now, to all; also when it is sent to the room.
func TestStatusChange(t *testing.T) {
	w := newWorld(t)
	w.gather()
	for _, at := range []string{third, witches} {
		out := w.presence(hag, at, "", "<show>xa</show><status>gone</status>")
		require.Len(t, out, 3)
		require.Equal(t, "presence thirdwitch participant 110", summary(out, hag))
		require.Equal(t, "presence thirdwitch participant", summary(out, crone1))
		require.Contains(t, w.only(out, crone1).String(), "<show>xa</show><status>gone</status>")
	}
	require.Contains(t, w.enter(hecate, "coven", "fourth")[5].String(), "<show>xa</show>", "who comes later sees it too")
}

// XEP-0045 §17.3: a probe of an occupant is answered, of others refused.
func TestProbe(t *testing.T) {
	w := newWorld(t)
	w.gather()
	require.Equal(t, "presence firstwitch moderator", summary(w.presence(hag, first1, "probe", ""), hag))
	require.Equal(t, "presence thirdwitch participant", summary(w.presence(hag, third, "probe", ""), hag))
	require.Equal(t, "presence firstwitch moderator\npresence secondwitch participant", summary(w.presence(hag, witches, "probe", ""), hag))
	require.Equal(t, "presence error nobody cancel/item-not-found", summary(w.presence(hag, witches+"/nobody", "probe", ""), hag))
	require.Equal(t, "presence error firstwitch modify/not-acceptable", summary(w.presence(hecate, first1, "probe", ""), hecate))
	require.Equal(t, "presence error room modify/not-acceptable", summary(w.presence(hecate, witches, "probe", ""), hecate))
	// Subscriptions are not for rooms (§18.3).
	require.Equal(t, "presence unsubscribed room", summary(w.presence(hag, witches, "subscribe", ""), strings.Split(hag, "/")[0]))
}
