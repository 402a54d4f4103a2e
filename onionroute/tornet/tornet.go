package tornet

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// The size of the network. Three authorities are the fewest that survive the
// loss of one vote. Seven relays leave enough choice for the long circuits of
// onion services, which may not go from a relay back to the one before it.
const (
	authorityCount = 3
	relayCount     = 4
)

// stopGrace is how long Close lets processes end by themselves.
const stopGrace = 3 * time.Second

// Options changes how a network is started. The zero value is right for most.
type Options struct {
	// Tor is the tor program. Default: "tor" from PATH, else /usr/sbin/tor.
	Tor string
	// GenCert is the tor-gencert program. Default: "tor-gencert" from PATH.
	GenCert string
	// Delay is added to the round trip between a client and an onion service, once
	// they are connected. It stands for the distance between relays, which there is
	// none of on one machine: of the real Tor, 300 ms is a fair guess. It is
	// divided evenly: each of the seven links between the two ends delays either
	// direction by a fourteenth. Shorter paths, such as those to a directory, have
	// less of it. It takes nothing off the bandwidth. The links end with the calling
	// process.
	Delay time.Duration
	// Progress is told how far Start is, done going from 0 to 1, and what it
	// does next. It is called from one goroutine, and not after Start has
	// returned. It may be nil.
	Progress func(done float64, what string)
}

// Network is a running private Tor network. Its methods may be called from
// several goroutines.
type Network struct {
	torrc string
	nodes []*node

	close    sync.Once
	closeErr error
}

// Start starts a network with its files in dir, which is made with mode 0700 if
// it is missing, and returns when clients can build circuits and publish onion
// services. Each start makes new keys; dir should be empty or hold what an
// earlier network left, whose processes must have ended.
//
// When ctx ends before the network is ready, or a process fails, Start ends all
// processes it started and returns an error. Errors of a tor process name its
// log file and quote its last warnings. Once Start has returned without error,
// ctx has no further effect: only Close, or the end of the calling process,
// ends the network.
func Start(ctx context.Context, dir string, opt Options) (*Network, error) {
	// Ordinary users of Debian do not have the folder of tor in their PATH.
	tor, err := findProgram(opt.Tor, "tor", "/usr/sbin/tor")
	if err != nil {
		return nil, err
	}
	gencert, err := findProgram(opt.GenCert, "tor-gencert", "")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("tornet: %w", err)
	}
	b := &boot{dir: dir, tor: tor, gencert: gencert, delay: opt.Delay, progress: opt.Progress}
	if err := b.run(ctx); err != nil {
		_ = stop(b.nodes)
		return nil, fmt.Errorf("tornet: %w", err)
	}
	return &Network{torrc: b.clientTorrc(), nodes: b.nodes}, nil
}

// Torrc returns the path of a configuration file that makes a tor process a
// client of this network. It names neither a data directory nor any port; the
// user of it gives those on the command line. The file stays after Close.
func (n *Network) Torrc() string { return n.torrc }

// Close ends all processes of the network and returns when they are gone: it
// asks them to end, and kills those that have not after a few seconds. Every
// call waits for the end and returns the same error. Files are left in place.
func (n *Network) Close() error {
	n.close.Do(func() {
		if err := stop(n.nodes); err != nil {
			n.closeErr = fmt.Errorf("tornet: %w", err)
		}
	})
	return n.closeErr
}

// findProgram returns the path of a program: the one that the caller asked for,
// else the one called name in PATH, else fallback.
func findProgram(asked, name, fallback string) (string, error) {
	if asked != "" {
		name, fallback = asked, ""
	}
	path, err := exec.LookPath(name)
	if err != nil && fallback != "" {
		path, err = exec.LookPath(fallback)
	}
	if err != nil {
		return "", fmt.Errorf("tornet: %w; is Tor installed?", err)
	}
	// The processes run in folders of their own, so paths must be absolute.
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("tornet: %w", err)
	}
	return path, nil
}
