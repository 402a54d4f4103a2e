package muc

import (
	"maps"
	"sync"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Limits bound what rooms cost. Zero means the default; a rate below 0 means none.
type Limits struct {
	Occupants    int // in a room; default 5000
	RoomsPerUser int // rooms that one user made; default 50
	Rooms        int // in all; default 100,000
	RoomRate     int // that one user makes, per second over ten seconds; default 20
	MessageRate  int // of one client, and to those outside of the rooms that one user made, the same; default 10
	PresenceRate int // the same for changes of presence, and for registrations of one user; default 5
	VoiceRate    int // requests for voice in a room; default 1
	Message      int // octets of a message; default 64 KiB
	Presence     int // octets of what a client puts into its presence; default 16 KiB
	Subject      int // octets of a subject or a reason; default 4096
	Nick         int // characters of a nickname; default 128
	Name         int // characters of a room's name; default 128
	VCard        int // octets of a room's vCard; default 256 KiB
	History      int // messages for who enters; default 100
	Waiting      int // stanzas that wait for a room, a fifth of them from insiders only; default 5000
	Backlog      int // octets of memory that these take, likewise, unless it is a single one; default 16 MiB

	KeepDays   int  // days that archives go back; default 365
	KeepNumber int  // messages in the archive of a room; default 100,000
	NoArchive  bool // rooms keep no archive, whatever they say
}

func (l Limits) orDefault() Limits {
	def := func(v *int, d int) {
		switch {
		case *v == 0:
			*v = d
		case *v < 0:
			*v = 0
		}
	}
	def(&l.Occupants, 5000)
	def(&l.RoomsPerUser, 50)
	def(&l.Rooms, 100_000)
	def(&l.RoomRate, 20)
	def(&l.MessageRate, 10)
	def(&l.PresenceRate, 5)
	def(&l.VoiceRate, 1)
	def(&l.Message, 64<<10)
	def(&l.Presence, 16<<10)
	def(&l.Subject, 4096)
	def(&l.Nick, 128)
	def(&l.Name, 128)
	def(&l.VCard, 256<<10)
	def(&l.History, 100)
	def(&l.Waiting, 5000)
	def(&l.Backlog, 16<<20)
	def(&l.KeepDays, 365)
	def(&l.KeepNumber, 100_000)
	return l
}

// The times of a service.
var (
	tickEvery  = time.Minute
	sleepAfter = 5 * time.Minute  // an empty room is put out of memory
	coolAfter  = 5 * time.Minute  // without anybody entering, a history is put out of memory
	pingAfter  = 15 * time.Minute // a silent client is asked if it is there (XEP-0045 §18.1.2)
	// A temporary room that was there before a crash waits this long for its occupants.
	returnWithin = 10 * time.Minute
)

// longAgo tells if something was so long ago, in Unix seconds. What is still to come was before the
// clock was put back, and is long ago too.
func longAgo(at int64, now time.Time, after time.Duration) bool {
	return at <= now.Add(-after).Unix() || at > now.Unix()
}

// rateLimit is a token bucket of burstSeconds.
type rateLimit struct {
	tokens float32
	last   int64 // Unix nanoseconds
}

// allow takes a token. A rate of 0 is none.
func (l *rateLimit) allow(perSecond int, now time.Time) bool {
	if perSecond <= 0 {
		return true
	}
	n := now.UnixNano()
	burst := float32(perSecond) * burstSeconds
	if l.last == 0 {
		l.tokens = burst
	} else if n > l.last {
		l.tokens = min(burst, l.tokens+float32(n-l.last)/1e9*float32(perSecond))
	}
	l.last = n
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// charge takes tokens for what allow let through and turned out to be much. The bucket may
// be in debt then, of no more than it holds.
func (l *rateLimit) charge(tokens float32, perSecond int) {
	l.tokens = max(l.tokens-tokens, -float32(perSecond)*burstSeconds)
}

// cost is the tokens that an answer of many copies is worth: one for each hundred, or for
// each 64 KiB.
func cost(copies []component.Copy) float32 {
	size := 0
	for _, c := range copies {
		size += c.Draft.Size()
	}
	return max(float32(len(copies))/100, float32(size)/(64<<10))
}

const burstSeconds = 10

// buckets are what users may do in all rooms together. They are safe for concurrent use.
type buckets struct {
	mu    sync.Mutex
	of    map[string]rateLimit // of who did something of late, by bare JID
	swept int64                // when they were last looked through, Unix nanoseconds
}

// allow takes a token of somebody's.
func (b *buckets) allow(bare string, perSecond int, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.swept = forgetFull(b.of, b.swept, now)
	if b.of == nil {
		b.of = map[string]rateLimit{}
	}
	l := b.of[bare]
	ok := l.allow(perSecond, now)
	b.of[bare] = l
	return ok
}

// forgetFull takes out from time to time the buckets of those who may do as much as others
// again, even if they were in debt. It returns when it last did, in Unix nanoseconds.
func forgetFull(buckets map[string]rateLimit, last int64, now time.Time) int64 {
	const full = 2 * burstSeconds * time.Second
	before, after := now.Add(-full).UnixNano(), now.Add(full).UnixNano()
	old := func(at int64) bool { return at < before || at > after } // see longAgo; others may be a little ahead
	if !old(last) {
		return last
	}
	maps.DeleteFunc(buckets, func(_ string, l rateLimit) bool { return old(l.last) })
	return now.UnixNano()
}

var errRate = fail(stanza.Wait, stanza.PolicyViolation, "You are too fast. Wait a little.")
