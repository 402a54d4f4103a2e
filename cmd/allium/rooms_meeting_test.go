package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A meeting is three people in a room, and what all of them are to see there.
type meeting struct {
	*testing.T
	ann     *talker    // with aioxmpp; the room is hers
	ben     *talker    // with slixmpp
	pia     *profanity // with Profanity
	subject string
	seats   map[string]*seat // by nickname
}

type seat struct {
	who               guest
	role, affiliation string
}

// meet makes the people come, and do all that is done in rooms (XEP-0045).
func meet(t *testing.T, ann, ben, pia guest) *meeting {
	m := newMeeting(t, ann, ben, pia)
	m.enter()
	m.talk()
	m.nicknames()
	m.voice()
	m.kick()
	m.affiliations()
	m.ban()
	m.membersOnly()
	m.leaveAndReturn()
	m.archive()
	return m
}

func newMeeting(t *testing.T, ann, ben, pia guest) *meeting {
	return &meeting{T: t, ann: startTalker(t, "aioxmpp", ann), ben: startTalker(t, "slixmpp", ben), pia: startProfanity(t, pia),
		seats: map[string]*seat{}}
}

// agree waits until all three clients show the same people in the same roles, and the
// libraries also the same affiliations, addresses and subject.
func (m *meeting) agree() {
	m.Helper()
	roles := map[string]string{}
	for nick, s := range m.seats {
		roles[nick] = s.role
	}
	for _, p := range []*talker{m.ann, m.ben} {
		want := roomView{Me: p.nick, Joined: true, Subject: m.subject, Occupants: map[string]occupant{}}
		for nick, s := range m.seats {
			want.Occupants[nick] = occupant{s.role, s.affiliation, p.address(s.who)}
		}
		p.sees(m, want)
	}
	m.pia.sees(m, roles)
}

// sits is what happens at a nickname.
func (m *meeting) sits(who guest, role, affiliation string) {
	m.seats[who.nick] = &seat{who, role, affiliation}
}

// enter: the first makes the room, and is told so (10.1, 7.2.2).
func (m *meeting) enter() {
	m.ann.do(m, "join", "room", m.ann.room, "nick", m.ann.nick)
	own := m.ann.learns(m, "enter", m.ann.nick)
	assert.Subset(m, own.Codes, []int{110, 201})
	m.sits(m.ann.guest, "moderator", "owner")
	// Without a name in its disco#info, a change of its configuration crashes Profanity 0.13.
	m.ann.do(m, "configure", "roomname", "The Den", "membersonly", false, "whois", "anyone", "persistentroom", true, "moderatedroom", false, "publicroom", true)

	m.benEnters("participant", "none")
	m.pia.enters(m)
	m.pia.shows(m, "You have joined the room as "+m.pia.nick+", role: participant, affiliation: none")
	m.ann.learns(m, "join", m.pia.nick)
	m.sits(m.pia.guest, "participant", "none")
	m.agree()
}

// benEnters: who comes in a room that shows addresses is told that (7.2.3).
func (m *meeting) benEnters(role, affiliation string) {
	m.Helper()
	m.ben.do(m, "join", "room", m.ben.room, "nick", m.ben.nick)
	own := m.ben.learns(m, "enter", m.ben.nick)
	assert.Subset(m, own.Codes, []int{100, 110})
	assert.NotContains(m, own.Codes, 201)
	assert.Equal(m, []string{role, affiliation}, []string{own.Role, own.Affiliation})
	m.ann.learns(m, "join", m.ben.nick)
	m.sits(m.ben.guest, role, affiliation)
}

// talk: in the room, in private, and of what it is about (7.4, 7.5, 8.1).
func (m *meeting) talk() {
	m.everyoneSpeaks("Größe & <Mut>")

	m.ann.do(m, "subject", "text", "on foxes")
	m.subject = "on foxes"
	assert.Equal(m, m.subject, m.ben.learns(m, "subject", m.ann.nick).Body)
	m.pia.shows(m, m.ann.nick+" has set the room subject: on foxes")
	m.ben.refused(m, "forbidden", "subject", "text", "on hens")
	m.agree()

	m.ben.do(m, "whisper", "nick", m.ann.nick, "body", "to ann alone")
	assert.Equal(m, "to ann alone", m.ann.learns(m, "whisper", m.ben.nick).Body)
	for _, p := range []*talker{m.ann, m.ben} {
		p.do(m, "whisper", "nick", m.pia.nick, "body", "to pia alone")
		m.pia.opens(m, m.pia.room+"/"+p.nick, p.nick+": to pia alone")
		m.pia.types(m, "an answer")
		assert.Equal(m, "an answer", p.learns(m, "whisper", m.pia.nick).Body)
		m.pia.opens(m, m.pia.room, "")
	}
}

// everyoneSpeaks, and is heard by the others.
func (m *meeting) everyoneSpeaks(text string) {
	m.Helper()
	m.ann.do(m, "say", "body", text+" of ann")
	m.ben.hears(m, m.ann.nick, text+" of ann")
	m.pia.shows(m, m.ann.nick+": "+text+" of ann")
	m.ben.do(m, "say", "body", text+" of ben")
	m.ann.hears(m, m.ben.nick, text+" of ben")
	m.pia.shows(m, m.ben.nick+": "+text+" of ben")
	m.pia.types(m, "%s", text+" of pia")
	m.ann.hears(m, m.pia.nick, text+" of pia")
	m.ben.hears(m, m.pia.nick, text+" of pia")
}

// nicknames are changed, and not to one that is taken (7.6).
func (m *meeting) nicknames() {
	ann, ben, pia := m.ann.nick, m.ben.nick, m.pia.nick
	renamed := func(from, to string) {
		m.Helper()
		for _, g := range []*guest{&m.ann.guest, &m.ben.guest, &m.pia.guest} {
			if g.nick == from {
				g.nick = to
			}
		}
		s := m.seats[from]
		delete(m.seats, from)
		s.who.nick = to
		m.seats[to] = s
		assert.Equal(m, to, m.ann.learns(m, "nick", from).To)
		e, codes := m.ben.learns(m, "nick", from), []int{303}
		if m.ben.nick == to {
			codes = []int{110, 303}
		}
		assert.Equal(m, to, e.To)
		assert.Equal(m, codes, e.Codes)
		m.agree()
	}
	for _, to := range []string{"robin", ben} {
		from := m.ben.nick
		m.ben.do(m, "nick", "to", to)
		renamed(from, to)
	}
	for _, to := range []string{"mia", pia} {
		from := m.pia.nick
		m.pia.types(m, "/nick %s", to)
		renamed(from, to)
	}
	for _, to := range []string{"anna", ann} {
		from := m.ann.nick
		m.ann.do(m, "nick", "to", to)
		renamed(from, to)
	}
	m.ben.refused(m, "conflict", "nick", "to", m.pia.nick)
	m.agree()
}

// voice is taken and given, by role, by an owner and by a moderator (8.3, 8.4, 9.6, 9.7).
func (m *meeting) voice() {
	ben, pia := m.seats[m.ben.nick], m.seats[m.pia.nick]
	m.ann.do(m, "configure", "moderatedroom", true)
	m.ann.do(m, "role", "nick", m.ben.nick, "role", "visitor", "reason", "enough")
	for _, e := range []roomLine{m.ben.learns(m, "enter", m.ben.nick), m.ann.learns(m, "change", m.ben.nick)} {
		assert.Equal(m, []string{"visitor", "enough", m.ann.nick}, []string{e.Role, e.Reason, e.Actor})
	}
	m.pia.shows(m, m.ben.nick+"'s role has been changed to: visitor, by: "+m.ann.nick+", reason: enough")
	ben.role = "visitor"
	m.agree()
	m.ben.refused(m, "forbidden", "say", "body", "unheard")

	m.ann.do(m, "role", "nick", m.pia.nick, "role", "moderator")
	m.pia.shows(m, "Your role has been changed to: moderator")
	pia.role = "moderator"
	m.agree()
	m.pia.types(m, "/role set participant %s", m.ben.nick)
	e := m.ben.learns(m, "enter", m.ben.nick)
	assert.Equal(m, []string{"participant", m.pia.nick}, []string{e.Role, e.Actor})
	ben.role = "participant"
	m.agree()
	m.everyoneSpeaks("with voice")
	m.ann.do(m, "configure", "moderatedroom", false)
}

// kick: a moderator throws somebody out, who comes back (8.2).
func (m *meeting) kick() {
	m.pia.types(m, "/kick %s too loud", m.ben.nick)
	m.benIsOut("KICKED", 307, "too loud")
	m.pia.shows(m, m.ben.nick+" has been kicked from the room by "+m.pia.nick+", reason: too loud")
	m.ben.refused(m, "not-acceptable", "say", "body", "unheard")
	m.benEnters("participant", "none")
	m.agree()
}

// benIsOut: both libraries say why.
func (m *meeting) benIsOut(mode string, code int, reason string) {
	m.Helper()
	own, seen := m.ben.learns(m, "leave", m.ben.nick), m.ann.learns(m, "leave", m.ben.nick)
	assert.Subset(m, own.Codes, []int{110, code})
	assert.Contains(m, seen.Codes, code)
	assert.NotContains(m, seen.Codes, 110)
	assert.Equal(m, []string{mode, reason, reason}, []string{seen.Mode, seen.Reason, own.Reason})
	delete(m.seats, m.ben.nick)
}

// affiliations belong to addresses, and bring roles with them (9.3, 9.4, 10.6, 10.7).
func (m *meeting) affiliations() {
	ben, pia := m.seats[m.ben.nick], m.seats[m.pia.nick]
	for _, a := range [][2]string{{"member", "participant"}, {"admin", "moderator"}, {"none", "participant"}} {
		m.ann.do(m, "affiliation", "jid", m.ann.address(m.ben.guest), "affiliation", a[0], "reason", "so be it")
		e := m.ben.learns(m, "enter", m.ben.nick)
		assert.Equal(m, []string{a[0], a[1], "so be it"}, []string{e.Affiliation, e.Role, e.Reason})
		ben.affiliation, ben.role = a[0], a[1]
		m.agree()
		if a[0] != "none" {
			m.has(m.ann, a[0], m.ben.guest)
		}
	}
	m.ann.do(m, "affiliation", "jid", m.ann.address(m.pia.guest), "affiliation", "admin")
	m.pia.shows(m, "Your affiliation has been changed to: admin")
	pia.affiliation, pia.role = "admin", "moderator"
	m.agree()
}

// has asserts who has an affiliation.
func (m *meeting) has(asked *talker, affiliation string, who ...guest) {
	m.Helper()
	var got, want []string
	require.NoError(m, json.Unmarshal(asked.do(m, "affiliated", "affiliation", affiliation), &got))
	for _, g := range who {
		want = append(want, asked.address(g))
	}
	assert.ElementsMatch(m, want, got, affiliation)
}

// ban: an admin keeps somebody out, until the ban is lifted (9.1, 9.2, 7.2.7).
func (m *meeting) ban() {
	m.pia.types(m, "/ban %s for good", m.pia.address(m.ben.guest))
	m.benIsOut("BANNED", 301, "for good")
	m.has(m.ann, "outcast", m.ben.guest)
	m.ben.refused(m, "forbidden", "join", "room", m.ben.room, "nick", m.ben.nick)
	m.pia.types(m, "/affiliation set none %s", m.pia.address(m.ben.guest))
	require.Eventually(m, func() bool {
		return string(m.ann.do(m, "affiliated", "affiliation", "outcast")) == "[]"
	}, time.Minute, 50*time.Millisecond)
	m.benEnters("participant", "none")
	m.agree()
}

// membersOnly: who is no longer a member is out, and gets in by an invitation (9.4, 7.2.6,
// 7.8.2).
func (m *meeting) membersOnly() {
	m.ann.do(m, "affiliation", "jid", m.ann.address(m.ben.guest), "affiliation", "member")
	m.ben.learns(m, "enter", m.ben.nick)
	m.ann.do(m, "configure", "membersonly", true)
	m.ann.do(m, "affiliation", "jid", m.ann.address(m.ben.guest), "affiliation", "none", "reason", "closed")
	m.benIsOut("AFFILIATION_CHANGE", 321, "closed")
	m.ben.refused(m, "registration-required", "join", "room", m.ben.room, "nick", m.ben.nick)
	m.ann.do(m, "invite", "jid", m.ann.address(m.ben.guest), "reason", "come back")
	e := m.ben.take(m, "invitation", func(l roomLine) bool { return l.Event == "invite" })
	assert.Equal(m, []string{m.ben.room, "come back"}, []string{e.Room, e.Reason})
	m.benEnters("participant", "member")
	m.agree()
}

// leaveAndReturn: who was away gets the subject and what was said meanwhile, and the room
// says truly who is in it (7.14, 7.2.13, 7.2.15, XEP-0410).
func (m *meeting) leaveAndReturn() {
	m.ben.do(m, "ping")
	m.ben.do(m, "leave")
	assert.Equal(m, []int{110}, m.ben.learns(m, "leave", m.ben.nick).Codes)
	assert.Equal(m, "NORMAL", m.ann.learns(m, "leave", m.ben.nick).Mode)
	m.ben.refused(m, "not-acceptable", "ping")
	m.pia.types(m, "/close")
	m.ann.learns(m, "leave", m.pia.nick)
	m.ann.do(m, "say", "body", "are you gone?")

	m.benEnters("participant", "member")
	m.pia.enters(m)
	m.ann.learns(m, "join", m.pia.nick)
	m.pia.shows(m, m.ann.nick+": are you gone?")
	assert.True(m, m.ben.hears(m, m.ann.nick, "are you gone?").Delayed)
	assert.Equal(m, m.subject, m.ben.learns(m, "subject", m.ann.nick).Body)
	m.agree()

	m.ann.do(m, "leave")
	m.ben.learns(m, "leave", m.ann.nick)
	m.ann.do(m, "join", "room", m.ann.room, "nick", m.ann.nick)
	assert.NotContains(m, m.ann.learns(m, "enter", m.ann.nick).Codes, 201)
	m.agree()
	m.everyoneSpeaks("all back")
}

// archive: what was said is kept (XEP-0313).
func (m *meeting) archive() {
	var kept []struct{ Nick, Body string }
	require.NoError(m, json.Unmarshal(m.ben.do(m, "archive"), &kept))
	assert.Greater(m, len(kept), 9)
	assert.Equal(m, struct{ Nick, Body string }{m.pia.nick, "all back of pia"}, kept[len(kept)-1])
}

// destroy: a second owner ends the room (10.3, 10.9).
func (m *meeting) destroy() {
	m.ann.do(m, "affiliation", "jid", m.ann.address(m.ben.guest), "affiliation", "owner")
	m.ben.learns(m, "enter", m.ben.nick)
	m.ben.do(m, "destroy", "reason", "over")
	m.ann.learns(m, "leave", m.ann.nick)
	m.ben.learns(m, "leave", m.ben.nick)
	m.pia.shows(m, "destroyed")
}
