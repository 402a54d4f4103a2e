package onionroute

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/allium-xmpp/allium/component"
)

// times are the times that a Gateway keeps.
type times struct {
	// Tor may know only introduction points that are gone, and tries them for minutes.
	// So a peer that was there before is given up soon, to look anew for where it is,
	// and then given more time.
	dial, redial, dialMax time.Duration
	beside                time.Duration // until another way is tried beside the first

	negotiate time.Duration // stream header, TLS
	header    time.Duration // until the first header is there
	auth      time.Duration // until something is proven
	element   time.Duration // from the first octet of an element to its last
	dialback  time.Duration // the peer has to find its way to us by Tor
	write     time.Duration // until the peer has read enough of what is written at once

	tick time.Duration // how often a stream is looked at
	// A peer that does not answer is gone; Tor tells late or never. It is given ten
	// times what it took at the slowest, within these bounds.
	answerMin, answerMax time.Duration

	quiet      time.Duration // of silence, until a peer is asked if it is there
	streamIdle time.Duration // a stream that is not used is closed
	silence    time.Duration // of a peer that proved who it is, on its stream

	stall time.Duration // what has to be kept is on disk after that, though a write takes longer
	late  time.Duration // a message that is older says since when it waits

	entering   time.Duration // who wants to enter a room at a peer that is away waits for it
	maxAge     time.Duration // messages wait for a peer that cannot be reached
	grace      time.Duration // what is of this hour waits, and contacts stay on-line
	sessionAge time.Duration // a session that broke off can be resumed
	unusedAge  time.Duration // the same of one by which no stanza went
	abilities  time.Duration // what is known of a peer's ports is believed
	tidy       time.Duration // how often is forgotten what is too old

	peerIdle time.Duration // a peer without stream and work is forgotten
	retryMin time.Duration
	retryMax time.Duration
	talk     time.Duration // instead of retryMax, while somebody writes to the peer
}

var defaultTimes = times{
	dial: 30 * time.Second, redial: 10 * time.Second, dialMax: 2 * time.Minute, beside: 6 * time.Second,

	negotiate: time.Minute,
	header:    30 * time.Second,
	auth:      2 * time.Minute,
	element:   2 * time.Minute,
	dialback:  90 * time.Second,
	write:     30 * time.Second,

	tick:      2 * time.Second,
	answerMin: 12 * time.Second, answerMax: 45 * time.Second,

	quiet:      5 * time.Minute,
	streamIdle: 30 * time.Minute,
	silence:    2 * time.Hour,

	stall: 20 * time.Millisecond,
	late:  10 * time.Second,

	entering:   15 * time.Second,
	maxAge:     7 * 24 * time.Hour,
	grace:      3 * time.Minute,
	sessionAge: 24 * time.Hour,
	unusedAge:  5 * time.Minute,
	abilities:  24 * time.Hour,
	tidy:       time.Hour,

	peerIdle: 2 * time.Minute,
	retryMin: 2 * time.Second,
	retryMax: 5 * time.Minute,
	talk:     2 * time.Second,
}

const (
	closeTimeout = 3 * time.Second
	laterDelay   = 50 * time.Millisecond

	batchBytes   = 64 << 10  // octets in one write
	slowLink     = 10 << 10  // octets a second that a stream carries at least
	maxStanza    = 250_000   // octets to a peer; Prosody and Allium take 256 KiB and more
	maxTries     = 3         // of one stanza, by streams that broke off
	itemBytes    = 512       // that an item costs beside its XML
	maxAnswers   = 256 << 10 // octets of answers that wait for a peer to read them
	maxReplies   = 64 << 10  // octets of those that are none of stanzas, on one stream
	maxAbilities = 10_000    // peers whose ports are known
	maxPresence  = 1000      // presences that wait for one peer
	maxDialing   = 32        // peers at one time
	maxInbound   = 512       // streams from peers
	maxOfPeer    = 8         // streams from one peer
	maxAsking    = 4         // verifications under way on one stream
	maxOfBase    = 8         // verifications under way of one peer
	maxProven    = 32        // domains on one stream
	maxPairs     = 1000      // pairs of domains on one stream, beside those that something waits for
	maxKey       = 512       // octets of a key of dialback; those of servers have some tens
	maxVerifying = 256       // peers that verifications are under way of
	maxUnproven  = 100       // elements on a stream before anything is proven
)

// Ports of an onion service.
const (
	portServer    = 5269 // RFC 6120 §14.7: TLS is offered
	portServerTLS = 5270 // XEP-0368: TLS from the first octet
)

// Ports are the ports of the onion service and the Unix sockets that they go to, for
// Tor.Publish.
func (g *Gateway) Ports() map[int]string {
	return map[int]string{
		portServer:    filepath.Join(g.c.SocketDir, "s2s"),
		portServerTLS: filepath.Join(g.c.SocketDir, "s2s-tls"),
	}
}

// Run takes streams from peers, and keeps those to peers, until ctx is done. Then it
// writes what is queued for peers that are connected, closes all streams, and returns
// nil; what has not arrived stays in the spool, and what the host sends until Close too. Any other error is one of the sockets
// that it listens on, or of the spool.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var listeners []net.Listener
	for _, path := range g.Ports() {
		l, err := listen(path)
		if err != nil {
			return err
		}
		defer l.Close()
		listeners = append(listeners, l)
		defer os.Remove(path)
	}
	var stop context.CancelFunc
	g.sessions, stop = context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	err := g.load(ctx)
	close(g.loaded)
	if err != nil {
		return err
	}
	g.wg.Go(func() { g.tidy(ctx) })
	for _, l := range listeners {
		direct := l.Addr().String() == g.Ports()[portServerTLS]
		g.wg.Go(func() { g.accept(ctx, l, direct) })
	}
	<-ctx.Done()
	for _, l := range listeners {
		l.Close()
	}
	g.mu.Lock() // whoever makes a peer after this sees that it is the end
	g.mu.Unlock()
	g.wg.Wait()
	stop()
	g.acks.Wait()
	return nil
}

// load takes up what was left by the last run.
func (g *Gateway) load(ctx context.Context) error {
	g.mu.Lock()
	g.ctx = ctx
	g.mu.Unlock()
	items, err := g.spool.items()
	if err != nil {
		return err
	}
	stored, err := g.spool.sessions()
	if err != nil {
		return err
	}
	items, back := g.resume(items)
	peers, parties := map[string]*peer{}, map[string][]string{}
	of := func(onion string) *peer {
		if peers[onion] == nil {
			peers[onion] = g.newPeer(onion)
		}
		return peers[onion]
	}
	for _, ss := range stored {
		if g.peerAllowed(ss.peer) != nil {
			g.dropSession([]string{ss.id, ss.theirs})
			continue
		}
		p := of(ss.peer)
		s := newSession(ss.peer, ss.id)
		s.theirs, s.recovered, s.lost = ss.theirs, true, ss.since
		s.in, s.told = newCounter(ss.h), ss.h
		if ss.h > 0 {
			p.lived.set(ss.since)
		}
		if p.session == nil {
			p.own(s)
		} else if !p.session.join(s, time.Now()) { // the peer did not know the last one any more
			g.endSession(p.session)
			p.own(s)
		}
	}
	for _, it := range items {
		p := of(it.onion)
		g.quota.take(it, g.c.TotalBytes, g.c.UserBytes, true)
		p.bytes += it.cost()
		parties[it.onion] = append(parties[it.onion], g.partyOf(it.head.From))
		if p.session != nil && p.session.is(it.session) {
			p.session.unacked = append(p.session.unacked, it)
		} else {
			p.queue = append(p.queue, it)
		}
	}
	if err := g.contacts.load(); err != nil {
		return err
	}
	gone := g.contacts.drop(func(onion string, a acquaintance) bool { return !g.noted(onion, a) })
	g.wg.Go(func() {
		<-g.loaded
		g.giveBack(back, gone)
	})
	for _, onion := range g.contacts.peers() {
		p := of(onion) // it is not known if they still are
		p.missing, p.missed = true, time.Now()
	}
	for onion := range peers {
		parties[onion] = append(parties[onion], g.befriended(onion)...)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for onion, p := range peers {
		if s := p.session; s != nil {
			slices.SortStableFunc(s.unacked, func(a, b *item) int { return int(int32(a.seq - b.seq)) })
			if n := len(s.unacked); n > 0 {
				s.out = s.unacked[n-1].seq
			}
			p.comeBack()
			s.start(g)
		}
		g.start(p)
		for _, who := range parties[onion] {
			g.attribute(p, who)
		}
	}
	return nil
}

// tidy forgets from time to time what is not worth to be known any more.
func (g *Gateway) tidy(ctx context.Context) {
	for {
		g.contacts.forgetOld()
		g.spool.tidy(g.times.abilities, maxAbilities)
		select {
		case <-ctx.Done():
			return
		case <-time.After(g.times.tidy):
		}
	}
}

func listen(path string) (net.Listener, error) {
	if len(path) > 107 {
		return nil, fmt.Errorf("onionroute: %s is %d octets long, a socket's path can have 107: use a shorter state_dir", path, len(path))
	}
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("onionroute: %w", err)
	}
	// A tor of another user has to get in. Who can reach it is a matter of the folder.
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("onionroute: %w", err)
	}
	return l, nil
}

func (g *Gateway) accept(ctx context.Context, l net.Listener, direct bool) {
	for {
		raw, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				raw.Close()
			}
			return
		}
		if err != nil {
			// Out of file descriptors, most likely: it passes.
			g.log.Warn("cannot accept a stream", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		in := g.newStream(ctx, newConn(component.Quick(raw), g.c.Unauthenticated, g.times.write))
		if !g.admit(in) {
			raw.Close()
			continue
		}
		g.wg.Go(func() {
			defer g.leave(in)
			in.serve(ctx, direct)
		})
	}
}

// admit makes room for a new stream.
func (g *Gateway) admit(in *stream) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.inbound) >= maxInbound {
		g.evict(g.leastWorth())
	}
	g.inbound[in] = true
	return true
}

// claim takes note of who an inbound stream is from. One peer may have few.
func (g *Gateway) claim(in *stream, base string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	in.claimed = base
	n := 0
	for o := range g.inbound {
		if o.claimed == base {
			n++
			in.rate.Store(o.rate.Load())
		}
	}
	if p := g.peers[base]; p != nil {
		in.rate.Store(p.rate)
	}
	if n > maxOfPeer {
		g.dismiss(g.oldest(func(o *stream) bool { return o.claimed == base }))
	}
}

func (g *Gateway) oldest(which func(*stream) bool) (oldest *stream) {
	for o := range g.inbound {
		if which(o) && (oldest == nil || o.since.Before(oldest.since)) {
			oldest = o
		}
	}
	return oldest
}

func (g *Gateway) evict(in *stream) {
	if in != nil {
		delete(g.inbound, in)
		in.c.abort()
	}
}

func (g *Gateway) leave(in *stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.inbound, in)
}

// startVerify takes a place among the verifications under way: so many for each peer,
// that one which lets us wait does not keep the others waiting. When there are too many
// peers, those that somebody here has business with still get one.
func (g *Gateway) startVerify(in *stream, base string) bool {
	stranger := g.stranger(base)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.verifying[base] >= maxOfBase || len(g.verifying) >= maxVerifying && stranger {
		return false
	}
	g.verifying[base]++
	in.known = true
	return true
}

func (g *Gateway) endVerify(in *stream, base string, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.verifying[base]--; g.verifying[base] == 0 {
		delete(g.verifying, base)
	}
	in.known = known
}

var _ component.Handler = (*Gateway)(nil)
