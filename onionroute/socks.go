package onionroute

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/proxy"
)

// A Dialer opens connections to onion services. Tor is the only one outside of tests.
type Dialer interface {
	// Dial connects to a port of an onion service. Connections with different
	// isolation share no circuit.
	Dial(ctx context.Context, onion string, port int, isolation string) (net.Conn, error)
	// Refresh looks anew for where the onion service is, and tells if it was found.
	Refresh(ctx context.Context, onion string) bool
}

// A SOCKSError is why Tor did not connect to an onion service: a reply code of SOCKS
// (RFC 1928 §6), or one of Tor's extended ones (Tor's socks-extensions, proposal 304).
type SOCKSError struct{ Code byte }

// The reply codes that are told apart.
const (
	socksTimeout      = 0x06
	socksNoDescriptor = 0xF0
	socksNoKey        = 0xF4
	socksBadKey       = 0xF5
	socksBadAddress   = 0xF6
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
// looked up here, and nothing but the name of an onion service is accepted. The error
// is ErrTorDown, a *SOCKSError, or the context's.
func (t *Tor) Dial(ctx context.Context, onion string, port int, isolation string) (net.Conn, error) {
	if !IsOnion(onion) {
		return nil, &SOCKSError{socksBadAddress}
	}
	t.mu.Lock()
	socks := t.socks
	t.mu.Unlock()
	if socks == nil {
		return nil, ErrTorDown
	}
	d, err := proxy.SOCKS5(socks.Network(), socks.String(), &proxy.Auth{User: isolation, Password: "allium"}, nil)
	if err != nil {
		return nil, fmt.Errorf("onionroute: SOCKS: %w", err)
	}
	conn, err := d.(proxy.ContextDialer).DialContext(ctx, "tcp", net.JoinHostPort(onion, strconv.Itoa(port)))
	if err != nil {
		return nil, socksError(err)
	}
	return conn, nil
}

// socksError finds the reply code, which golang.org/x/net tells only as text.
func socksError(err error) error {
	// Not the operation, which names the peer.
	for op := new(net.OpError); errors.As(err, &op); {
		err = op.Err
	}
	text := err.Error()
	if _, n, ok := strings.Cut(text, "unknown code: "); ok {
		if code, aerr := strconv.ParseUint(n, 10, 8); aerr == nil {
			return &SOCKSError{byte(code)}
		}
	}
	for code, words := range map[byte]string{1: "general SOCKS server failure", 2: "connection not allowed by ruleset",
		4: "host unreachable", 5: "connection refused", 6: "TTL expired"} {
		if strings.HasSuffix(text, "unknown error "+words) {
			return &SOCKSError{code}
		}
	}
	return fmt.Errorf("onionroute: SOCKS: %w", err)
}
