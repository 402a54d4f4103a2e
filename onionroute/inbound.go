package onionroute

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// An inbound is a stream that somebody opened to us: as the receiving server of
// XEP-0220 (§2.2.1) for their stanzas, and as the authoritative one (§2.2.2) for keys
// of ours. Who it is, only dialback tells. One goroutine, serve, reads it.
type inbound struct {
	g   *Gateway
	log *slog.Logger
	c   *conn
	id  string // of our response header

	mu     sync.Mutex
	proven map[string]bool // domains that dialback succeeded for
	asking map[pair]bool   // verifications under way

	dialback bool // something was asked to be proven; the reader's own

	// Guarded by Gateway.mu:
	since time.Time
	base  string // of the peer that proved to be at the other end
	known bool   // something is proven, or being verified
}

// serve runs the stream until it ends.
func (in *inbound) serve(ctx context.Context, direct bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := in.converse(ctx, direct)
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		err = component.NewStreamError(stream.SystemShutdown, "")
	case errors.As(err, &timeout) && timeout.Timeout():
		err = component.NewStreamError(stream.ConnectionTimeout, "silent for too long")
	}
	in.log.Debug("stream from a peer ended", "reason", err)
	in.c.end(err)
}

func (in *inbound) converse(ctx context.Context, direct bool) error {
	// The end of the program interrupts the reader.
	stop := context.AfterFunc(ctx, func() { in.c.raw.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	in.patience(ctx, in.g.times.header)
	if direct {
		if err := in.c.startTLS(in.serverTLS); err != nil {
			return err
		}
	}
	for {
		if err := in.open(); err != nil {
			return err
		}
		restart, err := in.elements(ctx)
		if !restart {
			return err
		}
	}
}

func (in *inbound) serverTLS(c net.Conn) *tls.Conn { return tls.Server(c, in.g.tls) }

// open reads their header and answers with ours, and features.
func (in *inbound) open() error {
	h, err := in.c.readHeader()
	if err != nil {
		return err
	}
	in.id = streamID()
	to, ours := in.ourDomain(h.to)
	if !ours {
		in.c.writeHeader(header{id: in.id})
		return component.NewStreamError(stream.HostUnknown, "stream to "+h.to)
	}
	reply := header{from: to, id: in.id}
	from, err := jid.New("", h.from, "")
	if err == nil && in.g.m.remote(from.Domainpart()) {
		reply.to = from.Domainpart()
	}
	if err := in.c.writeHeader(reply); err != nil {
		return err
	}
	if reply.to != "" && in.g.peerAllowed(in.g.m.At(reply.to)) != nil {
		return component.NewStreamError(stream.PolicyViolation, "the peer is not allowed")
	}
	if !h.version {
		return nil
	}
	features := component.NewElement(component.NSStream, "features")
	features.Prefix = "stream"
	if !in.c.secure {
		features.Add(component.NewElement(nsTLS, "starttls"))
	}
	features.Add(component.NewElement(nsDialbackFeatures, "dialback").Add(component.NewElement(nsDialbackFeatures, "errors")))
	return in.c.send(features)
}

// ourDomain tells if peers can reach that domain here.
func (in *inbound) ourDomain(s string) (string, bool) {
	j, err := jid.New("", s, "")
	if err != nil {
		return "", false
	}
	return j.Domainpart(), in.g.m.Serves(j.Domainpart())
}

// elements handles what comes until the stream ends, or begins anew with TLS.
func (in *inbound) elements(ctx context.Context) (restart bool, err error) {
	in.patience(ctx, in.g.times.auth)
	for {
		e, err := in.c.d.Next()
		over := new(component.OversizeError)
		if errors.As(err, &over) && in.isProven(domainOf(e.AttrValue("from"))) {
			if s, err := component.ParseStanza(e); err == nil && in.g.m.Serves(s.To.Domainpart()) {
				in.g.answer(s, component.NewError(stanza.Modify, stanza.PolicyViolation, ""))
			}
			continue
		}
		if err != nil {
			return false, err
		}
		if in.isProven("") {
			in.patience(ctx, in.g.times.silence)
		}
		d := parseDialback(e)
		switch {
		case e.Is(component.NSStream, "error"):
			return false, component.ParseStreamError(e)
		case e.Is(nsTLS, "starttls"):
			if in.c.secure || in.dialback {
				in.c.send(component.NewElement(nsTLS, "failure"))
				return false, component.NewStreamError(stream.PolicyViolation, "starttls out of place")
			}
			if err := in.c.send(component.NewElement(nsTLS, "proceed")); err != nil {
				return false, err
			}
			if err := in.c.startTLS(in.serverTLS); err != nil {
				return false, err
			}
			return true, nil
		case isDialback(e, "result") && d.typ == "":
			if err := in.prove(ctx, d); err != nil {
				return false, err
			}
		case isDialback(e, "verify") && d.typ == "":
			if err := in.vouch(d); err != nil {
				return false, err
			}
		case isStanzaName(e.Name):
			if err := in.stanza(ctx, e); err != nil {
				return false, err
			}
		default:
			return false, component.NewStreamError(stream.UnsupportedStanzaType, e.Name.Local)
		}
	}
}

// prove starts to verify that the stream comes from the domain that it says.
func (in *inbound) prove(ctx context.Context, d dialback) error {
	from, ferr := jid.New("", d.from, "")
	to, ours := in.ourDomain(d.to)
	if ferr != nil || d.key == "" {
		return component.NewStreamError(stream.ImproperAddressing, "dialback without domain or key")
	}
	pr := pair{from.Domainpart(), to}
	switch {
	case !ours:
		return in.c.send(d.refuse(stanza.ItemNotFound).element())
	case !in.g.m.remote(pr.from):
		// It is not looked up and not called back: nobody makes us dial but by Tor.
		in.log.Info("refused a stream from outside of Tor, or in our own name")
		return in.c.send(d.refuse(stanza.NotAuthorized).element())
	case in.g.peerAllowed(in.g.m.At(pr.from)) != nil:
		return in.c.send(d.refuse(stanza.PolicyViolation).element())
	}
	in.dialback = true
	in.mu.Lock()
	busy := in.asking[pr] || len(in.asking) >= maxAsking || len(in.proven) >= maxProven || !in.g.startVerify(in, in.g.m.At(pr.from))
	if !busy {
		in.asking[pr] = true
	}
	in.mu.Unlock()
	if busy {
		return in.c.send(d.refuse(stanza.ResourceConstraint).element())
	}
	in.g.wg.Go(func() {
		in.verify(ctx, d, pr)
		in.mu.Lock()
		delete(in.asking, pr)
		known := len(in.asking)+len(in.proven) > 0
		in.mu.Unlock()
		in.g.endVerify(in, in.g.m.At(pr.from), known)
	})
	return nil
}

// verify asks the authoritative server, and tells the initiating one.
func (in *inbound) verify(ctx context.Context, d dialback, pr pair) {
	asking, cancel := context.WithTimeout(ctx, in.g.times.dialback)
	defer cancel()
	a := in.g.verify(asking, dialback{name: "verify", from: pr.to, to: pr.from, id: in.id, key: d.key})
	in.mu.Lock()
	if a.typ == "valid" {
		in.proven[pr.from] = true
	}
	proven := len(in.proven)
	in.mu.Unlock()
	in.log.Debug("dialback", "peer", pr.from, "result", a.typ)
	switch a.typ {
	case "valid":
		in.c.d.SetLimits(in.g.c.Authenticated)
		in.patience(ctx, in.g.times.silence)
		in.g.claim(in, in.g.m.At(pr.from))
		in.c.send(d.answer("valid").element())
	case "invalid":
		in.log.Info("a stream was not from the peer that it said", "peer", pr.from)
		in.c.send(d.answer("invalid").element())
		if proven == 0 {
			in.c.end(nil) // XEP-0220 §2.2.1
		}
	default:
		in.c.send(d.refuse(stanza.RemoteServerNotFound).element())
	}
}

// patience is how long the other side may be silent from now on. The end of the
// program is not put off by it.
func (in *inbound) patience(ctx context.Context, d time.Duration) {
	in.c.raw.SetReadDeadline(time.Now().Add(d))
	if ctx.Err() != nil {
		in.c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// isProven tells if the stream is from that domain; "" is any. What is at one onion
// service has one key, so one domain of it proves the others: Prosody sends answers of
// rooms.X.onion by the stream of X.onion, when it was asked by a stream to X.onion.
func (in *inbound) isProven(domain string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for proven := range in.proven {
		if domain == "" || in.g.m.At(proven) == in.g.m.At(domain) {
			return true
		}
	}
	return false
}

func domainOf(address string) string {
	j, err := jid.Parse(address)
	if err != nil {
		return "-" // no domain
	}
	return j.Domainpart()
}

// vouch tells if a key is one of ours (XEP-0220 §2.2.2).
func (in *inbound) vouch(d dialback) error {
	to, ours := in.ourDomain(d.to)
	if d.from == "" || d.id == "" {
		return component.NewStreamError(stream.ImproperAddressing, "dialback without domain or id")
	}
	if !ours {
		return in.c.send(d.refuse(stanza.ItemNotFound).element())
	}
	if in.g.peerAllowed(in.g.m.At(d.from)) != nil {
		return in.c.send(d.refuse(stanza.PolicyViolation).element())
	}
	typ := "invalid"
	if from, err := jid.New("", d.from, ""); err == nil && in.g.secret.valid(from.Domainpart(), to, d.id, d.key) {
		typ = "valid"
	}
	return in.c.send(d.answer(typ).element())
}

// stanza takes a stanza from the peer.
func (in *inbound) stanza(ctx context.Context, e *component.Element) error {
	s, err := component.ParseStanza(e)
	if err != nil || s.To.Equal(jid.JID{}) || s.From.Equal(jid.JID{}) {
		return component.NewStreamError(stream.ImproperAddressing, "stanza without proper to and from")
	}
	if !in.isProven("") {
		return component.NewStreamError(stream.NotAuthorized, "stanza before dialback")
	}
	if !in.isProven(s.From.Domainpart()) {
		return component.NewStreamError(stream.InvalidFrom, "stanza from a domain that was not proven")
	}
	if !in.g.m.Serves(s.To.Domainpart()) {
		return component.NewStreamError(stream.HostUnknown, "stanza to a domain that is not here")
	}
	in.g.receive(ctx, s)
	return nil
}
