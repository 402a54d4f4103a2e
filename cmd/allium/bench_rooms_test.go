package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkRooms measures group chat: the rooms that Prosody and ejabberd have of their
// own, and the limit, which is what no service can be faster than. Services are
// measured alone, where those who measure are their server, and with a host between. Each
// copy and each presence is checked: one that is lost, late, changed or twice there fails
// the run.
func BenchmarkRooms(b *testing.B) {
	b.Run("start", roomsStart)
	b.Run("crowd", roomsCrowd)
	b.Run("many", roomsMany)
}

// A roomService is one that is measured.
type roomService struct {
	name  string
	limit string // the one on the same way that no service can be faster than
	open  func(testing.TB) *venue
	crowd int    // how many people come to its one room
	form  string // the fields of the form that configures a room
	venue *venue
}

// roomServices are all. Where a host is between, fewer come, since letting them in takes
// as long as everything else together.
func roomServices() []*roomService {
	return []*roomService{
		{name: "Prosody", open: onHost("prosody", nil), crowd: 1000},
		{name: "ejabberd", open: onHost("ejabberd", nil), crowd: 1000},
		{name: "limit", limit: "limit", open: onSocket(limitRooms), crowd: 1000},
		{name: "Allium", limit: "limit", open: onSocket(alliumRooms), crowd: 1000, form: alliumNoArchive},
		{name: "Allium, archive", limit: "limit", open: onSocket(alliumRooms), crowd: 1000, form: alliumArchive},
		{name: "limit/Prosody", limit: "limit/Prosody", open: onHost("prosody", limitRooms), crowd: 300},
		{name: "Allium/Prosody", limit: "limit/Prosody", open: onHost("prosody", alliumRooms), crowd: 300, form: alliumNoArchive},
		{name: "limit/ejabberd", limit: "limit/ejabberd", open: onHost("ejabberd", limitRooms), crowd: 300},
		{name: "Allium/ejabberd", limit: "limit/ejabberd", open: onHost("ejabberd", alliumRooms), crowd: 300, form: alliumNoArchive},
	}
}

// settle is for what is done behind the last that comes, such as collecting garbage.
func settle() { time.Sleep(2500 * time.Millisecond) }

// roomsStart measures the time from the start of a service until it answers, and the
// memory that it then has. (A host is looked at every 10 ms, until it has started.)
func roomsStart(b *testing.B) {
	t := newRoomTable("a service without a room")
	for _, s := range roomServices() {
		if s.limit != "" && s.limit != "limit" {
			continue // with a host between, it would be the host's
		}
		for range 3 {
			began := time.Now()
			v := s.open(b)
			t.add(s, "start to first answer, ms", ms(time.Since(began)))
			if s.venue != nil {
				s.venue.close()
			}
			s.venue = v
		}
		settle()
		t.add(s, "memory, MiB", mebi(memory(b, s.venue.service)))
		s.venue.close()
	}
	t.print(b)
}

// roomsCrowd lets people join one room, and talk in it.
func roomsCrowd(b *testing.B) {
	t := newRoomTable("one room of 1000; with a host between, of 300")
	services := openAll(b)
	for _, s := range services {
		s.venue.live(1, s.crowd)
		t.addCPU(s, "a presence of joins", s.crowd*s.crowd, s.measure(b, func() { s.venue.create(b, 1); s.venue.fill(b) }))
	}
	inTurns(b, t, services, 20, "copies a second", func(s *roomService) int { return s.crowd })
	for _, s := range services {
		if !s.venue.behindHost() {
			t.add(s, "memory, peak, MiB", mebi(peakMemory(b, s.venue.service)))
		}
	}
	t.print(b)
}

// roomsMany lets people join many small rooms, and talk in all.
func roomsMany(b *testing.B) {
	const rooms, size = 2000, 5
	const first = 20 // rooms, after which the code that they need is in memory: that is no room's own cost
	t := newRoomTable(fmt.Sprintf("%d rooms of %d", rooms, size))
	services := openAll(b)
	for _, s := range services {
		s.venue.live(rooms, size)
		if s.venue.behindHost() {
			s.venue.create(b, rooms)
			s.venue.fill(b)
			continue
		}
		s.venue.create(b, first)
		s.venue.fill(b)
		s.venue.talk(b, first*10)
		settle()
		empty := memory(b, s.venue.service)
		grown := func(f func()) float64 {
			f()
			settle()
			return kibi(memory(b, s.venue.service) - empty)
		}
		created := grown(func() { s.venue.create(b, rooms) })
		occupant := (grown(func() { s.venue.fill(b) }) - created) / ((rooms - first) * (size - 1))
		room := grown(func() { s.venue.talk(b, rooms*10) }) / (rooms - first)
		t.add(s, "memory, KiB: a room after 10 messages", room)
		t.add(s, "memory, KiB: each occupant of it", occupant)
		t.add(s, "memory, KiB: the room but for them", room-size*occupant)
	}
	inTurns(b, t, services, rooms, "messages a second", func(*roomService) int { return 1 })
	t.print(b)
}

// openAll starts all services.
func openAll(b *testing.B) []*roomService {
	services := roomServices()
	for _, s := range services {
		s.venue = s.open(b)
		s.venue.form = s.form
	}
	settle()
	return services
}

// inTurns measures messages in short rounds, so that all see the same machine, and a
// service the same as its limit, which is next to it. The rounds of each service are about
// as long. The rate counts a message as so many.
func inTurns(b *testing.B, t *roomTable, services []*roomService, trial int, rate string, as func(*roomService) int) {
	counts := map[*roomService]int{}
	for _, s := range services {
		took := s.measure(b, func() { s.venue.talk(b, trial) })
		counts[s] = max(1, int(float64(trial)*0.3/took.seconds))
	}
	for i := range 9 {
		for k := range services {
			s := services[(i+k)%len(services)]
			took := s.measure(b, func() { s.venue.talk(b, counts[s]) })
			t.addCPU(s, "a copy", counts[s]*s.venue.size, took)
			t.add(s, rate, float64(counts[s]*as(s))/took.seconds)
		}
	}
	settle() // for what comes that should not
	for _, s := range services {
		s.venue.wait(b, "nothing more", func(deliveryCounts) bool { return true })
	}
}

// roomsUse is what something took.
type roomsUse struct{ service, host, seconds float64 } // CPU seconds, and time

// measure tells what f takes.
func (s *roomService) measure(b *testing.B, f func()) roomsUse {
	cpu := func() (service, host float64) {
		service = processCPU(b, s.venue.service)
		if s.venue.behindHost() {
			host = processCPU(b, s.venue.host)
		}
		return service, host
	}
	service, host := cpu()
	began := time.Now()
	f()
	took := time.Since(began).Seconds()
	service2, host2 := cpu()
	require.Positive(b, service2-service)
	return roomsUse{service2 - service, host2 - host, took}
}
