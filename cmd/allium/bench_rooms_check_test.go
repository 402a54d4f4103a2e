package main

import (
	"bytes"
	"fmt"
	"strings"
)

// People are user0@people.example/r, user1 ... The first so many are in room 0, as the
// occupants n0, n1 ..., the next in room 1.
const (
	peopleDomain = "people.example"
	roomsDomain  = "rooms.example"
)

// bodyOctets is the length of every message's body: its id, and this behind it.
const bodyOctets = 200

var filler = " " + strings.Repeat("allium ", bodyOctets/7)

// deliveries checks what people get from rooms: each presence once, each message once, in
// order, as it was sent. It does so by simple means, so that it is faster than any service.
type deliveries struct {
	size int    // people in a room
	next []int  // by person: the number of the message that is next
	met  []bool // by person and occupant of the room: whether the presence has come

	last    lastCopy
	counts  deliveryCounts
	replies []byte // to be sent
}

type deliveryCounts struct {
	copies, presences int
	own, subjects     int // people who are in, and those who got the subject
	created           int // rooms that want to be configured
	answered, refused int // requests
}

func newDeliveries(rooms, size int) *deliveries {
	return &deliveries{size: size, next: make([]int, rooms*size), met: make([]bool, rooms*size*size)}
}

// lastCopy is the copy of a message that was right: the others are the same, but for the
// number of who gets it. With it most are checked by a comparison of octets.
type lastCopy struct {
	before, after []byte
	room, number  int
}

// first checks the first stanza of data; ok is false if it is not all there.
func (d *deliveries) first(data []byte) (rest []byte, ok bool, err error) {
	if rest, ok = d.another(data); ok {
		return rest, true, nil
	}
	s, rest, ok := cutStanza(data)
	if ok {
		err = d.take(s)
	}
	return rest, ok, err
}

// another tells if data begins with another copy of the last message, as it should be.
func (d *deliveries) another(data []byte) (rest []byte, ok bool) {
	if !bytes.HasPrefix(data, d.last.before) {
		return data, false
	}
	to, rest, ok := cutNumber(data[len(d.last.before):], "user")
	if !ok || !bytes.HasPrefix(rest, d.last.after) || to >= len(d.next) || to/d.size != d.last.room || d.last.number != d.next[to] {
		return data, false
	}
	d.next[to]++
	d.counts.copies++
	return rest[len(d.last.after):], true
}

// take checks one stanza.
func (d *deliveries) take(s rawStanza) error {
	if s.name == "iq" {
		return d.takeIQ(s)
	}
	to, rest, ok := cutNumber(s.to, "user")
	if !ok || string(rest) != "@"+peopleDomain+"/r" || to >= len(d.next) {
		return fmt.Errorf("this is for nobody: %s", s.text)
	}
	room, rest, ok := cutNumber(s.from, "room")
	if !ok || room != to/d.size || !bytes.HasPrefix(rest, []byte("@"+roomsDomain)) {
		return fmt.Errorf("this is from no room of user%d: %s", to, s.text)
	}
	occupant, rest, ok := cutNumber(rest[len("@"+roomsDomain):], "/n")
	if ok && (len(rest) > 0 || occupant/d.size != room || occupant >= len(d.next)) {
		return fmt.Errorf("there is no such occupant: %s", s.text)
	}
	switch {
	case s.name == "presence" && ok:
		return d.takePresence(to, occupant, s)
	case s.name == "presence" && len(s.kind) == 0:
		return nil // ejabberd's rooms have a presence of their own
	case s.name != "message":
		return fmt.Errorf("nobody expects this: %s", s.text)
	}
	_, body, isText := bytes.Cut(s.inner, []byte("<body>"))
	switch {
	case isText && ok:
		return d.takeMessage(to, occupant, s, body)
	case !isText && bytes.Contains(s.inner, []byte("<subject")):
		d.counts.subjects++
		return nil
	case !isText && !ok && bytes.Contains(s.inner, []byte("<status code=")):
		return nil // the room has been configured
	}
	return fmt.Errorf("nobody expects this: %s", s.text)
}

func (d *deliveries) takePresence(to, occupant int, s rawStanza) error {
	met := &d.met[to*d.size+occupant%d.size]
	if *met || len(s.kind) > 0 {
		return fmt.Errorf("a presence too many: %s", s.text)
	}
	*met = true
	d.counts.presences++
	if to != occupant {
		return nil
	}
	if !hasCode(s.inner, "110") {
		return fmt.Errorf("own presence without status 110: %s", s.text)
	}
	d.counts.own++
	if hasCode(s.inner, "201") {
		d.counts.created++
	}
	return nil
}

func (d *deliveries) takeMessage(to, occupant int, s rawStanza, body []byte) error {
	room, rest, ok := cutNumber(s.id, "m")
	number, rest, ok2 := cutNumber(rest, "-")
	switch {
	case !ok || !ok2 || len(rest) > 0 || string(s.kind) != "groupchat":
		return fmt.Errorf("nobody sent this: %s", s.text)
	case room != to/d.size || occupant != d.sender(room, number):
		return fmt.Errorf("user%d must not get this, or not from that occupant: %s", to, s.text)
	case number != d.next[to]:
		return fmt.Errorf("user%d gets message %d and not %d: %s", to, number, d.next[to], s.text)
	}
	if len(body) < bodyOctets || !bytes.HasPrefix(body, s.id) ||
		string(body[len(s.id):bodyOctets]) != filler[:bodyOctets-len(s.id)] || !bytes.HasPrefix(body[bodyOctets:], []byte("</body>")) {
		return fmt.Errorf("the body is another: %s", s.text)
	}
	d.next[to]++
	d.counts.copies++
	_, after, _ := cutNumber(s.text[s.toAt:], "user")
	d.last = lastCopy{append(d.last.before[:0], s.text[:s.toAt]...), append(d.last.after[:0], after...), room, number}
	return nil
}

// sender is who sends a message of a room: all in turns.
func (d *deliveries) sender(room, number int) int { return room*d.size + number%d.size }

// takeIQ counts answers, and answers requests such as pings.
func (d *deliveries) takeIQ(s rawStanza) error {
	switch string(s.kind) {
	case "result":
		d.counts.answered++
	case "error":
		d.counts.refused++
	case "get", "set":
		d.replies = fmt.Appendf(d.replies, "<iq type='result' id='%s' from='%s' to='%s'/>", s.id, s.to, s.from)
	default:
		return fmt.Errorf("a request of no known type: %s", s.text)
	}
	return nil
}

// hasCode tells if there is a status code.
func hasCode(inner []byte, code string) bool {
	return bytes.Contains(inner, []byte("code='"+code+"'")) || bytes.Contains(inner, []byte(`code="`+code+`"`))
}
