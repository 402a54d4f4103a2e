package component

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// The times of a Link.
var (
	connectTimeout = 15 * time.Second     // connect and handshake
	writeTimeout   = 30 * time.Second     // one batch
	probeAfter     = 60 * time.Second     // of silence from the host, it is pinged
	answerTimeout  = 30 * time.Second     // without an answer to a ping, the connection is dead
	tick           = 5 * time.Second      // how often these two are looked at
	writeRest      = 3 * time.Millisecond // between two writes: the host reads as often as is written
	downGrace      = 30 * time.Second     // a host restart; what is sent meanwhile waits
	closeTimeout   = 3 * time.Second      // for the last confirmation, and for the closing tag
	retryMin       = 500 * time.Millisecond
	retryMax       = 10 * time.Second // it costs nothing, and users here get errors meanwhile
)

const (
	writeEnough = 8 << 10 // octets; these are written at once
	pingEvery   = 32      // stanzas that somebody waits for: as many can be in doubt
	pingRate    = 50      // pings a second behind fewer, since one costs the host as much as a message
	pingBurst   = 10
	maxArrivals = 64 // stanzas that wait to be handled
)

// LinkConfig says where the host is and what is attached to it.
type LinkConfig struct {
	Server string // host:port of the host's component listener
	Domain string // the component's domain
	Secret string
	// PingTo is a domain of the host. Its answers to pings (XEP-0199), or its errors, tell
	// what the host has taken. Without it what is written counts as taken.
	PingTo string

	Limits      Limits        // of what the host sends
	MaxStanza   int           // octets; what is longer is refused. Default 500,000: Prosody's limit is 512 KiB
	Buffer      int           // octets that wait to be written or confirmed; default 4 MiB
	SendTimeout time.Duration // how long Send waits for room, with no Taken; default 10 s

	// OnUp is called each time when the link comes up; it must not block. nil: nobody asks.
	OnUp func()

	Log   *slog.Logger // default slog.Default()
	Label string       // what the domain is called in the log; default "domain"
}

// A Link is one connection to the host for one domain (XEP-0114), kept up by Run.
type Link struct {
	c    LinkConfig
	h    Handler
	log  *slog.Logger
	addr jid.JID
	out  *outbox
	in   chan arrival // what came from the host

	foreign atomic.Bool // PingTo is not the host's

	mu        sync.Mutex
	up        chan struct{} // closed while the link is up
	isUp      bool
	downSince time.Time
	err       error              // why it is down
	waits     context.Context    // of who handles a stanza; nil: there is none yet
	hurry     context.CancelFunc // ends it
	full      bool               // too many wait to be handled

	heard atomic.Int64 // when bytes last came from the host, Unix nanoseconds
}

// NewLink makes a Link that gives what comes from the host to h.
func NewLink(c LinkConfig, h Handler) (*Link, error) {
	addr, err := jid.New("", c.Domain, "")
	if err != nil {
		return nil, fmt.Errorf("component: domain %q: %w", c.Domain, err)
	}
	if c.MaxStanza == 0 {
		c.MaxStanza = 500_000
	}
	if c.Buffer == 0 {
		c.Buffer = 4 << 20
	}
	if c.SendTimeout == 0 {
		c.SendTimeout = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Label == "" {
		c.Label = "domain"
	}
	var ping func(id string) []byte
	if c.PingTo != "" {
		to, err := jid.New("", c.PingTo, "")
		if err != nil {
			return nil, fmt.Errorf("component: domain %q: %w", c.PingTo, err)
		}
		ping = func(id string) []byte {
			s := &Stanza{Kind: IQ, Type: string(stanza.GetIQ), ID: id, To: to, From: addr}
			return s.Add(NewElement(NSPing, "ping")).AppendXML(nil, NSAccept)
		}
	}
	out := newOutbox(c.Buffer, ping)
	return &Link{c: c, h: h, addr: addr, log: c.Log.With(c.Label, c.Domain), out: out,
		in: make(chan arrival, maxArrivals), up: make(chan struct{}), downSince: time.Now()}, nil
}

// Domain is the domain that the link is for.
func (l *Link) Domain() string { return l.c.Domain }

// Up is closed while the link is up. After the link was down it is another channel.
func (l *Link) Up() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// Err is nil while the link is up, and otherwise why it is not.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isUp {
		return nil
	}
	if l.err == nil {
		return errors.New("component: not connected yet")
	}
	return l.err
}

// Run connects to the host and stays connected, until ctx is done; then it writes
// what was sent before, waits up to 3 s for the host to confirm it, closes the stream
// and returns nil. It is called once.
func (l *Link) Run(ctx context.Context) error {
	handled := make(chan struct{})
	go func() {
		defer close(handled)
		for a := range l.in {
			l.handle(l.waiting(ctx), a)
		}
	}()
	defer func() {
		l.mu.Lock()
		l.downSince = time.Time{} // nobody waits for room any more
		l.mu.Unlock()
		close(l.in)
		<-handled
	}()
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval, retry.RandomizationFactor = retryMin, retryMax, 0.3
	var told string
	for {
		conn, err := Connect(ctx, l.c.Server, l.c.Domain, l.c.Secret)
		if err == nil {
			l.setUp()
			l.log.Info("attached to the host", "server", l.c.Server)
			began := time.Now()
			err = l.serve(ctx, conn)
			if ctx.Err() != nil {
				l.setDown(ctx.Err())
				return nil
			}
			if time.Since(began) > retryMax { // and not one that somebody else takes away again and again
				retry.Reset()
				told = ""
			}
		}
		l.setDown(err)
		if ctx.Err() != nil {
			return nil
		}
		wait := retry.NextBackOff()
		// The same trouble is told once, not at every try.
		if text := err.Error(); text != told {
			told = text
			l.log.Warn("not attached to the host, will keep trying", "server", l.c.Server, "error", err)
		} else {
			l.log.Debug("still not attached to the host", "error", err, "retry", wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Send writes the stanza to the host, by a buffer, which also holds what the host has
// not confirmed yet. Messages and presence that a lost connection leaves unconfirmed are
// written again on the next one, before all else; they can reach the host twice. Requests,
// their answers, probes, and presence that enters a room can get lost with a connection.
//
// A stanza without Taken waits for room in the buffer up to SendTimeout, and is refused
// when the host has been away for longer than a restart takes (30 s). One with Taken
// waits for as long as ctx lasts, and is buffered however long the host is away: its
// sender would rather hold back the one it comes from. Taken can be called before Send
// returns.
//
// The error is remote-server-timeout when the host is away or does not take enough,
// policy-violation when the stanza is longer than the host takes, and bad-request
// when it lacks an address (the host would close the stream).
func (l *Link) Send(ctx context.Context, s *Stanza) error {
	var none jid.JID
	if s.To.Equal(none) || s.From.Equal(none) {
		return NewError(stanza.Modify, stanza.BadRequest, "")
	}
	timeout := time.Duration(0)
	if s.Taken == nil {
		timeout = l.c.SendTimeout
		if l.away() {
			return ErrHostAway
		}
	}
	xml := s.AppendXML(make([]byte, 0, 1024), NSAccept) // which is enough for most
	if len(xml) > l.c.MaxStanza {
		return errTooLong
	}
	if !l.out.put(ctx, xml, newEntry(s), timeout) {
		return ErrHostAway
	}
	return nil
}

// ErrHostAway is remote-server-timeout of the host itself.
var ErrHostAway = fmt.Errorf("component: the host is away, or does not take enough: %w", NewError(stanza.Wait, stanza.RemoteServerTimeout, ""))

var errTooLong = NewError(stanza.Modify, stanza.PolicyViolation, "The stanza is too long.")

// away tells if the host has been away for longer than a restart takes.
func (l *Link) away() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.isUp && time.Since(l.downSince) > downGrace
}

// notePing tells, once, if the host looks for PingTo elsewhere: then it is not one of its
// domains, and neither its users nor their server are where the configuration says.
func (l *Link) notePing(s *Stanza) {
	if s.Type != "error" || l.foreign.Load() {
		return
	}
	switch c := s.StanzaError().Condition; c {
	case stanza.RemoteServerNotFound, stanza.RemoteServerTimeout, stanza.NotAllowed, stanza.Forbidden:
		l.foreign.Store(true)
		l.log.Error("the host does not have the first of host.domains: what is for its users would be sent into the open network; correct host.domains",
			"domain", l.c.PingTo, "answer", c)
	}
}

func (l *Link) setUp() {
	l.mu.Lock()
	l.isUp, l.err = true, nil
	close(l.up)
	l.mu.Unlock()
	if l.c.OnUp != nil {
		l.c.OnUp()
	}
}

func (l *Link) setDown(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isUp {
		l.isUp, l.downSince, l.up = false, time.Now(), make(chan struct{})
	}
	l.err = err
}
