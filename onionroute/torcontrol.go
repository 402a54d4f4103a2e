package onionroute

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"sync"
	"time"

	"github.com/cretz/bine/control"
)

// A controlConn is a connection to tor's control port. It is closed with the session
// that made it: whatever waits for a tor that hangs then fails.
type controlConn struct {
	raw      net.Conn
	patience time.Duration
	mu       sync.Mutex // bine's Conn mixes up answers to commands from several goroutines
	c        *control.Conn
	late     error // an answer did not come in time, and would be taken for that of the next command
}

// do runs one command, within a time limit.
func (cc *controlConn) do(f func(*control.Conn) error) error {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.late != nil {
		return cc.late
	}
	cc.raw.SetDeadline(time.Now().Add(cc.patience))
	defer cc.raw.SetDeadline(time.Time{})
	if err := f(cc.c); errors.Is(err, os.ErrDeadlineExceeded) {
		cc.late = fmt.Errorf("onionroute: tor runs, and has not answered for %v: %w", cc.patience, err)
		return cc.late
	} else if err != nil {
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
			cc := &controlConn{raw: raw, patience: t.c.Patience, c: control.NewConn(textproto.NewConn(raw))}
			context.AfterFunc(ctx, func() { raw.Close() })
			if err = cc.do(func(c *control.Conn) error { return c.Authenticate(t.c.Password) }); err == nil {
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

// attend asks tor from time to time if it is there, until it is not, or ctx is done: one
// that hangs closes no connection.
func (t *Tor) attend(ctx context.Context, ctl *controlConn) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(t.c.Patience):
		}
		if _, err := ctl.getInfo("version"); err != nil && ctx.Err() == nil {
			return err
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
