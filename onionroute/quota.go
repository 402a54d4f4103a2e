package onionroute

import "sync"

// A quota counts the cost of what waits: in all, and of each user, so that no one fills
// the memory and the disk of all others.
type quota struct {
	mu    sync.Mutex
	total int
	users map[string]int

	answers int // to strangers
}

// takeAnswer counts an answer to a stranger, if it is within the limit of them all.
func (q *quota) takeAnswer(it *item, limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	it.toStranger = q.answers+it.cost() <= limit
	if it.toStranger {
		q.answers += it.cost()
	}
	return it.toStranger
}

// giveAnswer takes an answer out of the count, if it is in that.
func (q *quota) giveAnswer(it *item) {
	if !it.toStranger {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.answers -= it.cost()
	it.toStranger = false
}

// take counts an item, if it is within the limits or has to be.
func (q *quota) take(it *item, total, user int, must bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, u := it.cost(), it.user()
	if !must && (q.total+n > total || q.users[u]+n > user) {
		return false
	}
	q.total += n
	q.users[u] += n
	return true
}

// give takes an item out of the count.
func (q *quota) give(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := it.user()
	q.total -= it.cost()
	if q.users[u] -= it.cost(); q.users[u] == 0 {
		delete(q.users, u)
	}
}

// waits is how much is counted.
func (q *quota) waits() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}
