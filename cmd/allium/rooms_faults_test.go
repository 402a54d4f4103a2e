package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Allium is killed, and stopped, and the host is killed: the clients find out, and in the
// room everything is as it was when they come back.
func TestClientsFindTheirRoomAgain(t *testing.T) {
	a, b := hall(t, "hall", "prosody"), alliumNode(t, "beta", "prosody")
	m := newMeeting(t, a.guest(a.second(), "ann", "vault", a), b.guest(b.second(), "ben", "vault", a), a.guest(a.third(), "pia", "vault", a))
	m.enter()
	m.ann.do(m, "affiliation", "jid", m.ann.address(m.ben.guest), "affiliation", "member")
	m.seats[m.ben.nick].affiliation = "member"
	m.ann.do(m, "affiliation", "jid", m.ann.address(m.pia.guest), "affiliation", "admin")
	*m.seats[m.pia.nick] = seat{m.pia.guest, "moderator", "admin"}
	m.ann.do(m, "subject", "text", "on owls")
	m.subject = "on owls"
	m.agree()

	// Nobody can tell of a kill. But clients ask if they are still in the room (XEP-0410), as
	// aioxmpp does by itself.
	m.ann.do(m, "watch")
	m.everyoneSpeaks("before the kill")
	require.NoError(m, a.allium.Process.Kill())
	<-a.exited
	a.startAllium(m)
	assert.Contains(m, m.ann.learns(m, "enter", m.ann.nick).Codes, 110)
	require.Eventually(m, func() bool { return m.ben.try(m, "ping").Error == "not-acceptable" }, time.Minute, 100*time.Millisecond)
	m.ben.do(m, "join", "room", m.ben.room, "nick", m.ben.nick)
	assert.True(m, m.ben.hears(m, m.pia.nick, "before the kill of pia").Delayed)
	m.pia.types(m, "anybody there?")
	m.pia.shows(m, "Error from "+m.pia.room)
	m.piaComesBack()
	m.agree()
	m.everyoneSpeaks("after the kill")

	// When it is stopped it has the time to say so (11.2).
	a.stopAllium()
	own := m.ann.learns(m, "leave", m.ann.nick)
	assert.Equal(m, "SYSTEM_SHUTDOWN", own.Mode)
	for _, codes := range [][]int{own.Codes, m.ben.learns(m, "leave", m.ben.nick).Codes} {
		assert.Subset(m, codes, []int{110, 332})
	}
	a.startAllium(m)
	m.ann.do(m, "join", "room", m.ann.room, "nick", m.ann.nick)
	m.ben.do(m, "join", "room", m.ben.room, "nick", m.ben.nick)
	m.piaComesBack()
	m.agree()
	m.everyoneSpeaks("after the stop")

	// A killed host tells nobody that its users are gone: they are asked if they are there,
	// and leave when they are not (18.1.2).
	from := a.logged()
	require.NoError(m, a.host.Kill())
	require.NoError(m, a.host.Start(deadline(m, time.Minute)))
	a.logs(m, from, `msg="attached to the host"`, time.Minute)
	for range 2 {
		e := m.ben.take(m, "ghost that leaves", func(l roomLine) bool { return l.Event == "leave" })
		assert.Contains(m, e.Codes, 333)
	}
	m.ann.login(m)
	m.ann.do(m, "join", "room", m.ann.room, "nick", m.ann.nick)
	m.pia.types(m, "/win 1")
	m.pia.types(m, "/connect me")
	m.pia.shows(m, "Connection re-established")
	m.pia.enters(m) // and Profanity may have done it itself
	m.ann.learns(m, "join", m.pia.nick)
	m.agree()
	m.everyoneSpeaks("after the host")
}

// piaComesBack: Profanity does not look if it is still in a room.
func (m *meeting) piaComesBack() {
	m.Helper()
	m.pia.types(m, "/close")
	m.pia.enters(m)
	m.ann.learns(m, "join", m.pia.nick)
}
