package muc

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// hold has a user read n times, and returns what lets the reads end.
func (rs *readers) hold(t *testing.T, kind lane, user string, n int) (release func()) {
	end := make(chan struct{})
	for range n {
		require.True(t, rs.add(kind, user, func() { <-end }))
	}
	return func() { close(end) }
}

// XEP-0313 §8.1: users take turns, one read at a time, however many each wants.
func TestReadersTakeTurns(t *testing.T) {
	var rs readers
	began := make(chan string)
	goOn := map[string]chan struct{}{}
	for _, user := range []string{"greedy", "a", "b", "c"} {
		goOn[user] = make(chan struct{})
	}
	want := func(user string) {
		end := goOn[user]
		require.True(t, rs.add(pageLane, user, func() { began <- user; <-end }))
	}
	for range 100 {
		want("greedy")
	}
	require.Equal(t, "greedy", <-began)
	for _, user := range []string{"a", "b", "b", "c"} {
		want(user)
	}
	require.Equal(t, "a", <-began, "there is a slot that one user cannot take")
	require.Equal(t, 2, rs.lanes[pageLane].running)
	for _, next := range []struct{ ends, begins string }{{"a", "b"}, {"greedy", "c"}, {"b", "greedy"}, {"c", "b"}} {
		goOn[next.ends] <- struct{}{}
		require.Equal(t, next.begins, <-began)
	}
	go func() {
		for range began {
		}
	}()
	for _, end := range goOn {
		close(end)
	}
	rs.drained(t, pageLane)
	close(began)
}

func (rs *readers) waitingIn(kind lane) int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.lanes[kind].waiting
}

// drained waits until nothing is read, and checks that nothing is kept.
func (rs *readers) drained(t *testing.T, kind lane) {
	done := make(chan struct{})
	for {
		rs.mu.Lock()
		l := &rs.lanes[kind]
		if l.running == 0 {
			require.Zero(t, l.waiting)
			require.Empty(t, l.users)
			require.Empty(t, l.turns)
			rs.mu.Unlock()
			return
		}
		rs.mu.Unlock()
		rs.add(kind, "last", func() { done <- struct{}{} })
		<-done
	}
}

// XEP-0313 §8.1: who asks for too much is told to wait, and nobody else is; searches that take
// long keep nobody from reading, nor from what is one row.
func TestReadersDoNotStarve(t *testing.T) {
	w := newWorld(t)
	ids := w.talk(2)
	w.configure(crone1, "coven", "muc#maxhistoryfetch", "0")
	const busy = "wait/resource-constraint"
	words := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='" + fieldFulltext + "'><value>no such word</value></field></x>"
	release := w.sv.readers.hold(t, searchLane, bare(crone2), 1+laneLimits[searchLane].ofOne)
	require.Equal(t, busy, w.query(crone2, "coven", words).err)
	require.Empty(t, w.query(crone1, "coven", words).err, "another one's turn")
	require.Empty(t, w.query(crone2, "coven", "").err, "this is none")
	for i := 0; w.sv.readers.waitingIn(searchLane) < laneLimits[searchLane].waiting; i++ {
		defer w.sv.readers.hold(t, searchLane, fmt.Sprint(i), 1)()
	}
	require.Equal(t, busy, w.query(crone1, "coven", words).err, "all wait")
	require.Empty(t, w.query(crone1, "coven", "").err)
	release()

	release = w.sv.readers.hold(t, pageLane, bare(crone2), 1+laneLimits[pageLane].ofOne)
	require.Equal(t, busy, w.query(crone2, "coven", "").err)
	require.Len(t, w.query(crone1, "coven", "").ids, 2)
	// What is taken back is not kept because somebody reads the archive just then.
	w.send("<message type='groupchat' id='r1' from='" + crone2 + "' to='coven@" + domain + "'><retract xmlns='" + NSRetract + "' id='" + ids[1] + "'/></message>")
	require.NotNil(t, w.query(crone1, "coven", "").messages[1].Child(NSRetract, "retracted"))
	release()

	release = w.sv.readers.hold(t, rowLane, bare(crone2), 1+laneLimits[rowLane].ofOne)
	const vcard = "<vCard xmlns='vcard-temp'/>"
	require.Equal(t, busy, condition(w.get(crone2, "coven", vcard)))
	require.Equal(t, "cancel/item-not-found", condition(w.get(crone1, "coven", vcard)))
	release()
}

// What fails while it reads fails nobody else, and is answered.
func TestReadThatPanics(t *testing.T) {
	w := newWorld(t)
	w.talk(1)
	a := w.sv.awake("coven")
	s := parseOne(t, "<iq type='get' id='x' from='"+crone1+"' to='coven@"+domain+"'><query xmlns='urn:x'/></iq>")
	require.NoError(t, a.post(event{s: s, do: func(r *room) {
		r.lookUp(rowLane, s.From, s, func(*Store) (func(*room), error) { panic("a fault of ours") })
	}}))
	w.settle()
	require.Equal(t, "cancel/internal-server-error", condition(w.only(w.send(""), crone1)))
	require.Len(t, w.query(crone1, "coven", "").ids, 1)
}
