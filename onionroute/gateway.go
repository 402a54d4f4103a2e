package onionroute

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const (
	nsGateway = "jabber:iq:gateway" // XEP-0100 §6
	nsAllium  = "urn:xmpp:allium:0" // of commands that are ours
)

// Config says what a Gateway serves.
type Config struct {
	Domain   string            // the gateway's component domain
	Hosts    []string          // host.domains: who may send through it; the first is primary
	Services map[string]string // domain of a service here → its label before the onion name
	Identity *Identity
	Native   bool // the host has the identity's name, or names below it, among Hosts
	Aliases  []Alias
	Peers    []Peer // what is special about single peers
	Listed   bool   // only peers in Peers are wanted, and those behind Aliases
	// Wanted is called with the domain of somebody whose address a user of a native
	// host has asked the gateway for; nil if nobody needs to know.
	Wanted func(domain string)
	// Attached tells if the host can answer to a domain of a peer; nil: to all.
	Attached func(domain string) bool
	// Stranger tells if a request of a peer may go on to a stranger, by Allium itself, and
	// be answered; nil: none may. The stanza is as the host sees it.
	Stranger  func(*component.Stanza) bool
	SocketDir string // a folder for the Unix sockets that the onion service's ports go to
	Spool     string // the file of what waits for peers, which is made if there is none

	MaxAge     time.Duration // what waits for a peer is returned to its sender then; default 7 days
	QueueBytes int           // octets that wait for one peer, at most; default 8 MiB
	UserBytes  int           // octets that wait of one user, at most; default 4 MiB
	TotalBytes int           // octets that wait in all, at most; default 64 MiB

	StanzaRate int // stanzas a second from one peer, and from all strangers together, at most; five times that for a moment; default 1000

	// Limits of what peers send, before and after they have proved who they are.
	// Default 10,000 octets (RFC 6120 §13.12), and 256 KiB.
	Unauthenticated, Authenticated component.Limits

	Privacy Privacy // what peers may learn

	Log *slog.Logger // default slog.Default()

	bounds bounds // default defaultBounds
}

// A Gateway carries stanzas between the host's users and onion peers. It is the
// Handler of its domain; what peers send goes out by the Sender that it was made with.
type Gateway struct {
	c       Config
	m       *AddressMap
	named   map[string]bool // peers that the admin has named: if they are allowed
	dialer  Dialer
	out     component.Sender
	guard   *guard
	service *component.Service
	log     *slog.Logger
	secret  secret
	times   times
	spool   *spool
	quota   quota

	contacts *contacts
	passed   *passed
	refusals refusals
	outages  *outages

	credentials *credentials

	wg       sync.WaitGroup
	sessions context.Context // ends when the streams have
	acks     sync.WaitGroup  // of the sessions

	dialing *turns // of peers that are being connected to

	strangerRate *rate.Limiter // of stanzas from all strangers together

	loaded chan struct{} // closed when Run has read the spool
	order  atomic.Int64  // of the last item

	mu        sync.Mutex
	ctx       context.Context // of Run
	peers     map[string]*peer
	stale     map[string]bool // X.onion: peers that are forgotten; see peer.stale
	counts    map[string]int  // party → its peers; see crowd.go
	ours      int             // peers that have parties
	inbound   map[*stream]bool
	verifying map[string]int // base → verifications under way

	endRecheck context.CancelFunc // of the last Recheck
}

// NewGateway makes a Gateway that reaches peers by dialer.
func NewGateway(c Config, dialer Dialer, out component.Sender) (*Gateway, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.QueueBytes, 8<<20)
	def(&c.UserBytes, 4<<20)
	def(&c.TotalBytes, 64<<20)
	def(&c.StanzaRate, 1000)
	def(&c.Unauthenticated.Bytes, 10_000)
	def(&c.Authenticated.Bytes, 256<<10)
	if c.bounds == (bounds{}) {
		c.bounds = defaultBounds
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	m, named, err := newMap(&c)
	if err != nil {
		return nil, err
	}
	credentials, err := newCredentials(c.Identity)
	if err != nil {
		return nil, err
	}
	guard, err := newGuard(c.Privacy, m, c.Identity.secret("guard"), out, c.Log)
	if err != nil {
		return nil, err
	}
	spool, err := openSpool(c.Spool, func(err error) {
		c.Log.Error("the spool cannot be flushed to disk; what waits in it would not outlive a power failure: is the disk full, or broken?", "error", err)
	})
	if err != nil {
		return nil, err
	}
	if err := guard.masks.keep(spool); err != nil {
		spool.close()
		return nil, err
	}
	g := &Gateway{c: c, m: m, named: named, dialer: dialer, out: out, guard: guard, log: c.Log, credentials: credentials, spool: spool,
		secret: newSecret(), times: defaultTimes, passed: newPassed(), outages: newOutages(), quota: quota{users: map[string]int{}},
		dialing: newTurns(maxDialing), loaded: make(chan struct{}), peers: map[string]*peer{}, stale: map[string]bool{}, counts: map[string]int{}, inbound: map[*stream]bool{}, verifying: map[string]int{}, endRecheck: func() {}}
	g.order.Store(spool.newest)
	g.strangerRate = g.newRate()
	g.contacts = newContacts(spool, func(j jid.JID) bool { return slices.Contains(g.c.Hosts, j.Domainpart()) }, &g.c.bounds)
	if c.MaxAge > 0 {
		g.times.maxAge = c.MaxAge
	}
	g.service = component.NewService(out, component.Identity{Category: "gateway", Type: "xmpp", Name: "Onion federation"})
	g.service.Answer(stanza.GetIQ, nsGateway, "query", g.prompt)
	g.service.Answer(stanza.SetIQ, nsGateway, "query", g.prompted)
	g.service.Command(component.Command{Node: nsAllium + "#address", Name: "My onion address", May: g.allowed, Do: g.tellAddress})
	return g, nil
}

// Service is what answers at the gateway's own address. Add to it before the gateway is used.
func (g *Gateway) Service() *component.Service { return g.service }

// HandleStanza takes a stanza from the host or from a service here: to the gateway
// itself, or to somebody at a peer. It does not wait for the peer.
func (g *Gateway) HandleStanza(ctx context.Context, s *component.Stanza) error {
	if s.To.Localpart() == "" && s.To.Domainpart() == g.c.Domain {
		if g.rechecked(ctx, s) {
			return nil
		}
		return g.greet(s, g.service.HandleStanza(ctx, s))
	}
	if g.contacts.answersProbe(s) || s.To.Localpart() == "" && g.m.Aliases[s.To.Domainpart()] != "" && g.rechecked(ctx, s) {
		return nil
	}
	from, to := s.From, s.To
	err := g.toOnionSide(ctx, s)
	if err != nil {
		s.To = to
	}
	if err == nil || !isJoin(s) {
		return g.forSender(from, err)
	}
	if r := g.returned(s, err); r != nil {
		return g.out.Send(ctx, r)
	}
	return nil
}

// toOnionSide translates a stanza, and queues it for the peer. The error is for its sender.
func (g *Gateway) toOnionSide(ctx context.Context, s *component.Stanza) error {
	if !g.allowed(s.From) && !g.mayReach(s) && !g.passed.answered(s) {
		return component.NewError(stanza.Auth, stanza.Forbidden, "This gateway is for the users of its own server.")
	}
	if err := s.Check(); err != nil {
		return err
	}
	if s.Exceeds(component.Limits{}) {
		return errTooLarge()
	}
	written := s.To
	if s.To = g.m.Canonical(written); !s.To.Equal(written) && s.Kind != component.Message {
		return g.isHere(s.To) // the answer would be from there, and nobody waits for that
	}
	to, err := g.m.ToOnion(s.To)
	if err != nil {
		return g.noSuchServer(s.To)
	}
	if pass, err := g.guard.egress(ctx, s); !pass {
		return err
	}
	onion := g.m.At(to.Domainpart())
	toOnion := g.guard.toOnion(onion)
	from, err := g.guard.sender(onion)(s.From)
	if err != nil {
		return component.NewError(stanza.Modify, stanza.JIDMalformed, "")
	}
	head := *s
	s.To, s.From = to, from
	if s.Kind == component.IQ && !s.IsRequest() {
		g.guard.aliasIDs.show(s, onion)
	}
	toOnion.payload(s.Nodes)
	pass, err := g.guard.leaving(ctx, s)
	xml := s.AppendXML(make([]byte, 0, 1024), component.NSServer) // which is enough for most
	s.To, s.From, s.ID = written, head.From, head.ID              // s goes back to the caller if there is an error
	if !pass {
		return err
	}
	if len(xml) > maxStanza {
		return errTooLarge()
	}
	it := newItem(s, onion, pair{from.Domainpart(), to.Domainpart()}, bytes.Clone(xml))
	if err := g.mayTake(onion); err != nil {
		return err
	}
	g.contacts.told(onion, &it.head)
	who := g.party(it)
	if who == "" && g.stranger(onion) {
		it.answer, it.kept = true, false // it costs the user nothing
	}
	err = g.toPeer(onion, who, func(p *peer) error { return p.send(it) })
	if err != errEnding {
		return err
	}
	if it.kept {
		return g.keepLate(it)
	}
	return errUnreachable()
}

// errEnding tells that nothing goes to peers any more.
var errEnding = errors.New("onionroute: the gateway has ended")

// keepLate takes what the host had on its way to us when we ended: it cannot be told any
// more that we do not want it.
func (g *Gateway) keepLate(it *item) error {
	it.order, it.stored = g.order.Add(1), true
	done := make(chan error, 1)
	g.spool.store([]*item{it}, "", func(err error) { done <- err })
	if err := <-done; err != nil {
		g.log.Error("the spool cannot be written; a message is lost: is the disk full?", "error", err)
		return errNotKept()
	}
	return nil
}

// Close closes the spool, when Run has ended and the host is detached.
func (g *Gateway) Close() error { return g.spool.close() }

// allowed tells who may send through the gateway: users of the host, services here,
// and the gateway itself. For anybody else it would be an open relay into Tor.
func (g *Gateway) allowed(from jid.JID) bool {
	_, isService := g.c.Services[from.Domainpart()]
	isGateway := from.Domainpart() == g.c.Domain && from.Localpart() == ""
	return isService || isGateway || slices.Contains(g.c.Hosts, from.Domainpart())
}

// bounce answers an item with an error. done is called when whoever sent it has that, or nobody
// can be told: until then it stays in the spool, whatever becomes of the host, or of us.
func (g *Gateway) bounce(it *item, err error, done func()) {
	r := g.returned(&it.head, err)
	if r == nil {
		done()
		return
	}
	g.mu.Lock()
	ctx := g.ctx
	g.mu.Unlock()
	if it.kept {
		r.Taken = done
	} else {
		ctx = context.WithoutCancel(ctx)
		defer done()
	}
	if err := g.out.Send(ctx, r); err != nil {
		tell(g.log, slog.LevelWarn, "an error could not be returned to its sender", err)
		if it.kept && ctx.Err() == nil {
			done()
		}
	}
}

func (g *Gateway) reserve(it *item) bool {
	return g.quota.take(it, g.c.TotalBytes, g.c.UserBytes, false)
}

func (g *Gateway) unreserve(it *item) { g.quota.give(it) }

// ending tells if the program is about to end.
func (g *Gateway) ending() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ctx == nil || g.ctx.Err() != nil
}

// learnt remembers if a peer has direct TLS and a chain.
func (g *Gateway) learnt(onion string, direct bool) {
	g.spool.remember(onion, direct, g.unwritten)
}

func (g *Gateway) unwritten(err error) {
	if err != nil {
		g.log.Error("the spool cannot be written", "error", err)
	}
}

// endSession forgets a session, with what it knows of what has arrived.
func (g *Gateway) endSession(sess *session) {
	sess.end()
	if sess.resumable() {
		g.dropSession(sess.ids())
	}
}

// orphaned sees to a session that a peer has opened, and whose stream has ended before
// the peer's goroutine took it: the peer is going to resume it.
func (g *Gateway) orphaned(st *stream, sess *session) {
	if !sess.resumable() || st.c.d.Closed() {
		g.endSession(sess)
		return
	}
	if err := g.toPeer(sess.peer, "", func(p *peer) error { return p.adopt(sess) }); err != nil {
		g.keepSession(sess) // for the next start
	}
}

// keepSession waits a while for the host to take what was read in a session, and keeps
// that. What the host takes after the end would come to it again after the next start.
func (g *Gateway) keepSession(sess *session) {
	sess.settle(closeTimeout, func() bool { return false })
	if _, err := sess.tell(g); err != nil {
		g.log.Error("the spool cannot be written; what a peer sent last may arrive twice", "error", err)
	}
}

// dropped makes a peer forget a stream that has ended. It is false if the peer's
// goroutine is still at it.
func (g *Gateway) dropped(onion string, st *stream) bool {
	g.mu.Lock()
	p := g.peers[onion]
	g.mu.Unlock()
	return p == nil || p.drop(st)
}

// verify asks the authoritative server for the domain that a stream says it is from.
func (g *Gateway) verify(ctx context.Context, ask dialback) (answer dialback) {
	err := g.toPeer(g.m.At(ask.to), "", func(p *peer) (err error) {
		answer, err = p.verify(ctx, ask)
		return err
	})
	if err != nil {
		return ask.refuse(stanza.RemoteServerTimeout)
	}
	return answer
}

// mayTake waits until something may go to a peer; the error is that nothing may.
func (g *Gateway) mayTake(onion string) error {
	if err := g.peerAllowed(onion); err != nil {
		return err
	}
	<-g.loaded // what waits since the last run goes before
	return nil
}

// toPeer calls f with the peer, which it makes if there is none yet. who here it is for is a
// party, or "" if the peer has caused it.
func (g *Gateway) toPeer(onion, who string, f func(*peer) error) error {
	if err := g.mayTake(onion); err != nil {
		return err
	}
	parties := []string{who}
	if who == "" {
		parties = g.befriended(onion)
	}
	for {
		p, err := g.peerFor(onion, parties)
		if err != nil {
			return err
		}
		if err := f(p); err != errGone {
			return err
		}
		g.forget(p)
	}
}

// newRate limits how fast stanzas are read.
func (g *Gateway) newRate() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(g.c.StanzaRate), 5*g.c.StanzaRate)
}

func (g *Gateway) newPeer(onion string) *peer {
	return &peer{g: g, onion: onion, rate: g.newRate(), since: time.Now(), log: g.log.With("peer", onion), patience: g.times.dial,
		wake: make(chan struct{}, 1), retry: make(chan struct{}, 1), presence: map[string]*item{}}
}

// TryAgain connects to all peers that a failure made wait, and to those that know us: they
// could not reach us either.
func (g *Gateway) TryAgain() {
	g.mu.Lock()
	peers := slices.Collect(maps.Values(g.peers))
	g.mu.Unlock()
	for _, p := range peers {
		p.comeBack()
		poke(p.wake)
		poke(p.retry)
	}
}
