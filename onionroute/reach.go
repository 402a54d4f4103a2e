package onionroute

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"
)

// maxStale bounds for how many peers that are forgotten is known that they had gone.
const maxStale = 10_000

// reach connects to a port of the peer, within p.patience. What is to be written first goes
// along. Tor connects to where the peer was when Tor last looked, and cannot always tell that
// it is not there any more: then it waits in vain. So if it takes long, Tor looks anew,
// and another way is tried beside; the way that is through first is taken.
func (p *peer) reach(ctx context.Context, port int, first []byte) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	first = bytes.Clone(first) // a way that is given up may still be writing it
	type way struct {
		net.Conn
		err error
	}
	ways := make(chan way)
	try := func(anew bool) {
		// To each peer by circuits of its own, so that peers cannot tell from these
		// that they talk to the same machine.
		isolation := fmt.Sprintf("%s %s %d", p.g.m.Identity, p.onion, p.failures)
		go func() {
			if anew {
				p.lookAnew(ctx)
			}
			p.g.guard.did("dns")
			p.g.guard.did("circuits")
			conn, err := p.g.dialer.Dial(ctx, p.onion, port, isolation, first)
			select {
			case ways <- way{conn, err}:
			case <-ctx.Done():
				if err == nil {
					conn.Close()
				}
			}
		}()
	}
	try(false)
	wait := p.g.times.beside
	beside := time.NewTimer(wait)
	defer beside.Stop()
	for tried := 1; ; {
		select {
		case w := <-ways:
			if tried--; w.err == nil || tried == 0 || otherPort(w.err) {
				return w.Conn, w.err
			}
		case <-beside.C:
			p.failures++ // by other circuits
			try(true)
			tried++
			wait *= 2
			beside.Reset(wait)
		case <-ctx.Done():
			return nil, fmt.Errorf("onionroute: SOCKS: %w", context.Cause(ctx))
		}
	}
}

// lookAnew makes Tor look anew for where the peer is.
func (p *peer) lookAnew(ctx context.Context) {
	found := p.g.dialer.Refresh(ctx, p.onion)
	p.log.Debug("asked Tor for the peer's descriptor", "found", found)
}
