package tornet

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are picked from a range below those that systems give to outgoing
// connections, so that no such connection takes a port between the moment
// when we let go of it and the moment when tor takes it.
const minPort, maxPort = 10000, 32000

// holdPort picks a free loopback port and keeps it until n.release.
func (n *node) holdPort() (int, error) {
	var err error
	for range 100 {
		var l net.Listener
		port := minPort + rand.IntN(maxPort-minPort)
		l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", loopback, port))
		if err == nil {
			n.held = append(n.held, l)
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port: %w", err)
}
