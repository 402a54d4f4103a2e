package onionroute

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// errOffered tells that the peer has opened a stream that ours can go by.
var errOffered = errors.New("onionroute: the peer has opened a stream")

// connect opens a stream to the peer. Another Allium takes TLS from the first octet, and
// proves itself by it; others mostly have the one port only. What worked is remembered.
func (p *peer) connect(ctx context.Context) (*stream, error) {
	dialing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !p.dials(cancel) {
		return nil, errOffered
	}
	defer p.dials(nil)
	if p.stale {
		p.lookAnew(dialing)
		p.stale = false
	}
	st, err := p.connectBy(dialing)
	if cause := context.Cause(dialing); errors.Is(cause, errOffered) && err != nil {
		return nil, errOffered
	}
	return st, err
}

func (p *peer) connectBy(ctx context.Context) (*stream, error) {
	direct, known := p.g.spool.direct(p.onion, p.g.times.abilities)
	if direct || !known {
		st, err := p.open(ctx, portServerTLS)
		closed := !known && errors.Is(err, io.EOF) // as by a proxy with nothing behind it
		if err == nil || ctx.Err() != nil || !otherPort(err) && !closed {
			return st, err
		}
		p.log.Debug("the peer has no direct TLS", "reason", err)
	}
	p.g.dialer.Findable(ctx) // since the peer calls back
	st, err := p.open(ctx, portServer)
	if err == nil && (direct || !known) {
		p.g.learnt(p.onion, false)
	}
	return st, err
}

// otherPort tells if the error says that the service is there, but that the port is not
// one for TLS.
func otherPort(err error) bool {
	var socks *SOCKSError
	if errors.As(err, &socks) {
		return socks.Code < socksNoDescriptor && socks.Code != socksTimeout
	}
	var alert tls.AlertError
	var record tls.RecordHeaderError
	return errors.As(err, &alert) || errors.As(err, &record)
}

// errDoubted tells that the peer does not believe our chain.
var errDoubted = errors.New("onionroute: the peer does not believe our chain: is one of the clocks wrong by days?")

// errNoTLS tells that the peer offered TLS, and did not take it.
var errNoTLS = errors.New("onionroute: the peer refused TLS")

// errNotTaken tells that a session cannot go on yet.
var errNotTaken = errors.New("onionroute: the host has not taken yet what the peer sent last")

// open connects to a port of the peer and negotiates a stream.
func (p *peer) open(ctx context.Context, port int) (*stream, error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience+p.g.times.negotiate)
	defer cancel()
	raw := &eagerConn{dial: func(first []byte) (net.Conn, error) { return p.reach(ctx, port, first) }}
	st := p.g.newStream(context.WithoutCancel(p.g.ctx), newConn(raw, p.g.c.Unauthenticated, p.g.times.write))
	st.initiator, st.base, st.p, st.log = true, p.onion, p, p.log
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	if err := st.g.careful(st, func() error { return st.negotiate(p, port == portServerTLS) }); err != nil {
		st.cancel()
		close(st.ended)
		if raw.failed != nil {
			if !otherPort(raw.failed) && !errors.Is(context.Cause(ctx), errOffered) {
				p.failures++ // and not by a circuit that is on its way to where the peer was
				p.patience = min(2*p.patience, p.g.times.dialMax)
			}
			return nil, raw.failed
		}
		st.c.end(err)
		if ctx.Err() != nil {
			err = fmt.Errorf("onionroute: no stream within %v: %w", p.g.times.negotiate, err)
		}
		return nil, err
	}
	p.patience = p.g.times.redial
	p.log.Debug("stream to the peer", "tls", st.c.secure, "proven", st.trusted, "bidi", st.bidi)
	return st, nil
}

// negotiate opens the stream, with TLS if the peer has it.
func (st *stream) negotiate(p *peer, direct bool) error {
	if direct {
		if err := st.clientTLS(p.onion, true); err != nil {
			return err
		}
	}
	for {
		st.g.guard.did("fingerprint")
		if st.chain == p.onion && time.Since(p.doubted) > p.g.times.abilities {
			return st.pipeline(p)
		}
		if err := st.c.writeHeader(header{from: st.g.m.Identity, to: st.g.m.Name(p.onion)}); err != nil {
			return err
		}
		h, err := st.c.readHeader()
		if err != nil {
			return err
		}
		st.id = h.id
		if !h.version {
			return nil // before RFC 3920 there were no features
		}
		features, err := st.features()
		if err != nil {
			return err
		}
		if st.c.secure || features.Child(nsTLS, "starttls") == nil {
			st.offersSM = features.Child(nsSM, "sm") != nil
			if features.Child(nsBidiFeatures, "bidi") == nil {
				return nil
			}
			st.bidi = true
			st.c.d.SetLimits(st.g.c.Authenticated)
			return st.c.send(component.NewElement(nsBidi, "bidi"))
		}
		if err := st.c.send(component.NewElement(nsTLS, "starttls")); err != nil {
			return err
		}
		proceed, err := st.next()
		if err != nil {
			return err
		}
		if !proceed.Is(nsTLS, "proceed") {
			return errNoTLS
		}
		if err := st.clientTLS(p.onion, false); err != nil {
			return err
		}
	}
}

func (st *stream) clientTLS(onion string, direct bool) error {
	st.g.guard.did("tls-names")
	c, err := st.c.startTLS(true, func(c net.Conn) *tls.Conn {
		return tls.Client(c, st.g.credentials.clientTLS(st.g.m.Name(onion), direct))
	})
	if err != nil {
		return err
	}
	st.tls = c
	st.readChain(x509.ExtKeyUsageServerAuth)
	return nil
}

func (st *stream) features() (*component.Element, error) {
	f, err := st.next()
	if err == nil && !f.Is(component.NSStream, "features") {
		err = component.NewStreamError(condition.BadFormat, "no features")
	}
	return f, st.refusal(err)
}

// pipeline opens the stream to a peer that has proved itself by its chain, in one
// flight: since what it will answer is known, nothing has to wait for it. The first
// stanzas go right behind. The answers are read by confirm.
func (st *stream) pipeline(p *peer) error {
	if !p.dials(nil) { // from now on it is not given up for another
		return errOffered
	}
	st.trusted, st.bidi, st.pipelined = true, true, true
	sess, err := p.sessionFor(st)
	if err != nil {
		return err
	}
	head := header{from: st.g.m.Identity, to: st.g.m.Name(p.onion)}
	flight := appendHeader(nil, head)
	flight = component.NewElement(nsBidi, "bidi").AppendXML(flight, component.NSServer)
	flight = externalAuth("").AppendXML(flight, component.NSServer)
	flight = appendHeader(flight, head)
	if st.resuming {
		flight = smElement("resume").With("previd", sess.previd()).With("h", number(sess.toldPeer())).AppendXML(flight, component.NSServer)
	} else {
		flight = smElement("enable").With("resume", "true").AppendXML(flight, component.NSServer)
	}
	st.goOn(sess)
	st.c.d.SetLimits(st.g.c.Authenticated)
	st.c.opened.Store(true)
	if st.resuming { // nothing goes behind before the answer
		return st.c.write(flight)
	}
	st.c.ahead(flight)
	return nil
}

// sessionFor makes or finds the session for a stream that we open.
func (p *peer) sessionFor(st *stream) (*session, error) {
	if p.session != nil {
		if !p.asks() {
			return nil, errOffered
		}
		if err := p.settle(p.session, st); err != nil {
			return nil, err
		}
		st.setAsking(true)
		return p.session, nil
	}
	id, err := smID(st.tls)
	if err != nil {
		return nil, err
	}
	sess := newSession(p.onion, id)
	if _, err := sess.tell(p.g); err != nil {
		return nil, err
	}
	if !p.ownNew(sess) {
		p.g.endSession(sess)
		return nil, errOffered
	}
	sess.start(p.g)
	st.setAsking(false)
	return sess, nil
}

// setAsking notes what the peer is asked for: to resume a session, or for a new one.
func (st *stream) setAsking(resume bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.resuming, st.enabling = resume, !resume
}

// settle waits until all that was read in a session, before it goes on by st, has been
// handled, and keeps that.
func (p *peer) settle(sess *session, st *stream) error {
	sess.only(st)
	if !sess.settle(p.g.times.answerMax, p.g.ending) {
		return errNotTaken
	}
	_, err := sess.tell(p.g)
	return err
}

// confirm reads the answers to pipeline, in the reader's goroutine.
func (st *stream) confirm() error {
	if _, err := st.c.readHeader(); err != nil {
		return err
	}
	if _, err := st.features(); err != nil {
		return err
	}
	e, err := st.next()
	if err != nil {
		return err
	}
	if !e.Is(nsSASL, "success") {
		return errDoubted
	}
	st.c.d.Restart()
	if _, err := st.c.readHeader(); err != nil {
		return err
	}
	_, err = st.features()
	return err
}

// read reads a stream that we opened until it ends, at the end of the program too: who cannot
// resume it does not write again what is under way. Who can does.
func (st *stream) read() {
	defer close(st.ended)
	if st.pipelined {
		defer context.AfterFunc(st.g.ctx, st.cancel)()
	}
	st.err = st.g.careful(st, func() error {
		if st.pipelined {
			if err := st.confirm(); err != nil {
				return err
			}
			st.g.learnt(st.base, true)
			st.p.reached()
		}
		_, err := st.elements(st.ctx)
		return err
	})
}
