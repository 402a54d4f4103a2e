package tornet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// pollInterval is how often the nodes are asked whether they are ready.
const pollInterval = 100 * time.Millisecond

// reloadInterval is how often a node that lacks the consensus is told to fetch
// it.
const reloadInterval = 2 * time.Second

// boot is the work of Start.
type boot struct {
	dir          string
	tor, gencert string
	delay        time.Duration // see Options
	progress     func(done float64, what string)
	nodes        []*node // authorities first
}

func (b *boot) authorities() []*node { return b.nodes[:authorityCount] }

// run brings the network up. When it fails, the processes of b.nodes are still
// to be stopped.
func (b *boot) run(ctx context.Context) error {
	b.report(0, "making keys")
	if err := b.makeNodes(); err != nil {
		return err
	}
	err := each(b.authorities(), func(n *node) error { return n.makeKeys(ctx, b.gencert) })
	if err != nil {
		return err
	}

	b.report(0.08, "starting relays")
	if err := b.startNodes(); err != nil {
		return err
	}

	b.report(0.1, "waiting for relays to announce themselves")
	err = b.await(ctx, b.authorities(), authorityCount, func(n *node) error {
		return n.knowsRelays(ctx, len(b.nodes))
	})
	if err != nil {
		return err
	}

	b.report(0.4, "waiting for the vote")
	vote := nearVote(time.Now())
	err = each(b.authorities(), func(n *node) error {
		if err := n.writeTorrc(vote); err != nil {
			return err
		}
		return n.reload()
	})
	if err != nil {
		return err
	}
	err = b.await(ctx, b.authorities(), 1, func(n *node) error {
		return n.serves(ctx, len(b.nodes))
	})
	if err != nil {
		return err
	}

	b.report(0.95, "waiting for relays to fetch the directory")
	err = b.await(ctx, b.nodes, len(b.nodes), func(n *node) error {
		err := n.serves(ctx, len(b.nodes))
		if err != nil && time.Since(n.reloaded) > reloadInterval {
			return errors.Join(err, n.reload())
		}
		return err
	})
	if err != nil {
		return err
	}
	b.report(1, "ready")
	return nil
}

func (b *boot) report(done float64, what string) {
	if b.progress != nil {
		b.progress(done, what)
	}
}

// makeNodes makes the nodes with their folders and ports.
func (b *boot) makeNodes() error {
	for i := range authorityCount + relayCount {
		n := &node{name: fmt.Sprintf("auth%d", i+1), authority: i < authorityCount}
		if !n.authority {
			n.name = fmt.Sprintf("relay%d", i+1)
		}
		b.nodes = append(b.nodes, n)
		n.dir = filepath.Join(b.dir, n.name)
		// What an earlier network left does not fit the new keys.
		if err := os.RemoveAll(n.dir); err != nil {
			return err
		}
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return err
		}
		var err error
		if n.dirPort, err = n.holdPort(); err != nil {
			return err
		}
		// The others must know this port of an authority in advance.
		if n.authority || b.delay > 0 {
			if n.orPort, err = n.holdPort(); err != nil {
				return err
			}
		}
		if b.delay > 0 {
			if err = n.putDelayer(b.delay / rendezvousLinks / 2); err != nil {
				return err
			}
		}
	}
	return nil
}

// startNodes writes the configuration and starts all processes.
func (b *boot) startNodes() error {
	if err := b.writeClientTorrc(); err != nil {
		return err
	}
	vote := farVote(time.Now())
	for _, n := range b.nodes {
		if err := n.writeTorrc(vote); err != nil {
			return err
		}
		if err := n.start(b.tor, b.clientTorrc()); err != nil {
			return err
		}
	}
	return nil
}

// await waits until ready returns nil for at least need of the nodes. It gives up
// when ctx ends or any process of the network does; the error then tells why.
func (b *boot) await(ctx context.Context, nodes []*node, need int, ready func(*node) error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		count := 0
		var late *node
		var lateErr error
		for _, n := range nodes {
			if err := ready(n); err != nil {
				late, lateErr = n, err
			} else {
				count++
			}
		}
		if count >= need {
			return nil
		}
		for _, n := range b.nodes {
			if n.hasExited() {
				return fmt.Errorf("%s has ended (%v); %s", n.name, n.cmd.ProcessState, n.logTail())
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w while %s was not ready (%w); %s",
				context.Cause(ctx), late.name, lateErr, late.logTail())
		case <-tick.C:
		}
	}
}

// each calls f for all nodes at the same time and joins the errors.
func each(nodes []*node, f func(*node) error) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			if err := f(n); err != nil {
				errs[i] = fmt.Errorf("%s: %w", n.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
