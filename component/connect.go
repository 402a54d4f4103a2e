package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	mcomponent "mellium.im/xmpp/component"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stream"
)

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
		return nil, &HostError{Err: err, Hint: "is the host running, and is " + server + " its component port? Prosody has one after it was restarted with a component in its configuration, ejabberd after a reload"}
	}
	if err := handshake(ctx, conn, addr, secret); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return nil, &HostError{Err: err, Hint: "the host took the connection but did not finish the handshake in time"}
		}
		return nil, explain(err)
	}
	return Quick(conn), nil
}

// handshake does that of XEP-0114 §3, until ctx is done.
func handshake(ctx context.Context, conn net.Conn, addr jid.JID, secret string) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	_, err := mcomponent.NewSession(ctx, addr, []byte(secret), &byteReadWriter{conn})
	if !stop() && err == nil {
		return ctx.Err()
	}
	return err
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
		hint = "the host has no component of this domain: add it to the host's configuration, and restart Prosody or reload ejabberd; or this is not its component port"
	case errors.Is(err, stream.Conflict):
		hint = "another program, or another Allium, is attached for this domain"
	case errors.Is(err, stream.SystemShutdown):
		hint = "the host is shutting down"
	case errors.Is(err, stream.InvalidNamespace), errors.Is(err, stream.UnsupportedStanzaType):
		hint = "this is not the host's component port, but one for clients or servers"
	case errors.Is(err, stream.PolicyViolation):
		hint = "the host refused what it was sent; see its log"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		err = io.EOF // which of these it is, is chance, and some have our port in them: the same is told once
		hint = "the host closed the connection without a reason: is this its component port? See its log"
	default:
		hint = "see the host's log"
	}
	return &HostError{Err: err, Hint: hint}
}

// byteReadWriter reads one byte at a time, so that mellium's session, which is only used
// for the handshake, leaves what comes behind it for the Decoder. It does not let it see
// that it is a net.Conn: mellium would set its deadlines, and do so even after the
// handshake if ctx is done right then, by which the first read would fail.
type byteReadWriter struct{ conn net.Conn }

func (c *byteReadWriter) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return c.conn.Read(p)
}

func (c *byteReadWriter) Write(p []byte) (int, error) { return c.conn.Write(p) }

type deadlineWriter struct {
	conn    net.Conn
	timeout time.Duration
}

func (w deadlineWriter) Write(p []byte) (int, error) {
	w.conn.SetWriteDeadline(time.Now().Add(w.timeout))
	return w.conn.Write(p)
}
