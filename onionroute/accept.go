package onionroute

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"mellium.im/sasl"
	"mellium.im/xmpp/jid"
	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// serve runs a stream that somebody opened to us, as the receiving entity of RFC 6120,
// until it ends. Who it is, its chain tells, or Dialback (XEP-0220) does.
func (st *stream) serve(ctx context.Context, direct bool) {
	defer st.cancel()
	// At the end, whatever is being written has to hurry.
	defer context.AfterFunc(ctx, func() { st.c.hurry(time.Now().Add(closeTimeout)) })()
	err := st.g.careful(st, func() error { return st.converse(st.ctx, direct) })
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		err = component.NewStreamError(condition.SystemShutdown, "")
	case errors.As(err, &timeout) && timeout.Timeout():
		err = component.NewStreamError(condition.ConnectionTimeout, "silent for too long")
	}
	st.log.Debug("stream from a peer ended", "reason", err)
	st.err = err
	close(st.ended)
	st.rested()
	if name := st.peerName(); st.session() != nil && !st.g.dropped(name, st) {
		return // the peer's goroutine has the last word
	}
	st.end(err)
	if sess := st.session(); sess != nil && sess.broke(st) {
		st.g.orphaned(st, sess)
	}
}

func (st *stream) converse(ctx context.Context, direct bool) error {
	// The end of the program interrupts the reader.
	ctx, cancel := st.lasting(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { st.c.raw.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	st.patience(ctx, st.g.times.header)
	if direct {
		st.c.mute.Store(true)
		if err := st.startTLS(true); err != nil {
			return err
		}
	}
	for {
		if err := st.open(); err != nil {
			return err
		}
		st.patience(ctx, st.g.times.auth)
		if restart, err := st.elements(ctx); !restart {
			return err
		}
	}
}

// lasting is a context that outlives the end of the program where what the peer has written and
// we have not read would be lost, since it never asks what has arrived: the peer is told, and
// has a moment to end the stream in its turn (RFC 6120 §4.4).
func (st *stream) lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	reads, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		defer cancel()
		if !st.isProven("") || st.isTrusted() || st.session() != nil || st.c.finish(component.NewStreamError(condition.SystemShutdown, "")) != nil {
			return
		}
		select {
		case <-reads.Done():
		case <-time.After(closeTimeout):
		}
	})
	return reads, func() { stop(); cancel() }
}

// startTLS puts TLS under a stream that the peer opened, and looks who it says it is.
func (st *stream) startTLS(direct bool) error {
	st.g.guard.did("tls-names")
	c, err := st.c.startTLS(false, func(c net.Conn) *tls.Conn { return tls.Server(c, st.g.credentials.serverTLS(direct)) })
	if err != nil {
		return err
	}
	st.tls = c
	st.readChain(x509.ExtKeyUsageClientAuth)
	return nil
}

// readChain takes note of what the other end's chain proves. Without a good one, it is
// dialback that tells.
func (st *stream) readChain(usage x509.ExtKeyUsage) {
	state := st.tls.ConnectionState()
	certs := state.PeerCertificates
	if len(certs) == 0 {
		return
	}
	// Every Allium has this key exchange, which there is with TLS 1.3 alone. Who has not, or
	// was made to do without, is none.
	if state.CurveID != tls.X25519MLKEM768 {
		st.log.Debug("the other end's certificates do not count with that TLS", "version", state.Version, "exchange", state.CurveID)
		return
	}
	name, err := verifyChain(certs, usage, time.Now())
	if err != nil {
		st.log.Debug("the other end's certificates prove nothing", "reason", err)
		return
	}
	if name != st.g.m.Identity {
		st.chain, st.leaf = name, certs[0]
	}
}

// takeTLS starts TLS as the peer asks (RFC 6120 §5).
func (st *stream) takeTLS() error {
	if st.c.secure || st.asksProof {
		st.c.send(component.NewElement(nsTLS, "failure"))
		return component.NewStreamError(condition.PolicyViolation, "starttls out of place")
	}
	if err := st.c.send(component.NewElement(nsTLS, "proceed")); err != nil {
		return err
	}
	return st.startTLS(false)
}

// open reads their header and answers with ours, and features.
func (st *stream) open() error {
	h, err := st.c.readHeader()
	if err != nil {
		return err
	}
	id := streamID()
	st.mu.Lock()
	st.id = id
	st.mu.Unlock()
	to, ours := st.g.ourDomain(h.to)
	if !ours {
		st.g.guard.did("stream-names")
		st.c.writeHeader(header{id: id})
		return component.NewStreamError(condition.HostUnknown, "stream to "+h.to)
	}
	reply := header{from: to, id: id}
	from := ""
	if j, err := jid.New("", h.from, ""); err == nil && st.g.m.remote(j.Domainpart()) {
		from = j.Domainpart()
		reply.to = from
	}
	st.g.guard.did("fingerprint")
	if err := st.c.writeHeader(reply); err != nil {
		return err
	}
	if from != "" && st.g.peerAllowed(st.g.m.At(from)) != nil {
		return component.NewStreamError(condition.PolicyViolation, "the peer is not allowed")
	}
	if !h.version {
		return nil
	}
	features := component.NewElement(component.NSStream, "features")
	features.Prefix = "stream"
	if !st.c.secure {
		features.Add(component.NewElement(nsTLS, "starttls"))
	}
	switch {
	case st.isTrusted():
		features.Add(smElement("sm"))
	case st.chain != "" && st.chain == st.g.m.At(from):
		features.Add(component.NewElement(nsSASL, "mechanisms").Add(component.NewElement(nsSASL, "mechanism", component.Text("EXTERNAL"))),
			component.NewElement(nsBidiFeatures, "bidi"))
		fallthrough
	default:
		features.Add(component.NewElement(nsDialbackFeatures, "dialback").Add(component.NewElement(nsDialbackFeatures, "errors")))
	}
	return st.c.send(features)
}

// authenticate lets in a peer whose chain has proved its name (XEP-0178 §3).
func (st *stream) authenticate(ctx context.Context, e *component.Element) (restart bool, err error) {
	if err := st.external(e); err != nil {
		st.c.send(err.element())
		return false, component.NewStreamError(condition.NotAuthorized, err.Error())
	}
	st.mu.Lock()
	st.base, st.trusted = st.chain, true
	st.mu.Unlock()
	st.log = st.log.With("peer", st.chain)
	st.c.d.SetLimits(st.g.c.Authenticated)
	st.patience(ctx, st.g.times.silence)
	st.g.claim(st, st.chain)
	st.g.spool.correct(st.chain, st.g.unwritten)
	if err := st.c.send(component.NewElement(nsSASL, "success")); err != nil {
		return false, err
	}
	st.c.d.Restart()
	st.c.opened.Store(false)
	return true, nil
}

// external checks a request of the mechanism EXTERNAL.
func (st *stream) external(e *component.Element) *saslFailure {
	fail := func(f saslFailure) *saslFailure { return &f }
	authzid, err := externalAuthzid(e)
	var f saslFailure
	switch {
	case errors.As(err, &f):
		return &f
	case st.chain == "" || st.asksProof || st.isProven("") || st.g.peerAllowed(st.chain) != nil:
		return fail(notAuthorized)
	}
	server := sasl.NewServer(external, func(n *sasl.Negotiator) bool {
		_, _, as := n.Credentials()
		return len(as) == 0 || string(as) == st.chain
	})
	if _, _, err := server.Step([]byte(authzid)); err != nil {
		return fail(invalidAuthzid)
	}
	return nil
}

// ourDomain tells if peers can reach that domain here.
func (g *Gateway) ourDomain(s string) (string, bool) {
	j, err := jid.New("", s, "")
	if err != nil {
		return "", false
	}
	return j.Domainpart(), g.m.Serves(j.Domainpart())
}
