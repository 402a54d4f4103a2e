package onionroute

import (
	"context"
	"fmt"
	"net"
	"net/textproto"
	"sync"
	"time"

	"github.com/cretz/bine/control"
)

// A controlConn is a connection to tor's control port. It is closed with the session
// that made it: whatever waits for a tor that hangs then fails.
type controlConn struct {
	raw net.Conn
	mu  sync.Mutex // bine's Conn mixes up answers to commands from several goroutines
	c   *control.Conn
}

// do runs one command, within a time limit.
func (cc *controlConn) do(f func(*control.Conn) error) error {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	cc.raw.SetDeadline(time.Now().Add(commandTimeout))
	defer cc.raw.SetDeadline(time.Time{})
	if err := f(cc.c); err != nil {
		return fmt.Errorf("onionroute: tor control: %w", err)
	}
	return nil
}

// control connects to the control socket, waiting for one that is not there yet. The
// connection ends with ctx.
func (t *Tor) control(ctx context.Context, network, addr string) (*controlConn, error) {
	wait, cancel := context.WithTimeout(ctx, torStartTimeout)
	defer cancel()
	for {
		raw, err := (&net.Dialer{}).DialContext(wait, network, addr)
		if err == nil {
			cc := &controlConn{raw: raw, c: control.NewConn(textproto.NewConn(raw))}
			if err = cc.do(func(c *control.Conn) error { return c.Authenticate(t.c.Password) }); err == nil {
				context.AfterFunc(ctx, func() { raw.Close() })
				return cc, nil
			}
			raw.Close()
			if t.c.Control != "" {
				return nil, fmt.Errorf("onionroute: authenticate to tor at %s: %w (tor.control: is tor.password right, or may this user read tor's cookie file?)", addr, err)
			}
		} else if t.c.Control != "" {
			return nil, fmt.Errorf("onionroute: connect to tor: %w (tor.control: is tor running, with this control socket?)", err)
		}
		select {
		case <-wait.Done():
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("onionroute: %s runs, and does not answer at %s for %v: is it tor? (%w)", t.c.Binary, addr, torStartTimeout, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (cc *controlConn) getInfo(key string) (value string, err error) {
	err = cc.do(func(c *control.Conn) error {
		kv, err := c.GetInfo(key)
		for _, e := range kv {
			if e.Key == key {
				value = e.Val
			}
		}
		return err
	})
	return value, err
}
