package hosttest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
)

// Ports are taken from below the range that Linux gives to outgoing
// connections (32768 and up). A port from that range could be lost to any
// connection while the server is stopped, and a client that dials such a port
// while nothing listens there may end up connected to itself.
const (
	firstPort = 20000
	lastPort  = 32767
)

// port is a loopback port that no other Host takes.
type port struct {
	number int
	lock   io.Closer // keeps the port taken for as long as it is reachable
}

// addr is the address a client dials; it is "" for a nil port.
func (p *port) addr() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", p.number)
}

// Number is the port number, for the templates.
func (p *port) Number() int { return p.number }

// freePort picks a port that nothing listens on.
func freePort() (*port, error) {
	var lastErr error
	for range 1000 {
		n := firstPort + rand.IntN(lastPort-firstPort+1)
		lock, err := lockPort(n)
		if err != nil {
			lastErr = err
			continue
		}
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", n))
		if err != nil {
			lastErr = err
			lock.Close()
			continue
		}
		l.Close()
		return &port{number: n, lock: lock}, nil
	}
	return nil, fmt.Errorf("no free loopback port: %w", lastErr)
}

// lockPort takes a name for the port that only one process of the machine can
// have, because a port is free to others until the server listens on it, and
// again while the server is stopped. The name is an abstract socket: it needs
// no file, belongs to the same network namespace as the port, and goes away
// with the process. Elsewhere than on Linux the random choice has to do.
func lockPort(n int) (io.Closer, error) {
	if runtime.GOOS != "linux" {
		return io.NopCloser(nil), nil
	}
	return net.Listen("unix", fmt.Sprintf("@hosttest-port-%d", n))
}
