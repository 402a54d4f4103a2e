package onionroute

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/allium-xmpp/allium/component"
)

// A Dialer opens connections to onion services. Tor is the only one outside of tests.
type Dialer interface {
	// Dial connects to a port of an onion service. Connections with different
	// isolation share no circuit. What is to be written first may go along: it has been
	// written when there is no error.
	Dial(ctx context.Context, onion string, port int, isolation string, first []byte) (net.Conn, error)
	// Refresh looks anew for where the onion service is, and tells if it was found.
	Refresh(ctx context.Context, onion string) bool
	// Findable waits until others can connect to our onion service, or should be able to.
	Findable(ctx context.Context)
}

// A SOCKSError is why Tor did not connect to an onion service: a reply code of SOCKS
// (RFC 1928 §6), or one of Tor's extended ones (Tor's socks-extensions, proposal 304).
type SOCKSError struct{ Code byte }

// The reply codes that are told apart.
const (
	socksTimeout        = 0x06
	socksNoDescriptor   = 0xF0
	socksNoIntroduction = 0xF2
	socksNoRendezvous   = 0xF3
	socksNoKey          = 0xF4
	socksBadKey         = 0xF5
	socksBadAddress     = 0xF6
	socksNoAnswer       = 0xF7 // to the introduction
)

var socksText = map[byte]string{
	0x01: "general failure",
	0x02: "not allowed",
	0x04: "host unreachable",
	0x05: "connection refused",
	0x06: "timed out",
	0xF0: "the descriptor cannot be found: the service is down, new, or does not exist",
	0xF1: "the descriptor is invalid",
	0xF2: "introduction failed",
	0xF3: "rendezvous failed",
	0xF4: "client authorisation is missing",
	0xF5: "client authorisation is wrong",
	0xF6: "not a valid onion address",
	0xF7: "introduction timed out",
}

func (e *SOCKSError) Error() string {
	text := socksText[e.Code]
	if text == "" {
		text = fmt.Sprintf("SOCKS reply %#x", e.Code)
	}
	return "onionroute: tor: " + text
}

// ErrTorDown tells that there is no Tor to connect through.
var ErrTorDown = errors.New("onionroute: Tor is not up")

// Dial connects through Tor's SOCKS port. The name goes to Tor as it is; nothing is
// looked up here, and nothing but the name of an onion service is accepted. Tor sends
// what is to be written first as soon as it has a circuit, and does not wait for the
// other end to say that it is connected: that spares a round trip. The error is
// ErrTorDown, a *SOCKSError, or the context's.
func (t *Tor) Dial(ctx context.Context, onion string, port int, isolation string, first []byte) (net.Conn, error) {
	if !IsOnion(onion) {
		return nil, &SOCKSError{socksBadAddress}
	}
	t.mu.Lock()
	socks := t.socks
	t.mu.Unlock()
	if socks == nil {
		return nil, ErrTorDown
	}
	conn, err := new(net.Dialer).DialContext(ctx, socks.Network(), socks.String())
	if err == nil {
		stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		if err = socksConnect(conn, onion, port, isolation, first); err == nil && stop() {
			return component.Quick(conn), nil
		}
		stop()
		conn.Close()
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if reply := new(SOCKSError); errors.As(err, &reply) {
		return nil, reply
	}
	return nil, fmt.Errorf("onionroute: SOCKS: %w", err)
}

// socksConnect asks for a connection (RFC 1928, with the user name and password of RFC
// 1929 as what Tor isolates by), and waits until it is there. first goes right behind
// the request.
func socksConnect(c net.Conn, onion string, port int, isolation string, first []byte) error {
	const version, password, connect, domainName = 5, "allium", 1, 3
	var reply [4]byte
	ask := func(request []byte, reply []byte) error {
		if _, err := c.Write(request); err != nil {
			return err
		}
		_, err := io.ReadFull(c, reply)
		return err
	}
	const byPassword = 2
	if err := ask([]byte{version, 1, byPassword}, reply[:2]); err != nil {
		return err
	}
	if reply[0] != version || reply[1] != byPassword {
		return errors.New("it takes no user name")
	}
	auth := append([]byte{1, byte(len(isolation))}, isolation...)
	if err := ask(append(append(auth, byte(len(password))), password...), reply[:2]); err != nil {
		return err
	}
	if reply[1] != 0 {
		return errors.New("it does not take this user name")
	}
	request := append([]byte{version, connect, 0, domainName, byte(len(onion))}, onion...)
	request = binary.BigEndian.AppendUint16(request, uint16(port))
	if err := ask(append(request, first...), reply[:]); err != nil {
		return err
	}
	if reply[1] != 0 {
		return &SOCKSError{reply[1]}
	}
	// The address that it connects from, which for an onion service says nothing.
	size := map[byte]int64{1: net.IPv4len + 2, 4: net.IPv6len + 2}[reply[3]]
	if size == 0 {
		return errors.New("it answers with an address of another kind")
	}
	_, err := io.CopyN(io.Discard, c, size)
	return err
}
