package onionroute

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const (
	maxMasks = 50_000          // of all users and peers; the one that was not used for longest goes
	maxOwn   = 1000            // of one user, of whom the one that was not used for longest goes
	maxOpen  = 200             // addresses at one peer that one session is kept count of
	maskLife = 5 * time.Minute // after the session has become unavailable
)

// masks are the addresses that stand for others towards one peer each: users with
// a random resource in the place of their own, and the gateway with a random resource in
// the place of the host. They are kept in the spool, and safe for concurrent use.
type masks struct {
	mu      sync.Mutex
	lru     *simplelru.LRU[maskKey, *mask]
	byShown map[maskKey]*mask
	byUser  map[string]*simplelru.LRU[maskKey, struct{}] // bare address →
	spool   *spool                                       // in which they are kept; nil: nowhere
}

// A maskKey is a host-side address, as the host knows it or as it is shown, and the
// peer's onion service.
type maskKey struct{ address, base string }

type mask struct {
	real, shown jid.JID
	open        map[string]bool // peer's addresses that were told it is available
	ends        time.Time       // when it is forgotten; zero while there is no reason
}

func newMasks() *masks {
	m := &masks{byShown: map[maskKey]*mask{}, byUser: map[string]*simplelru.LRU[maskKey, struct{}]{}}
	m.lru, _ = simplelru.NewLRU(maxMasks, func(k maskKey, old *mask) { // fails for no size alone
		delete(m.byShown, maskKey{old.shown.String(), k.base})
		user := old.real.Bare().String()
		if m.byUser[user].Remove(k); m.byUser[user].Len() == 0 {
			delete(m.byUser, user)
		}
		m.keepGone(k)
	})
	return m
}

// add takes up a mask, in the place of another of the user who has too many. m.mu is held.
func (m *masks) add(k maskKey, made *mask) {
	user := made.real.Bare().String()
	if own := m.byUser[user]; own != nil && own.Len() >= maxOwn {
		oldest, _, _ := own.GetOldest()
		m.lru.Remove(oldest)
	}
	if m.byUser[user] == nil {
		m.byUser[user], _ = simplelru.NewLRU[maskKey, struct{}](maxOwn, nil) // fails for no size alone
	}
	m.byUser[user].Add(k, struct{}{})
	m.byShown[maskKey{made.shown.String(), k.base}] = made
	m.lru.Add(k, made)
}

// find gives a mask that there is, and takes note that it was used. m.mu is held.
func (m *masks) find(k maskKey) (got *mask, ok bool) {
	if got, ok = m.lru.Get(k); ok {
		m.byUser[got.real.Bare().String()].Get(k)
	}
	return got, ok
}

// show gives what stands for an address towards the peer: as with a random resource.
func (m *masks) show(real, as jid.JID, base string) jid.JID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(real, as, base).shown
}

// known gives what stands for an address towards the peer if that knows it already, and
// else the bare address. It is not taken for being used.
func (m *masks) known(real, as jid.JID, base string) jid.JID {
	m.mu.Lock()
	defer m.mu.Unlock()
	if got, ok := m.lru.Peek(maskKey{real.String(), base}); ok && !got.over(time.Now()) {
		return got.shown
	}
	return as.Bare()
}

// over tells if a mask is no longer one.
func (k *mask) over(now time.Time) bool { return !k.ends.IsZero() && !now.Before(k.ends) }

func (m *masks) get(real, as jid.JID, base string) *mask {
	k := maskKey{real.String(), base}
	now := time.Now()
	old, ok := m.find(k)
	switch {
	case ok && old.ends.IsZero():
		return old
	case ok && !old.over(now):
		old.ends = now.Add(maskLife)
		return old
	case ok:
		m.lru.Remove(k)
	}
	shown, err := as.WithResource(rand.Text())
	if err != nil {
		return &mask{real: real, shown: as.Bare()} // the address cannot have a resource
	}
	made := &mask{real: real, shown: shown}
	m.add(k, made)
	m.keepNew(k, made)
	return made
}

// real gives the address that a shown one stands for.
func (m *masks) real(shown jid.JID, base string) (jid.JID, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.byShown[maskKey{shown.String(), base}]
	if got == nil || got.over(time.Now()) {
		return jid.JID{}, false
	}
	m.find(maskKey{got.real.String(), base}) // it was used
	return got.real, true
}

// presence takes note of a session that becomes available or unavailable to somebody at
// the peer. When it is so to nobody any more, it can be forgotten soon.
func (m *masks) presence(real jid.JID, base string, to jid.JID, typ string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, other := m.get(real, real, base), to.String()
	key := maskKey{real.String(), base}
	switch stanza.PresenceType(typ) {
	case stanza.AvailablePresence:
		if k.open == nil {
			k.open = map[string]bool{}
		}
		if len(k.open) < maxOpen && !k.open[other] {
			k.open[other] = true
			m.keepOpen(key, other)
		}
		if !k.ends.IsZero() {
			k.ends = time.Time{}
			m.keepEnd(key, k.ends)
		}
	case stanza.UnavailablePresence:
		if k.open[other] {
			delete(k.open, other)
			m.keepClosed(key, other)
		}
		if len(k.open) == 0 {
			k.ends = time.Now().Add(maskLife)
			m.keepEnd(key, k.ends)
		}
	}
}
