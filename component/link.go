package component

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	mcomponent "mellium.im/xmpp/component"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"
)

// The times of a Link.
var (
	connectTimeout = 15 * time.Second // connect and handshake
	writeTimeout   = 30 * time.Second // one batch
	probeAfter     = 60 * time.Second // of silence from the host, it is pinged
	giveUpAfter    = 90 * time.Second // of silence, the connection is dead
	tick           = 5 * time.Second  // how often silence is looked at
	downGrace      = 30 * time.Second // a host restart; what is sent meanwhile waits
	closeTimeout   = 3 * time.Second  // for the last writes and the closing tag
	retryMin       = 500 * time.Millisecond
	retryMax       = 30 * time.Second
)

// LinkConfig says where the host is and what is attached to it.
type LinkConfig struct {
	Server string // host:port of the host's component listener
	Domain string // the component's domain
	Secret string
	PingTo string // a domain of the host that answers pings; none: no pings are sent

	Limits      Limits        // of what the host sends
	MaxStanza   int           // octets; what is longer is refused. Default 500,000: Prosody's limit is 512 KiB
	Buffer      int           // octets that wait to be written; default 4 MiB
	SendTimeout time.Duration // how long Send waits for room in the buffer; default 10 s

	Log   *slog.Logger // default slog.Default()
	Label string       // what the domain is called in the log; default "domain"
}

// A Link is one connection to the host for one domain (XEP-0114), kept up by Run.
type Link struct {
	c    LinkConfig
	h    Handler
	log  *slog.Logger
	addr jid.JID
	out  *outbox

	mu        sync.Mutex
	up        chan struct{} // closed while the link is up
	isUp      bool
	downSince time.Time
	err       error // why it is down

	heard atomic.Int64 // when bytes last came from the host, Unix nanoseconds
}

// NewLink makes a Link that gives what comes from the host to h.
func NewLink(c LinkConfig, h Handler) (*Link, error) {
	addr, err := jid.New("", c.Domain, "")
	if err != nil {
		return nil, fmt.Errorf("component: domain %q: %w", c.Domain, err)
	}
	if c.MaxStanza == 0 {
		c.MaxStanza = 500_000
	}
	if c.Buffer == 0 {
		c.Buffer = 4 << 20
	}
	if c.SendTimeout == 0 {
		c.SendTimeout = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Label == "" {
		c.Label = "domain"
	}
	return &Link{c: c, h: h, addr: addr, log: c.Log.With(c.Label, c.Domain), out: newOutbox(c.Buffer),
		up: make(chan struct{}), downSince: time.Now()}, nil
}

// Up is closed while the link is up. After the link was down it is another channel.
func (l *Link) Up() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// Err is nil while the link is up, and otherwise why it is not.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isUp {
		return nil
	}
	if l.err == nil {
		return errors.New("component: not connected yet")
	}
	return l.err
}

// Run connects to the host and stays connected, until ctx is done; then it writes
// what was sent before, closes the stream and returns nil.
func (l *Link) Run(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval, retry.RandomizationFactor = retryMin, retryMax, 0.3
	var told string
	for {
		conn, err := Connect(ctx, l.c.Server, l.c.Domain, l.c.Secret)
		if err == nil {
			told = ""
			l.setUp()
			l.log.Info("attached to the host", "server", l.c.Server)
			began := time.Now()
			err = l.serve(ctx, conn)
			if ctx.Err() != nil {
				l.setDown(ctx.Err())
				return nil
			}
			if time.Since(began) > retryMax {
				retry.Reset()
			}
		}
		l.setDown(err)
		if ctx.Err() != nil {
			return nil
		}
		wait := retry.NextBackOff()
		// The same trouble is told once, not at every try.
		if text := err.Error(); text != told {
			told = text
			l.log.Warn("not attached to the host, will keep trying", "server", l.c.Server, "error", err)
		} else {
			l.log.Debug("still not attached to the host", "error", err, "retry", wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Send writes the stanza to the host, by a buffer. It waits while the buffer is full,
// up to SendTimeout. The error is remote-server-timeout when the host is away,
// policy-violation when the stanza is longer than the host takes, and bad-request
// when it lacks an address (the host would close the stream).
func (l *Link) Send(ctx context.Context, s *Stanza) error {
	var none jid.JID
	if s.To.Equal(none) || s.From.Equal(none) {
		return NewError(stanza.Modify, stanza.BadRequest, "")
	}
	l.mu.Lock()
	away := !l.isUp && time.Since(l.downSince) > downGrace
	l.mu.Unlock()
	if away {
		return NewError(stanza.Wait, stanza.RemoteServerTimeout, "")
	}
	xml := s.AppendXML(nil, NSAccept)
	if len(xml) > l.c.MaxStanza {
		return NewError(stanza.Modify, stanza.PolicyViolation, "The stanza is too long.")
	}
	ctx, cancel := context.WithTimeout(ctx, l.c.SendTimeout)
	defer cancel()
	if err := l.out.put(ctx, xml); err != nil {
		return NewError(stanza.Wait, stanza.RemoteServerTimeout, "")
	}
	return nil
}

func (l *Link) setUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isUp, l.err = true, nil
	close(l.up)
}

func (l *Link) setDown(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isUp {
		l.isUp, l.downSince, l.up = false, time.Now(), make(chan struct{})
	}
	l.err = err
}

// serve reads and writes until the connection ends or ctx is done.
func (l *Link) serve(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	l.heard.Store(time.Now().UnixNano())
	stop := make(chan struct{})
	wrote := make(chan error, 1)
	w := deadlineWriter{conn, writeTimeout}
	go func() {
		err := l.out.pump(stop, w, tick, func() error { return l.keepAlive(w) })
		if err != nil {
			conn.Close() // ends the reader
		}
		wrote <- err
	}()
	closed := context.AfterFunc(ctx, func() {
		// What was sent before goes out, then the closing tag; the host answers it.
		conn.SetReadDeadline(time.Now().Add(closeTimeout))
		l.out.flush(deadlineWriter{conn, closeTimeout})
		io.WriteString(deadlineWriter{conn, closeTimeout}, "</stream:stream>")
	})
	defer closed()

	err := l.read(ctx, conn)
	conn.Close()
	close(stop)
	if werr := <-wrote; werr != nil && !errors.Is(werr, net.ErrClosed) {
		return fmt.Errorf("component: write to the host: %w", werr)
	}
	return err
}

func (l *Link) read(ctx context.Context, conn net.Conn) error {
	d := NewContentDecoder(&heardReader{conn, &l.heard}, NSAccept, l.c.Limits)
	for {
		e, err := d.Next()
		if err == io.EOF {
			return errors.New("component: the host closed the connection")
		}
		if over := new(OversizeError); errors.As(err, &over) {
			l.refuse(ctx, e, NewError(stanza.Modify, stanza.PolicyViolation, "The stanza is too large: "+over.Reason+"."))
			continue
		}
		if err != nil {
			var se *StreamError
			if errors.As(err, &se) {
				// The closing tag too: XEP-0114 streams end like all others.
				io.WriteString(deadlineWriter{conn, closeTimeout}, se.Element().String()+"</stream:stream>")
			}
			return fmt.Errorf("component: read from the host: %w", err)
		}
		if e.Is(NSStream, "error") {
			return explain(ParseStreamError(e))
		}
		l.take(ctx, e)
	}
}

// take handles one stanza from the host.
func (l *Link) take(ctx context.Context, e *Element) {
	s, err := ParseStanza(e)
	if s == nil {
		l.log.Warn("the host sent something that is not a stanza", "name", e.Name.Local)
		return
	}
	if err != nil {
		err = NewError(stanza.Modify, stanza.JIDMalformed, "")
	} else if s.To.Equal(jid.JID{}) || s.From.Equal(jid.JID{}) {
		err = NewError(stanza.Modify, stanza.BadRequest, "")
	} else if s.Kind == IQ && len(s.ID) > len(pingID) && s.ID[:len(pingID)] == pingID {
		return // the answer to a ping of ours
	} else {
		err = l.h.HandleStanza(ctx, s)
	}
	if err != nil {
		l.answer(ctx, s, err)
	}
}

// refuse answers an element that is not handled.
func (l *Link) refuse(ctx context.Context, e *Element, err error) {
	if s, perr := ParseStanza(e); perr == nil {
		l.answer(ctx, s, err)
	}
}

// answer answers a stanza from the host with an error.
func (l *Link) answer(ctx context.Context, s *Stanza, err error) {
	if r := s.Error(err); r != nil {
		if r.From.Equal(jid.JID{}) {
			r.From = l.addr
		}
		if err := l.Send(ctx, r); err != nil {
			l.log.Warn("an error could not be returned to the host", "error", err)
		}
	}
}

const pingID = "allium-link-ping-"

// keepAlive pings a host that has been silent (XEP-0199 §4.2, server to component),
// and gives up on one that does not answer.
func (l *Link) keepAlive(w io.Writer) error {
	silent := time.Since(time.Unix(0, l.heard.Load()))
	switch {
	case l.c.PingTo == "":
		if silent > probeAfter {
			_, err := w.Write([]byte{' '})
			return err
		}
	case silent > giveUpAfter:
		return fmt.Errorf("no answer to a ping for %v", silent.Round(time.Second))
	case silent > probeAfter:
		to, err := jid.New("", l.c.PingTo, "")
		if err != nil {
			return err
		}
		ping := &Stanza{Kind: IQ, Type: string(stanza.GetIQ), ID: pingID + rand.Text(), To: to, From: l.addr}
		_, err = w.Write(ping.Add(NewElement(NSPing, "ping")).AppendXML(nil, NSAccept))
		return err
	}
	return nil
}

// Connect connects to a host's component listener and does the handshake of
// XEP-0114. The connection returned is inside a stream, from where
// NewContentDecoder with NSAccept reads on. Errors say what the admin can do.
func Connect(ctx context.Context, server, domain, secret string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	addr, err := jid.New("", domain, "")
	if err != nil {
		return nil, fmt.Errorf("component: domain %q: %w", domain, err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, &HostError{Err: err, Hint: "is the host running, and is " + server + " its component port?"}
	}
	if _, err = mcomponent.NewSession(ctx, addr, []byte(secret), &byteConn{conn}); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return nil, &HostError{Err: err, Hint: "the host took the connection but did not finish the handshake in time"}
		}
		return nil, explain(err)
	}
	return conn, nil
}

// A HostError is trouble with the host, with a hint for the admin.
type HostError struct {
	Err  error
	Hint string
}

func (e *HostError) Error() string { return "component: " + e.Err.Error() + " (" + e.Hint + ")" }

// Unwrap gives the cause, such as a stream.Error.
func (e *HostError) Unwrap() error { return e.Err }

// explain adds what the admin can do about a stream error from the host.
func explain(err error) error {
	hint := ""
	switch {
	case errors.Is(err, stream.NotAuthorized):
		hint = "wrong secret, or, with ejabberd, a domain that the host has no component for: both must be as in the host's configuration"
	case errors.Is(err, stream.HostUnknown), errors.Is(err, stream.HostGone):
		hint = "the host has no component of this domain: add it to the host's configuration, and restart Prosody or reload ejabberd"
	case errors.Is(err, stream.Conflict):
		hint = "another program, or another Allium, is attached for this domain"
	case errors.Is(err, stream.SystemShutdown):
		hint = "the host is shutting down"
	case errors.Is(err, stream.PolicyViolation):
		hint = "the host refused what it was sent; see its log"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		hint = "the host closed the connection without a reason; see its log"
	default:
		hint = "see the host's log"
	}
	return &HostError{Err: err, Hint: hint}
}

// byteConn reads one byte at a time, so that mellium's session, which is only used
// for the handshake, leaves what comes behind it for the Decoder.
type byteConn struct{ net.Conn }

func (c *byteConn) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return c.Conn.Read(p)
}

type heardReader struct {
	r     io.Reader
	heard *atomic.Int64
}

func (h *heardReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if n > 0 {
		h.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

type deadlineWriter struct {
	conn    net.Conn
	timeout time.Duration
}

func (w deadlineWriter) Write(p []byte) (int, error) {
	w.conn.SetWriteDeadline(time.Now().Add(w.timeout))
	return w.conn.Write(p)
}
