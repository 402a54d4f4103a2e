package onionroute

import (
	"errors"
	"log/slog"

	lru "github.com/hashicorp/golang-lru/v2"
)

// maxOutages is of how many peers at one time is known what the log has told.
const maxOutages = 1000

// outages are what the log has told of peers, by their names. That stays told until it is
// over, however often the peer is tried, and forgotten and made anew meanwhile. It is safe
// for concurrent use.
type outages struct{ told *lru.Cache[string, string] }

func newOutages() *outages {
	told, _ := lru.New[string, string](maxOutages) // fails for no size alone
	return &outages{told}
}

// news is the level at which the log tells what is wrong: info, and debug if it has told
// that last.
func (o *outages) news(key, what string) slog.Level {
	last, told := o.told.Get(key)
	if told && last == what {
		return slog.LevelDebug
	}
	o.told.Add(key, what)
	return slog.LevelInfo
}

// over forgets what the log has told, and tells if it has.
func (o *outages) over(key string) bool { return o.told.Remove(key) }

// tellDown logs, once for each outage, that the peer cannot be reached. That Tor is not up
// is no news of the peer's. Strangers can name as many peers as they like, of which nobody
// here has heard: these are for the log at debug.
func (p *peer) tellDown(err error) {
	p.mu.Lock()
	stranger := len(p.queue) == 0 && len(p.verifies) > 0
	p.mu.Unlock()
	what, level := "peer cannot be reached", slog.LevelDebug
	if isRefusal(err) {
		what = "peer does not accept contact with this server: what is for it comes back to its sender until its administrator allows it"
	}
	if !stranger && !errors.Is(err, ErrTorDown) {
		level = p.g.outages.news(p.onion, what)
	}
	tell(p.log, level, what, err)
}

// reached notes that the peer has answered, and takes us.
func (p *peer) reached() {
	p.weigh(nil)
	if p.g.outages.over(p.onion) {
		p.log.Info("peer is reached again")
	}
}
