package omemo

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// Options say what a Directory serves, and how long and how much it keeps. Addresses are
// as the host sees them.
type Options struct {
	// Address is what the directory asks from in its own name, and AtPeers the same where
	// a peer is asked; default Address. The answers must come by the ways that it stands on.
	Address, AtPeers jid.JID
	// Local tells if an address is at a domain of the host.
	Local func(jid.JID) bool
	// Related tells if two bare addresses may know each other's keys though one is of a
	// stranger, who is neither at the host nor at a peer: they are in the same room. nil:
	// no stranger gets or gives any.
	Related func(a, b jid.JID) bool
	// Canonical is the one form of an address that has several. nil: none has.
	Canonical func(jid.JID) jid.JID

	Patience time.Duration // how long to wait for an answer if one is kept; default 10 s
	Fresh    time.Duration // what is older is fetched again when there is an occasion; default 24 h
	MaxAge   time.Duration // what is older is not served; default 30 days
	MaxUsers int           // whose keys are kept; default 20,000
	MaxBytes int64         // of all that is kept; default 256 MiB

	Log *slog.Logger // default slog.Default()
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Patience, 10 * time.Second}, {&o.Fresh, 24 * time.Hour}, {&o.MaxAge, 30 * 24 * time.Hour}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.MaxUsers == 0 {
		o.MaxUsers = 20_000
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	if o.AtPeers.Equal(jid.JID{}) {
		o.AtPeers = o.Address
	}
	if o.Canonical == nil {
		o.Canonical = func(j jid.JID) jid.JID { return j }
	}
	if o.Related == nil {
		o.Related = func(_, _ jid.JID) bool { return false }
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

// A side is one of the two that a Directory stands between.
type side uint8

const (
	hostSide side = iota // local users, and strangers
	peerSide
)

func (s side) other() side { return peerSide - s }

// A Directory stands on both ways between the host and a Handler that leads to peers, and
// sees to what goes by there of OMEMO: what is wrong goes no further, and what is right is
// kept, to be there when its owner's server is not. It is safe for concurrent use.
type Directory struct {
	o     Options
	file  string
	store *store
	ways  [2]func(context.Context, *component.Stanza) error // to each side

	settle  time.Duration // how long after a list bundles are looked for
	pause   time.Duration // how long at least until they are looked for again
	expire  time.Duration // how long an answer is waited for at all
	told    sync.Once     // that the host refuses what there is
	doubt   sync.Once     // that it refuses what there may be
	limited rate.Sometimes
	renewed *lru.Cache[string, renewal]
	silent  *lru.Cache[string, time.Time] // owners of whom nothing was heard for too long

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	asked  map[string]*question // by the id that they went on with
	counts map[string]int       // of them, by asker
	sides  [2]int               // of them, by the side of the owner
	rights map[string]privilege // by domain of the host

	endRecheck context.CancelFunc
}

// OpenDirectory makes a Directory that keeps what it knows in that SQLite file, which is
// made if there is none. Handler and Sender must be called before anything goes by.
func OpenDirectory(file string, o Options) (*Directory, error) {
	o.setDefaults()
	renewed, err := lru.NewWithEvict(o.MaxUsers, func(_ string, r renewal) { r.timer.Stop() })
	if err != nil {
		return nil, fmt.Errorf("omemo: %w", err)
	}
	silent, err := lru.New[string, time.Time](o.MaxUsers)
	if err != nil {
		return nil, fmt.Errorf("omemo: %w", err)
	}
	st, err := openStore(file, &o)
	if err != nil {
		return nil, err
	}
	d := &Directory{o: o, file: file, store: st, settle: 5 * time.Second, pause: renewPause, expire: 2 * time.Minute, renewed: renewed, silent: silent,
		limited: rate.Sometimes{First: 3, Interval: time.Minute},
		asked:   map[string]*question{}, counts: map[string]int{}, rights: map[string]privilege{}, endRecheck: func() {}}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d, nil
}

// Handler wraps the way to peers: the Handler that the Router has for them.
func (d *Directory) Handler(h component.Handler) component.Handler {
	d.ways[peerSide] = h.HandleStanza
	return component.HandlerFunc(func(ctx context.Context, s *component.Stanza) error { return d.take(ctx, hostSide, s) })
}

// Sender wraps the way to the host: the Sender that the Handler of peers has.
func (d *Directory) Sender(s component.Sender) component.Sender {
	d.ways[hostSide] = s.Send
	return sender(func(ctx context.Context, s *component.Stanza) error { return d.take(ctx, peerSide, s) })
}

type sender func(context.Context, *component.Stanza) error

func (f sender) Send(ctx context.Context, s *component.Stanza) error { return f(ctx, s) }

// Close writes what is to be kept, and closes the file. Nothing may come any more.
func (d *Directory) Close() error {
	d.stop()
	d.mu.Lock()
	d.closed = true
	for _, q := range d.asked {
		if q.timer != nil {
			q.timer.Stop()
		}
	}
	d.renewed.Purge()
	d.mu.Unlock()
	err := d.store.close()
	d.wg.Wait()
	return err
}

// take takes a stanza that came from that side. As it owns the stanza, it also ends its
// journey if it goes no further.
func (d *Directory) take(ctx context.Context, from side, s *component.Stanza) error {
	switch {
	case s.Kind == component.Message:
		return d.message(ctx, from, s)
	case s.IsRequest() && s.Payload() != nil && s.To.Localpart() != "":
		return d.request(ctx, from, s)
	case s.Kind == component.IQ && !s.IsRequest():
		return d.answer(ctx, from, s)
	case s.Kind == component.Presence:
		d.presence(from, s)
	}
	return d.pass(ctx, from, s)
}

// pass sends a stanza on.
func (d *Directory) pass(ctx context.Context, from side, s *component.Stanza) error {
	return d.ways[from.other()](ctx, s)
}

// end ends the journey of a stanza.
func end(s *component.Stanza) {
	if s.Taken != nil {
		s.Taken()
	}
}

// later sends a stanza that was made here, unless the directory is being closed.
func (d *Directory) later(to side, s *component.Stanza) {
	if s == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.wg.Go(func() {
		if err := d.ways[to](d.ctx, s); err != nil {
			d.o.Log.Debug("an answer about keys could not be sent", "error", err)
		}
	})
}

// refused tells the admin that somebody published what is wrong, but not who.
func (d *Directory) refused(err error) {
	d.limited.Do(func() { d.o.Log.Warn("somebody's OMEMO keys are wrong, and were refused", "reason", err) })
}

func newID() string { return rand.Text() }
