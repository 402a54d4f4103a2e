package onionroute

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// pending are requests that wait for their answers, of those who asked. Of each who has too
// many, the oldest goes, so that nobody pushes out those of others; of all, when there are
// too many. It is safe for concurrent use.
type pending[K comparable, V any] struct {
	own int

	mu  sync.Mutex
	all *simplelru.LRU[K, share[V]]
	of  map[string]*simplelru.LRU[K, struct{}] // by who has asked
}

type share[V any] struct {
	of    string
	value V
}

const (
	maxRequests = 50_000 // of all
	ownRequests = 1000   // of one who asks
)

func newPending[K comparable, V any](all, own int) *pending[K, V] {
	p := &pending[K, V]{own: own, of: map[string]*simplelru.LRU[K, struct{}]{}}
	p.all, _ = simplelru.NewLRU(all, func(k K, old share[V]) { // fails for no size alone
		if p.of[old.of].Remove(k); p.of[old.of].Len() == 0 {
			delete(p.of, old.of)
		}
	})
	return p
}

// add takes up a request, in the place of the same if there is one.
func (p *pending[K, V]) add(of string, k K, value V) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all.Remove(k)
	if own := p.of[of]; own != nil && own.Len() >= p.own {
		oldest, _, _ := own.GetOldest()
		p.all.Remove(oldest)
	}
	if p.of[of] == nil {
		p.of[of], _ = simplelru.NewLRU[K, struct{}](p.own, nil) // fails for no size alone
	}
	p.of[of].Add(k, struct{}{})
	p.all.Add(k, share[V]{of, value})
}

// take gives a request that there is, and forgets it, if that is the one.
func (p *pending[K, V]) take(k K, is func(V) bool) (value V, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	got, ok := p.all.Peek(k)
	if !ok || !is(got.value) {
		return value, false
	}
	p.all.Remove(k)
	return got.value, true
}

// has tells if there is a request.
func (p *pending[K, V]) has(k K) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.Contains(k)
}
