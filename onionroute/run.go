package onionroute

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/allium-xmpp/allium/component"
)

// times are the times that a Gateway keeps.
type times struct {
	// Tor may know only introduction points that are gone, and tries them for minutes.
	// So a peer that was there before is given up soon, to look anew for where it is,
	// and then given more time.
	dial, redial, dialMax time.Duration

	negotiate time.Duration // stream header, TLS
	header    time.Duration // until the first header is there
	auth      time.Duration // until something is proven
	dialback  time.Duration // the peer has to find its way to us by Tor

	tick time.Duration // how often a stream is looked at
	// A peer that does not answer is gone; Tor tells late or never. It is given ten
	// times what it took at the slowest, within these bounds.
	answerMin, answerMax time.Duration

	quiet      time.Duration // of silence, until a peer is asked if it is there
	streamIdle time.Duration // a stream that is not used is closed
	silence    time.Duration // of a peer that proved who it is, on its stream

	hold     time.Duration // messages wait for a peer that cannot be reached
	peerIdle time.Duration // a peer without stream and work is forgotten
	retryMin time.Duration
	retryMax time.Duration
}

var defaultTimes = times{
	dial: 30 * time.Second, redial: 10 * time.Second, dialMax: 2 * time.Minute,

	negotiate: time.Minute,
	header:    30 * time.Second,
	auth:      2 * time.Minute,
	dialback:  90 * time.Second,

	tick:      2 * time.Second,
	answerMin: 12 * time.Second, answerMax: 45 * time.Second,

	quiet:      5 * time.Minute,
	streamIdle: 30 * time.Minute,
	silence:    2 * time.Hour,

	hold:     3 * time.Minute,
	peerIdle: 2 * time.Minute,
	retryMin: 2 * time.Second,
	retryMax: time.Minute,
}

const (
	writeTimeout = 30 * time.Second
	closeTimeout = 3 * time.Second

	batchBytes   = 64 << 10  // octets in one write
	maxStanza    = 250_000   // octets to a peer; Prosody and Allium take 256 KiB and more
	maxTries     = 3         // of one stanza, by streams that broke off
	itemBytes    = 512       // that an item costs beside its XML
	maxAnswers   = 256 << 10 // octets of answers that wait for a peer to read them
	maxPeers     = 2000      // that stanzas wait for, or that are connected
	maxDialing   = 32        // peers at one time
	maxInbound   = 512       // streams from peers
	maxOfPeer    = 8         // streams from one peer
	maxAsking    = 4         // verifications under way on one stream
	maxOfBase    = 8         // verifications under way of one peer
	maxProven    = 32        // domains on one stream
	maxVerifying = 256       // peers that verifications are under way of
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
// nil. Any other error is one of the sockets that it listens on.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var listeners []net.Listener
	for port, path := range g.Ports() {
		l, err := listen(path)
		if err != nil {
			return err
		}
		defer l.Close()
		listeners = append(listeners, l)
		defer os.Remove(path)
		direct := port == portServerTLS
		g.wg.Go(func() { g.accept(ctx, l, direct) })
	}
	g.mu.Lock()
	g.ctx = ctx
	g.mu.Unlock()
	<-ctx.Done()
	for _, l := range listeners {
		l.Close()
	}
	g.mu.Lock() // whoever makes a peer after this sees that it is the end
	g.mu.Unlock()
	g.wg.Wait()
	return nil
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
		in := &inbound{g: g, log: g.log, c: newConn(raw, g.c.Unauthenticated),
			proven: map[string]bool{}, asking: map[pair]bool{}, since: time.Now()}
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

// admit makes room for a new stream. When there are too many, the oldest that has not
// even said who it is has to go, so that half-open streams cannot keep out the others;
// if there is none, the oldest of the peer that has most.
func (g *Gateway) admit(in *inbound) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.inbound) >= maxInbound {
		of := map[string]int{}
		most := ""
		for o := range g.inbound {
			if o.known {
				if of[o.base]++; of[o.base] > of[most] {
					most = o.base
				}
			}
		}
		oldest := g.oldest(func(o *inbound) bool { return !o.known })
		if oldest == nil {
			oldest = g.oldest(func(o *inbound) bool { return o.base == most })
		}
		g.evict(oldest)
	}
	g.inbound[in] = true
	return true
}

// claim takes note of who an inbound stream is from. One peer may have few.
func (g *Gateway) claim(in *inbound, base string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	in.base = base
	n := 0
	for o := range g.inbound {
		if o.base == base {
			n++
		}
	}
	if n > maxOfPeer {
		g.evict(g.oldest(func(o *inbound) bool { return o.base == base }))
	}
}

func (g *Gateway) oldest(which func(*inbound) bool) (oldest *inbound) {
	for o := range g.inbound {
		if which(o) && (oldest == nil || o.since.Before(oldest.since)) {
			oldest = o
		}
	}
	return oldest
}

func (g *Gateway) evict(in *inbound) {
	if in != nil {
		delete(g.inbound, in)
		in.c.abort()
	}
}

func (g *Gateway) leave(in *inbound) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.inbound, in)
}

// startVerify takes a place among the verifications under way: so many for each peer,
// that one which lets us wait does not keep the others waiting.
func (g *Gateway) startVerify(in *inbound, base string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.verifying[base] >= maxOfBase || len(g.verifying) >= maxVerifying {
		return false
	}
	g.verifying[base]++
	in.known = true
	return true
}

func (g *Gateway) endVerify(in *inbound, base string, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.verifying[base]--; g.verifying[base] == 0 {
		delete(g.verifying, base)
	}
	in.known = known
}

var _ component.Handler = (*Gateway)(nil)
