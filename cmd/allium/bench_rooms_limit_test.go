package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/allium-xmpp/allium/component"
)

// The limit is what no room service can be faster than: it reads addresses only, keeps
// and checks nothing, and writes what comes to everyone in the room, with another `to`. It
// writes as much as a room has to that has ids (XEP-0359, XEP-0421), always the same ones:
// so it costs a host what the copies of such a room cost it.
const (
	limitStanzaID   = "<stanza-id xmlns='urn:xmpp:sid:0' id='0123456789abcdefghijkl' by='room0@" + roomsDomain + "'/>"
	limitOccupantID = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='0123456789abcdefghijklmnopqrstuv'/>"
)

// limitEnv makes this program the limit, attached to the server it names.
const limitEnv = "ALLIUM_TEST_ROOMS_LIMIT"

const roomsSecret = "the secret of the components"

func runLimit(server string) {
	conn, err := component.Connect(context.Background(), server, roomsDomain, roomsSecret)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	(&limit{conn: conn, rooms: map[string]*limitRoom{}}).serve()
}

type limit struct {
	conn  net.Conn
	rooms map[string]*limitRoom // by address
	out   []byte
}

type limitRoom struct {
	people []string          // their addresses
	nicks  map[string]string // theirs, as addresses in the room
}

// serve serves until the connection ends.
func (l *limit) serve() {
	buf := make([]byte, 1<<18)
	have := 0
	for {
		n, err := l.conn.Read(buf[have:])
		if err != nil {
			return
		}
		rest := buf[:have+n]
		for {
			var s rawStanza
			var ok bool
			if s, rest, ok = cutStanza(rest); !ok {
				break
			}
			l.take(s)
		}
		have = copy(buf, rest)
		l.flush()
	}
}

func (l *limit) flush() {
	l.conn.Write(l.out) // after an error, reading ends as well
	l.out = l.out[:0]
}

func (l *limit) take(s rawStanza) {
	switch {
	case s.name == "presence" && len(s.kind) == 0:
		l.enter(string(s.from), string(s.to))
	case s.name == "message" && string(s.kind) == "groupchat":
		l.fanOut(s)
	case s.name == "iq" && (string(s.kind) == "get" || string(s.kind) == "set"):
		l.out = fmt.Appendf(l.out, "<iq type='result' id='%s' from='%s' to='%s'/>", s.id, s.to, s.from)
	}
}

func (l *limit) fanOut(s rawStanza) {
	room := l.rooms[string(s.to)]
	if room == nil {
		return
	}
	id := s.id
	for _, to := range room.people {
		l.out = append(l.out, "<message type='groupchat' id='"...)
		l.out = append(l.out, id...)
		l.out = append(l.out, "' from='"...)
		l.out = append(l.out, room.nicks[string(s.from)]...)
		l.out = append(l.out, "' to='"...)
		l.out = append(l.out, to...)
		l.out = append(l.out, "'>"...)
		l.out = append(l.out, s.inner...)
		l.out = append(l.out, limitStanzaID+limitOccupantID+"</message>"...)
	}
	if len(l.out) > 1<<18 {
		l.flush()
	}
}

func (l *limit) enter(person, nick string) {
	address, _, _ := strings.Cut(nick, "/")
	room := l.rooms[address]
	if room == nil {
		room = &limitRoom{nicks: map[string]string{}}
		l.rooms[address] = room
	}
	for _, other := range room.people {
		l.presence(room.nicks[other], person, "")
		l.presence(nick, other, "")
	}
	room.people = append(room.people, person)
	room.nicks[person] = nick
	l.presence(nick, person, "<status code='110'/>")
	l.out = fmt.Appendf(l.out, "<message type='groupchat' from='%s' to='%s'><subject/></message>", address, person)
	if len(l.out) > 1<<18 {
		l.flush()
	}
}

func (l *limit) presence(from, to, status string) {
	for _, part := range []string{"<presence from='", from, "' to='", to,
		"'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/>", status, "</x>" + limitOccupantID + "</presence>"} {
		l.out = append(l.out, part...)
	}
}
