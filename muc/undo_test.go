package muc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// What cannot be stored has not happened: who asked gets an error, and all come again to a
// room as it was before.
func TestWhatCannotBeStored(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.enter(hag, "coven", "thirdwitch")
	w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1")
	_, err := w.st.db.Exec("CREATE TRIGGER broken BEFORE INSERT ON affiliate BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(t, err)
	out := w.admin(crone1, "coven", "<item affiliation='outcast' jid='hag66@shakespeare.lit'/>")
	require.Equal(t, "wait/resource-constraint", condition(to(out, crone1)[0]))
	require.Equal(t, []string{"110", "332"}, codes(to(out, crone1)[1]))
	require.Empty(t, to(out, hag), "no 301: there is no ban")
	ping := w.get(hag, "coven/thirdwitch", "<ping xmlns='urn:xmpp:ping'/>")
	require.Equal(t, "modify/not-acceptable", condition(ping), "it finds out by asking")
	_, err = w.st.db.Exec("DROP TRIGGER broken")
	require.NoError(t, err)
	require.Equal(t, "thirdwitch", to(w.enter(hag, "coven", "thirdwitch"), hag)[0].From.Resourcepart())
	require.Equal(t, "owner", item(to(w.enter(crone1, "coven", "firstwitch"), crone1)[1]).AttrValue("affiliation"))

	// A room that could not be made is not there, and can be made then.
	_, err = w.st.db.Exec("CREATE TRIGGER broken BEFORE INSERT ON room BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(t, err)
	w.enter(crone1, "cave", "firstwitch")
	_, err = w.st.db.Exec("DROP TRIGGER broken")
	require.NoError(t, err)
	require.Contains(t, codes(to(w.enter(hag, "cave", "thirdwitch"), hag)[0]), "201")

	// A room that could not be destroyed is still there.
	_, err = w.st.db.Exec("CREATE TRIGGER broken BEFORE DELETE ON room BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(t, err)
	out = w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>")
	require.Equal(t, "wait/resource-constraint", condition(to(out, crone1)[0]))
	_, err = w.st.db.Exec("DROP TRIGGER broken")
	require.NoError(t, err)
	require.Equal(t, "owner", item(to(w.enter(crone1, "coven", "firstwitch"), crone1)[0]).AttrValue("affiliation"))
}

// together has a room do several things at once: nothing in between is sent or stored before the
// last of them is there. It returns all that was sent.
func (w *world) together(name string, events ...event) []*component.Stanza {
	w.t.Helper()
	busy, goOn := make(chan struct{}), make(chan struct{})
	a := w.sv.awake(name)
	require.NoError(w.t, a.post(event{do: func(*room) { close(busy); <-goOn }}))
	<-busy
	for _, e := range events {
		require.NoError(w.t, a.post(e))
	}
	close(goOn)
	require.Eventually(w.t, a.idle, time.Minute, time.Millisecond) // also if it is off the list by then
	w.settle()
	return w.send("")
}

// breaks has the store fail to do something to a table, until mend is called.
func (w *world) breaks(what, table string) (mend func()) {
	w.t.Helper()
	_, err := w.st.db.Exec("CREATE TRIGGER broken BEFORE " + what + " ON " + table + " BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(w.t, err)
	return func() {
		w.t.Helper()
		_, err := w.st.db.Exec("DROP TRIGGER broken")
		require.NoError(w.t, err)
	}
}

// waiting is a change that is stored when it is let go on.
type waiting struct{ begun, goOn chan struct{} }

func (c waiting) apply(*transaction) error {
	close(c.begun)
	<-c.goOn
	return nil
}

// What a room said before something that cannot be stored is sent, and answered, though it
// waited with that; also where that is told by portions.
func TestWhatWasSaidBeforeWhatCannotBeStored(t *testing.T) {
	w := gathering(t)
	ping := "<iq type='get' id='ping' from='" + oneOf(1) + "' to='coven@" + domain + "'><ping xmlns='urn:xmpp:ping'/></iq>"
	away := "<presence from='" + oneOf(2) + "' to='coven@" + domain + "/2'><show>away</show></presence>"
	ban := "<iq type='set' id='set' from='" + crone1 + "' to='coven@" + domain + "'><query xmlns='" + NSAdmin + "'>" + affiliationItem(bare(oneOf(3)), "outcast", "") + "</query></iq>"
	mend := w.breaks("INSERT", "affiliate")
	out := w.together("coven", event{s: parseOne(t, ping)}, event{s: parseOne(t, away)}, event{s: parseOne(t, ban)})
	mend()
	require.Equal(t, "result", answerTo(out, oneOf(1)).Type)
	require.Equal(t, "away", to(out, oneOf(4))[0].Child(component.NSClient, "show").Text())
	require.Equal(t, "wait/resource-constraint", condition(answerTo(out, crone1)))
	require.Empty(t, w.only(out, oneOf(3)).Type, "no 301: there is no ban")

	w = gathering(t)
	mend = w.breaks("UPDATE", "room")
	form := "<iq type='set' id='set' from='" + crone1 + "' to='coven@" + domain + "'><query xmlns='" + NSOwner + "'><x xmlns='jabber:x:data' type='submit'>" +
		"<field var='muc#roomconfig_whois'><value>anyone</value></field></x></query></iq>"
	out = w.together("coven", event{s: parseOne(t, ping)}, event{s: parseOne(t, form)})
	mend()
	require.Equal(t, "result", answerTo(out, oneOf(1)).Type)
	require.Equal(t, "wait/resource-constraint", condition(answerTo(out, crone1)))
	for i := range crowd {
		mine := to(out, oneOf(i))
		require.Equal(t, []string{"110", "332"}, codes(mine[len(mine)-1]))
		require.Equal(t, 1, presences(mine, oneOf(i), "unavailable"))
		require.Zero(t, presences(mine, oneOf(i), ""), "of what was to be told nothing is")
	}
}

// A room whose end could not be stored is there at once, also if that is known before it has ended.
func TestEndThatCannotBeStored(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_persistentroom", "1")
	mend := w.breaks("DELETE", "room")
	destroy := "<iq type='set' id='set' from='" + crone1 + "' to='coven@" + domain + "'><query xmlns='" + NSOwner + "'><destroy/></query></iq>"
	out := w.together("coven", event{s: parseOne(t, destroy), done: w.st.wait})
	mend()
	require.Equal(t, "wait/resource-constraint", condition(to(out, crone1)[0]))
	require.Equal(t, "owner", item(to(w.enter(crone1, "coven", "firstwitch"), crone1)[0]).AttrValue("affiliation"))
}

// What follows in a room from what cannot be stored has not happened either, and nobody hears of
// it; what comes when that is known is for the room as it is stored.
func TestWhatFollowsFromWhatCannotBeStored(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_persistentroom", "1", "muc#roomconfig_roomname", "A Dark Cave")
	mend := w.breaks("INSERT", "affiliate")
	set := func(id, field, value string) event {
		return event{s: parseOne(t, "<iq type='set' id='"+id+"' from='"+crone1+"' to='coven@"+domain+"'><query xmlns='"+NSOwner+"'><x xmlns='jabber:x:data' type='submit'>"+
			"<field var='"+field+"'><value>"+value+"</value></field></x></query></iq>")}
	}
	enter := func(who, nick string) event {
		return event{s: parseOne(t, "<presence from='"+who+"' to='coven@"+domain+"/"+nick+"'><x xmlns='"+NSMUC+"'/></presence>")}
	}
	busy := waiting{make(chan struct{}), make(chan struct{})} // so that nothing is known to have failed before who enters waits for that
	w.st.submit([]change{busy}, func(error) {})
	<-busy.begun
	go func() {
		for len(w.st.work) < 3 {
			time.Sleep(time.Millisecond)
		}
		close(busy.goOn)
	}()
	out := w.together("coven",
		event{s: parseOne(t, "<iq type='set' id='both' from='"+crone1+"' to='coven@"+domain+"'><query xmlns='"+NSOwner+"'><x xmlns='jabber:x:data' type='submit'>"+
			"<field var='muc#roomconfig_whois'><value>anyone</value></field><field var='muc#roomconfig_roomadmins'><value>"+bare(macbeth)+"</value></field></x></query></iq>")},
		set("name", "muc#roomconfig_roomname", "A Heath"),
		enter(hecate, "hecate"),
		event{do: func(r *room) { r.hand() }}, // that is known then
		enter(crone2, "secondwitch"))
	mend()
	for _, s := range to(out, crone1) {
		if s.Kind == component.IQ {
			require.Equal(t, "wait/resource-constraint", condition(s), "%v", s)
		}
	}
	require.Equal(t, "wait/resource-constraint", condition(to(out, hecate)[0]))
	require.Equal(t, "gone none/none 110 332, then none/participant 110 170", seen(out, crone2, "secondwitch"))
	require.Equal(t, "A Dark Cave", w.form(crone1, "coven").Value("muc#roomconfig_roomname"))
	require.Equal(t, "moderators", w.form(crone1, "coven").Value("muc#roomconfig_whois"))
}

// Who enters gets no message of before that could not be stored; and the history that could not be
// read by one is there for the next.
func TestHistoryOfAStoreThatFails(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.say(crone1, "coven", "1", "kept")
	w.enter(macbeth, "coven", "thane")
	said := parseOne(t, "<message type='groupchat' id='2' from='"+crone1+"' to='coven@"+domain+"'><body>lost</body></message>")
	enter := parseOne(t, "<presence from='"+hecate+"' to='coven@"+domain+"/hecate'><x xmlns='"+NSMUC+"'/></presence>")
	heard := func(out []*component.Stanza, who string) (bodies []string) {
		for _, s := range to(out, who) {
			if s.Body() != "" && s.Type == "groupchat" {
				bodies = append(bodies, s.Body())
			}
		}
		return bodies
	}
	mend := w.breaks("INSERT", "message")
	out := w.together("coven", event{s: said}, event{s: enter})
	mend()
	require.Equal(t, "wait/resource-constraint", condition(to(out, crone1)[0]))
	require.Equal(t, []string{"kept"}, heard(out, hecate))

	require.NoError(t, w.sv.awake("coven").post(event{do: func(r *room) { r.warm, r.history = false, history{} }}))
	_, err := w.st.db.Exec("ALTER TABLE message RENAME TO away")
	require.NoError(t, err)
	require.Empty(t, heard(w.enter(macbeth, "coven", "thane"), macbeth))
	_, err = w.st.db.Exec("ALTER TABLE away RENAME TO message")
	require.NoError(t, err)
	require.Equal(t, []string{"kept"}, heard(w.enter("banquo@shakespeare.lit/a", "coven", "banquo"), "banquo@shakespeare.lit/a"))
}

// Who comes back at once to a room that has to be read again hears of that first.
func TestComingBackToWhatCannotBeStored(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_persistentroom", "1")
	events := []event{{do: func(r *room) { r.gone = true; r.shutDown() }},
		{s: parseOne(t, "<presence from='"+crone2+"' to='coven@"+domain+"/secondwitch'><x xmlns='"+NSMUC+"'/></presence>")}}
	for range 4000 { // which takes the one room as long as the other needs to begin
		events = append(events, event{s: parseOne(t, "<message type='error' from='"+crone1+"' to='coven@"+domain+"'/>")})
	}
	out := w.together("coven", events...)
	require.Equal(t, "gone none/none 110 332, then none/participant 110 170", seen(out, crone2, "secondwitch"))
}

// Who makes a room where the end of another one cannot be stored gets nothing that belongs to that.
func TestNewRoomWhereTheEndOfAnotherCannotBeStored(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_persistentroom", "1")
	w.say(crone1, "coven", "1", "for us alone")
	mend := w.breaks("DELETE", "room")
	out := w.together("coven",
		event{s: parseOne(t, "<iq type='set' id='destroy' from='"+crone1+"' to='coven@"+domain+"'><query xmlns='"+NSOwner+"'><destroy/></query></iq>")},
		event{s: parseOne(t, "<presence from='"+hecate+"' to='coven@"+domain+"/hecate'><x xmlns='"+NSMUC+"'/></presence>")})
	mend()
	require.Equal(t, "wait/resource-constraint", condition(answerTo(out, crone1)))
	require.Equal(t, "wait/resource-constraint", condition(to(out, hecate)[0]))
	require.Equal(t, "owner/moderator 110 170", seen(w.enter(crone1, "coven", "firstwitch"), crone1, "firstwitch"))
	require.Equal(t, "none/participant 110 170", seen(w.enter(hecate, "coven", "hecate"), hecate, "hecate"))
}

// The service knows of the rooms what is in the store, also if that could not be read for a while.
func TestStoreThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_persistentroom", "1")
	fails := func(xml string) {
		_, err := w.st.db.Exec("ALTER TABLE room RENAME TO away")
		require.NoError(t, err)
		w.send(xml)
		_, err = w.st.db.Exec("ALTER TABLE away RENAME TO room")
		require.NoError(t, err)
	}
	fails("<presence from='" + hag + "' to='cave@" + domain + "/x'><x xmlns='" + NSMUC + "'/></presence>")
	require.Equal(t, "cancel/internal-server-error", condition(w.only(w.enter(hag, "cave", "x"), hag)))
	require.Contains(t, codes(to(w.enter(hag, "cave", "x"), hag)[0]), "201", "it was not made")

	require.Len(t, itemsListed(w), 1)
	fails("<iq type='set' id='hide' from='" + crone1 + "' to='coven@" + domain + "'><query xmlns='" + NSOwner + "'><x xmlns='jabber:x:data' type='submit'>" +
		"<field var='muc#roomconfig_publicroom'><value>0</value></field></x></query></iq>")
	w.enter(crone1, "coven", "firstwitch")
	require.Len(t, itemsListed(w), 1, "it was not hidden")
}

// A room that panics goes on as it is stored: nothing that it did by halves has happened, all
// come again, and what waited for it is answered.
func TestRoomThatPanics(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_persistentroom", "1", "muc#roomconfig_roomname", "A Dark Cave")
	busy, goOn := make(chan struct{}), make(chan struct{})
	a := w.sv.awake("coven")
	require.NoError(t, a.post(event{do: func(*room) { close(busy); <-goOn }}))
	<-busy
	give := func(xml string, do func(*room)) {
		require.NoError(t, a.post(event{s: parseOne(t, xml), do: do}))
	}
	said := "<message type='groupchat' id='said' from='" + hag + "' to='coven@" + domain + "'><body>said</body></message>"
	request := "<iq type='set' id='set' from='" + crone1 + "' to='coven@" + domain + "'><query xmlns='urn:x'/></iq>"
	give(said, nil)
	handled := 0
	give(request, func(r *room) {
		handled++
		cfg := *r.cfg
		cfg.Name = "Half a cave"
		r.cfg = &cfg
		r.save()
		r.setAffiliation(action{jid: r.nicks.get("thirdwitch").bare(), level: Outcast}, "firstwitch").now()
		panic("a fault of ours")
	})
	give(said, nil)
	close(goOn)
	w.settle()
	out := w.send("")
	require.Equal(t, 1, handled)
	require.Equal(t, "cancel/internal-server-error", condition(answerTo(out, crone1)))
	require.Equal(t, "said", to(out, crone2)[0].Body(), "what it did before is done")
	require.Len(t, to(out, crone2), 2)
	require.Equal(t, "gone owner/none 110 332", seen(out, crone1, "firstwitch"))
	require.Equal(t, "gone none/none 110 332", seen(out, crone2, "secondwitch"))
	mine := to(out, hag)
	require.Len(t, mine, 2, "no 301: there is no ban")
	require.Equal(t, "modify/not-acceptable", condition(mine[len(mine)-1]), "what came then is for the room as it is now")
	out = w.enter(hag, "coven", "thirdwitch")
	require.Equal(t, "none/participant 110 170", seen(out, hag, "thirdwitch"))
	require.Equal(t, "said", to(out, hag)[1].Body())
	w.enter(crone1, "coven", "firstwitch")
	require.Equal(t, "A Dark Cave", w.form(crone1, "coven").Value("muc#roomconfig_roomname"))
}

// A room that can tell nobody that it failed is read again all the same.
func TestRoomThatPanicsTwice(t *testing.T) {
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	require.NoError(t, w.sv.awake("coven").post(event{do: func(r *room) { clear(r.nicks); r.list[0].sessions[0] = nil; panic("a fault of ours") }}))
	w.settle()
	w.send("")
	require.Contains(t, codes(to(w.enter(crone1, "coven", "firstwitch"), crone1)[0]), "110")
}

// A temporary room that was read again, and that nobody came back to, is ended after a while.
func TestTemporaryRoomThatIsReadAgain(t *testing.T) {
	w := newCoven(t)
	w.sv.sweep(time.Now().Add(returnWithin)) // that of after the start
	require.NoError(t, w.sv.awake("coven").post(event{do: func(*room) { panic("a fault of ours") }}))
	w.settle()
	w.sv.tick(time.Now())
	w.settle()
	require.Equal(t, 1, len(w.sv.index), "they may come back")
	w.sv.tick(time.Now().Add(returnWithin + time.Second))
	w.settle()
	require.Empty(t, w.sv.index)
}
