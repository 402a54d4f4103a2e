package tornet

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// rendezvousLinks is how many links the connection of a client to an onion service has:
// three up to the rendezvous point on the client's side (first hop, second hop, the
// point itself) and four on the service's, which has one relay more. What goes from one
// end to the other passes each of them once.
const rendezvousLinks = 7

// delayQueue is how many pieces of up to delayPiece octets may be on their way in one
// direction: it bounds the memory, and is far more than a link of tor ever has there.
const (
	delayQueue = 1024
	delayPiece = 16 << 10
)

// A delayer is the door of a relay: a TCP proxy that lets everything through a fixed
// time after it came. It takes nothing off the bandwidth, as what waits waits in
// parallel.
type delayer struct {
	listener net.Listener
	target   string // where tor listens
	delay    time.Duration

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
	done   sync.WaitGroup
}

// putDelayer puts a delayer before the node: it gets the port that the node has had so
// far, and tor another one.
func (n *node) putDelayer(delay time.Duration) error {
	door := n.held[len(n.held)-1]
	n.held = n.held[:len(n.held)-1]
	port, err := n.holdPort()
	if err != nil {
		door.Close()
		return err
	}
	n.door = startDelayer(door, fmt.Sprintf("%s:%d", loopback, port), delay)
	return nil
}

func startDelayer(l net.Listener, target string, delay time.Duration) *delayer {
	d := &delayer{listener: l, target: target, delay: delay, conns: map[net.Conn]bool{}}
	d.done.Go(d.accept)
	return d
}

func (d *delayer) accept() {
	for {
		in, err := d.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(pollInterval) // too many open files, perhaps
			continue
		}
		out, err := net.Dial("tcp4", d.target)
		if err != nil {
			in.Close()
			continue
		}
		if !d.keep(in, out) {
			return
		}
		d.done.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { d.pipe(out, in) })
			both.Go(func() { d.pipe(in, out) })
			both.Wait()
			d.drop(in, out)
		})
	}
}

// pipe passes on what comes from one side, until that ends or the other does.
func (d *delayer) pipe(to, from net.Conn) {
	type piece struct {
		due  time.Time
		data []byte
	}
	queue := make(chan piece, delayQueue)
	go func() {
		defer close(queue)
		for {
			buf := make([]byte, delayPiece)
			n, err := from.Read(buf)
			queue <- piece{time.Now().Add(d.delay), buf[:n]}
			if err != nil {
				return
			}
		}
	}()
	var err error
	for p := range queue {
		if err != nil {
			continue
		}
		time.Sleep(time.Until(p.due))
		if _, err = to.Write(p.data); err != nil {
			from.Close() // ends the reader
		}
	}
	to.(*net.TCPConn).CloseWrite()
}

// keep notes the connections, to be closed by close. It is false, and they are closed,
// if that has been.
func (d *delayer) keep(conns ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range conns {
		if d.closed {
			c.Close()
		} else {
			d.conns[c] = true
		}
	}
	return !d.closed
}

func (d *delayer) drop(conns ...net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(d.conns, c)
	}
}

// close ends all connections, and returns when nothing of the proxy is left.
func (d *delayer) close() {
	d.listener.Close()
	d.mu.Lock()
	d.closed = true
	for c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	d.done.Wait()
}
