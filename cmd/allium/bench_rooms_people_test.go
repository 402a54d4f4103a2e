package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inFlight is how many copies of messages, or presences, may be under way at a time: so
// many that a service has always something to do, and so few that no queue grows.
const inFlight = 8000

// people are all who are in the rooms. They have one connection, that of their server.
type people struct {
	conn        net.Conn
	rooms, size int
	form        string // the fields of the form that configures a room
	made        int    // rooms
	filled      int    // and those of them that all are in
	entered     int    // people
	sent        int    // messages
	said        []int  // messages, by room

	mu      sync.Mutex
	changed *sync.Cond
	got     *deliveries
	err     error // nothing is right after it
}

func newPeople(conn net.Conn) *people {
	p := &people{conn: conn, got: newDeliveries(0, 1)}
	p.changed = sync.NewCond(&p.mu)
	go p.read()
	return p
}

// live says in how many rooms they will be, and how many in each.
func (p *people) live(rooms, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rooms, p.size, p.got, p.said = rooms, size, newDeliveries(rooms, size), make([]int, rooms)
}

func (p *people) read() {
	buf := make([]byte, 1<<20)
	have := 0
	for {
		n, err := p.conn.Read(buf[have:])
		if err == nil && have+n == len(buf) && have > len(buf)/2 {
			err = errors.New("a stanza without end")
		}
		if err != nil {
			p.fail(err)
			return
		}
		p.mu.Lock()
		rest := buf[:have+n]
		for {
			var ok bool
			if rest, ok, err = p.got.first(rest); !ok {
				break
			}
			if err != nil && p.err == nil {
				p.err = err
			}
		}
		replies := p.got.replies
		p.got.replies = nil
		p.mu.Unlock()
		have = copy(buf, rest)
		p.changed.Signal()
		if len(replies) > 0 {
			p.conn.Write(replies)
		}
	}
}

func (p *people) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.changed.Signal()
}

// wait waits until what has come makes ready true.
func (p *people) wait(b testing.TB, what string, ready func(deliveryCounts) bool) {
	b.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	timeout := time.AfterFunc(time.Minute, func() { p.fail(errors.New("time is up")) })
	defer timeout.Stop()
	for p.err == nil && !ready(p.got.counts) {
		p.changed.Wait()
	}
	require.NoError(b, p.err, "waiting for %s, with %+v", what, p.got.counts)
}

func (p *people) write(b testing.TB, data []byte) {
	_, err := p.conn.Write(data)
	require.NoError(b, err)
}

// ask asks the service what it is, until it answers: then it is there.
func (p *people) ask(b testing.TB) {
	request := fmt.Appendf(nil, "<iq type='get' id='ask' from='user0@%s/r' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", peopleDomain, roomsDomain)
	for refused := 0; ; refused++ {
		p.write(b, request)
		answered := false
		p.wait(b, "an answer", func(d deliveryCounts) bool { answered = d.answered > 0; return answered || d.refused > refused })
		if answered {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// create makes the first of each room enter it, until there are so many rooms, and configure
// it where it wants that.
func (p *people) create(b testing.TB, rooms int) {
	from := p.made
	for ; p.made < rooms; p.made++ {
		p.enter(b, p.made*p.size)
	}
	created := 0
	p.wait(b, "the first of each room", func(d deliveryCounts) bool { created = d.created; return d.own == p.entered })
	if created > 0 {
		require.Equal(b, p.made, created)
		p.configure(b, from)
	}
}

// fill makes the others enter, and returns when all presences and subjects have come.
func (p *people) fill(b testing.TB) {
	for ; p.filled < p.made; p.filled++ {
		for i := 1; i < p.size; i++ {
			p.enter(b, p.filled*p.size+i)
		}
	}
	p.wait(b, "all presences and subjects", func(d deliveryCounts) bool { return d.presences == p.entered*p.size && d.subjects == p.entered })
}

func (p *people) enter(b testing.TB, user int) {
	p.entered++
	p.wait(b, "people to enter", func(d deliveryCounts) bool { return p.entered-d.own <= inFlight/p.size })
	p.write(b, fmt.Appendf(nil, "<presence from='user%d@%s/r' to='room%d@%s/n%d'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>",
		user, peopleDomain, user/p.size, roomsDomain, user))
}

// configure lets the first of each new room have the room as it is, or as the form says.
func (p *people) configure(b testing.TB, from int) {
	for room := from; room < p.made; room++ {
		p.write(b, fmt.Appendf(nil, "<iq type='set' id='form%d' from='user%d@%s/r' to='room%d@%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>%s</x></query></iq>",
			room, room*p.size, peopleDomain, room, roomsDomain, p.form))
	}
	refused := 0
	p.wait(b, "rooms to be configured", func(d deliveryCounts) bool { refused = d.refused; return d.answered+d.refused == p.made })
	require.Zero(b, refused, "rooms that refuse to be configured")
}

// talk sends so many messages, to all rooms that there are in turns, and returns when everyone has them.
func (p *people) talk(b testing.TB, count int) {
	var batch []byte
	for end := p.sent + count; p.sent < end; {
		may := 0
		p.wait(b, "copies", func(d deliveryCounts) bool { may = inFlight/p.size + d.copies/p.size - p.sent; return may > 0 })
		batch = batch[:0]
		for ; may > 0 && p.sent < end; may-- {
			room := p.sent % p.made
			batch = p.appendMessage(batch, room, p.said[room])
			p.said[room]++
			p.sent++
		}
		p.write(b, batch)
	}
	p.wait(b, "the last copies", func(d deliveryCounts) bool { return d.copies == p.sent*p.size })
}

func (p *people) appendMessage(out []byte, room, number int) []byte {
	out = append(out, "<message type='groupchat' from='user"...)
	out = strconv.AppendInt(out, int64(p.got.sender(room, number)), 10)
	out = append(out, "@"+peopleDomain+"/r' to='room"...)
	out = strconv.AppendInt(out, int64(room), 10)
	out = append(out, "@"+roomsDomain+"' id='"...)
	from := len(out)
	out = append(out, 'm')
	out = strconv.AppendInt(out, int64(room), 10)
	out = append(out, '-')
	out = strconv.AppendInt(out, int64(number), 10)
	id := out[from:]
	out = append(out, "'><body>"...)
	out = append(out, id...)
	out = append(out, filler[:bodyOctets-len(id)]...)
	return append(out, "</body></message>"...)
}
