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
	maxOpen  = 200             // addresses at one peer that one session is kept count of
	maskLife = 5 * time.Minute // after the session has become unavailable
)

// masks are the addresses that stand for others towards one peer each: local users with
// a random resource in the place of their own, and the gateway with a random resource in
// the place of the host. They are kept in the spool, and safe for concurrent use.
type masks struct {
	mu      sync.Mutex
	lru     *simplelru.LRU[maskKey, *mask]
	byShown map[maskKey]*mask
	spool   *spool // in which they are kept; nil: nowhere
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
	m := &masks{byShown: map[maskKey]*mask{}}
	m.lru, _ = simplelru.NewLRU(maxMasks, func(k maskKey, old *mask) { // fails for no size alone
		delete(m.byShown, maskKey{old.shown.String(), k.base})
		m.keepGone(k)
	})
	return m
}

// show gives what stands for an address towards the peer: as with a random resource.
func (m *masks) show(real, as jid.JID, base string) jid.JID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(real, as, base).shown
}

func (m *masks) get(real, as jid.JID, base string) *mask {
	k := maskKey{real.String(), base}
	now := time.Now()
	old, ok := m.lru.Get(k)
	switch {
	case ok && old.ends.IsZero():
		return old
	case ok && now.Before(old.ends):
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
	m.lru.Add(k, made)
	m.byShown[maskKey{shown.String(), base}] = made
	m.keepNew(k, made)
	return made
}

// real gives the address that a shown one stands for.
func (m *masks) real(shown jid.JID, base string) (jid.JID, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.byShown[maskKey{shown.String(), base}]
	if got == nil || !got.ends.IsZero() && time.Now().After(got.ends) {
		return jid.JID{}, false
	}
	m.lru.Get(maskKey{got.real.String(), base}) // it was used
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
