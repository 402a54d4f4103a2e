package onionroute

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

const (
	nsBidi         = "urn:xmpp:bidi" // XEP-0288
	nsBidiFeatures = "urn:xmpp:features:bidi"
)

// A stream is an XML stream with a peer, whoever opened it. One goroutine reads it; a
// stream that carries stanzas of ours has the peer's goroutine too, in pump.
type stream struct {
	g         *Gateway
	log       *slog.Logger
	c         *conn
	initiator bool      // we opened it
	tls       *tls.Conn // nil where there is none
	since     time.Time
	lived     lived // when the peer last sent a stanza by it

	chain string            // the onion name that the other end's chain proves; "" if it has none
	leaf  *x509.Certificate // of the chain

	ctx    context.Context // ends when the stream is given up
	cancel context.CancelFunc

	ended chan struct{} // closed when the reader has ended, by err
	err   error
	kick  chan struct{} // has a token when the reader has changed something for pump

	pipelined bool // we have not waited for the peer's answers; see pipeline
	offersSM  bool // it has stream management for those who have proved who they are

	acking sync.Mutex // held while an acknowledgement is made and written

	mu      sync.Mutex
	id      string          // of the header of the side that was called
	base    string          // X.onion at the other end; "" until it is proven
	trusted bool            // it is by its chain, with all names that leaf is for
	bidi    bool            // stanzas go both ways
	proven  map[string]bool // domains at the other end
	asking  map[pair]bool   // of which verifications are under way

	pairs map[pair]*outPair
	asked map[dialback]*verification // by from, to and id
	heard time.Time
	used  time.Time

	handling bool // what was heard last

	resting *time.Timer // ends the stream, in order, when the peer has been silent for too long

	sess    *session // nil: there is none yet
	managed bool     // by XEP-0198

	p             *peer       // whose goroutine is in pump
	wants         *resumption // the peer's request, not seen to yet
	wanted        bool        // it is not answered yet
	enabling      bool        // we have asked for a new session
	resuming      bool        // we have asked to go on with sess
	resumed       *uint32     // the answer: how many the peer has handled
	refusedResume bool

	ready    []*item // to be written
	useful   bool    // a question was answered, or a stanza taken
	draining bool    // another stream is to be used
	over     bool    // the session has ended in order; stanzas are left to the next one
	probe    string  // what was asked, for its answer; see ask
	probed   time.Time
	covers   uint32        // the number of the last stanza that was written before it
	wrote    time.Time     // when the last write was done
	slowest  time.Duration // answer to a probe

	// The reader's own:
	asksProof bool // a domain was asked to be proven by dialback
	unproven  int  // elements that came before anything was proven
	allowed   int  // how many stanzas it may read before it asks rate again

	rate atomic.Pointer[rate.Limiter] // of stanzas; shared by all streams of the peer

	// Guarded by Gateway.mu:
	known   bool   // something is proven, or being verified
	claimed string // X.onion at the other end, as proven
}

func (g *Gateway) newStream(ctx context.Context, c *conn) *stream {
	now := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	st := &stream{ctx: ctx, cancel: cancel, g: g, log: g.log, c: c, since: now, heard: now, used: now,
		ended: make(chan struct{}), kick: make(chan struct{}, 1),
		proven: map[string]bool{}, asking: map[pair]bool{}, pairs: map[pair]*outPair{}, asked: map[dialback]*verification{}}
	st.rate.Store(g.newRate())
	return st
}

func (st *stream) session() *session {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.sess
}

// peerName is the onion service at the other end, "" if that is not proven.
func (st *stream) peerName() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.base
}

// alive tells if the stream has not ended.
func (st *stream) alive() bool {
	select {
	case <-st.ended:
		return false
	default:
		return true
	}
}

// next reads an element; a stream error is an error.
func (st *stream) next() (*component.Element, error) {
	e, err := st.c.d.Next()
	if err == nil && e.Is(component.NSStream, "error") {
		err = component.ParseStreamError(e)
		if errors.Is(err, condition.SeeOtherHost) {
			st.g.guard.did("redirect")
		}
		return nil, err
	}
	return e, err
}

// elements handles what comes until the stream ends, or begins anew.
func (st *stream) elements(ctx context.Context) (restart bool, err error) {
	if !st.initiator {
		// Who has begun an element has to finish it, and not keep it in our memory.
		st.c.d.Begin = func() { st.patience(ctx, st.g.times.element) }
	}
	for {
		e, err := st.next()
		over := new(component.OversizeError)
		tooLarge := errors.As(err, &over) && st.isProven(domainOf(e.AttrValue("from")))
		if err != nil && !tooLarge {
			return false, err
		}
		st.hears(true)
		if !st.initiator {
			if !st.isProven("") {
				if st.unproven++; st.unproven > maxUnproven {
					return false, component.NewStreamError(condition.PolicyViolation, "too much before anything is proven")
				}
				st.patience(ctx, st.g.times.auth-time.Since(st.since))
			}
			if st.isProven("") { // it may have become that meanwhile
				st.rest(ctx)
			}
		}
		if tooLarge {
			st.refuse(e, component.NewError(stanza.Modify, stanza.PolicyViolation, ""))
			st.hears(false)
			continue
		}
		restart, err := st.element(ctx, e)
		if restart || err != nil {
			return restart, err
		}
		st.hears(false)
	}
}

// hears notes that the peer is there, and if something that it sent is being handled: until that
// is done, nothing more is heard of it.
func (st *stream) hears(handles bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.heard, st.handling = time.Now(), handles
}

// element handles one element from the peer.
func (st *stream) element(ctx context.Context, e *component.Element) (restart bool, err error) {
	switch {
	case isStanzaName(e.Name):
		return false, st.stanza(ctx, e)
	case e.Name.Space == nsSM:
		return false, st.manage(e)
	case isDialback(e, "verify") && e.AttrValue("type") == "":
		return false, st.vouch(parseDialback(e))
	case isDialback(e, "verify"):
		return false, st.verified(parseDialback(e))
	case isDialback(e, "result") && e.AttrValue("type") != "":
		return false, st.authorized(parseDialback(e))
	case isDialback(e, "result") && (!st.initiator || st.isBidi()):
		return false, st.prove(ctx, parseDialback(e))
	case e.Is(component.NSStream, "features") && st.initiator:
		return false, nil // sent again by some after dialback
	case st.initiator:
	case e.Is(nsTLS, "starttls"):
		err := st.takeTLS()
		return err == nil, err
	case e.Is(nsSASL, "auth"):
		return st.authenticate(ctx, e)
	case e.Is(nsBidi, "bidi"):
		st.mu.Lock()
		st.bidi = true
		st.mu.Unlock()
		return false, nil
	}
	return false, component.NewStreamError(condition.UnsupportedStanzaType, e.Name.Local)
}

func (st *stream) isBidi() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.bidi
}

func (st *stream) isTrusted() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.trusted
}

// isProven tells if the other end is that domain; "" is any. By a stream that we opened
// we have reached the onion service, with all names at it.
func (st *stream) isProven(domain string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.trusted:
		if domain == "" || st.proven[domain] {
			return true
		}
		ok := st.g.m.At(domain) == st.base && (!IsOnion(domain) || covers(st.leaf, domain))
		if ok && len(st.proven) < maxProven {
			st.proven[domain] = true // all of that takes as long as reading a stanza
		}
		return ok
	case st.initiator:
		return st.bidi && (domain == "" || st.g.m.At(domain) == st.base)
	}
	// What is at one onion service has one key: Prosody sends answers of rooms.X.onion by
	// the stream of X.onion, when it was asked by a stream to X.onion.
	for proven := range st.proven {
		if domain == "" || st.g.m.At(proven) == st.g.m.At(domain) {
			return true
		}
	}
	return false
}

// stanza takes a stanza from the peer.
func (st *stream) stanza(ctx context.Context, e *component.Element) error {
	s, err := component.ParseStanza(e)
	if err != nil && st.isProven(domainOf(e.AttrValue("from"))) && st.g.m.Serves(domainOf(e.AttrValue("to"))) {
		return st.misaddressed(ctx, e)
	}
	if err != nil || s.To.Equal(jid.JID{}) || s.From.Equal(jid.JID{}) {
		return component.NewStreamError(condition.ImproperAddressing, "stanza without proper to and from")
	}
	if !st.isProven("") {
		return component.NewStreamError(condition.NotAuthorized, "stanza before anything is proven")
	}
	if !st.isProven(s.From.Domainpart()) {
		return component.NewStreamError(condition.InvalidFrom, "stanza from a domain that was not proven")
	}
	if !st.g.m.Serves(s.To.Domainpart()) {
		return component.NewStreamError(condition.HostUnknown, "stanza to a domain that is not here")
	}
	if err := st.mayRead(ctx); err != nil {
		return err
	}
	if len(s.ID) > component.MaxID {
		st.refuse(e, component.NewError(stanza.Modify, stanza.PolicyViolation, ""))
		return nil
	}
	st.mu.Lock()
	if st.over {
		st.mu.Unlock()
		return nil
	}
	var sess *session
	if st.counts() {
		sess = st.sess
		s.Taken = sess.received(st)
	}
	st.used = time.Now()
	p := st.p
	st.mu.Unlock()
	st.lived.now()
	if p != nil {
		p.lived.now()
	}
	if err := st.g.receive(ctx, s); err != nil {
		if sess != nil {
			sess.counter().notReceived()
		}
		return err
	}
	return nil
}

// counts tells if what is read by the stream now is acknowledged: not what the peer wrote
// before it answered (XEP-0198 §4), as Prosody with bidi does. st.mu is held.
func (st *stream) counts() bool { return st.managed && !st.enabling }

// mayRead waits as long as a peer has to that sends too much, by whichever stream, and as
// long as all strangers have to if it is one.
func (st *stream) mayRead(ctx context.Context) error {
	if st.allowed == 0 {
		n := max(1, st.g.c.StanzaRate/20) // not for each, which would cost more than the stanza
		if err := st.rate.Load().WaitN(ctx, n); err != nil {
			return err
		}
		if st.g.stranger(st.peerName()) {
			if err := st.g.strangerRate.WaitN(ctx, n); err != nil {
				return err
			}
		}
		st.allowed = n
	}
	st.allowed--
	return nil
}

// misaddressed refuses a stanza of which an address cannot be read, but for its domain. A server
// with other rules, as those before RFC 7622, has users with such addresses, and lets others write
// to some: what all the others write must not get lost with the stream.
func (st *stream) misaddressed(ctx context.Context, e *component.Element) error {
	if err := st.mayRead(ctx); err != nil {
		return err
	}
	st.refuse(e, component.NewError(stanza.Modify, stanza.JIDMalformed, ""))
	return nil
}

// refuse answers a stanza that goes no further. Who cannot be addressed has no answer.
func (st *stream) refuse(e *component.Element, why error) {
	st.mu.Lock()
	over, taken := st.over, func() {}
	if st.counts() && !over && isStanzaName(e.Name) {
		taken = st.sess.received(st)
	}
	st.mu.Unlock()
	if over {
		return
	}
	taken()
	s, err := component.ParseStanza(e)
	if err != nil && s != nil && s.To.Equal(jid.JID{}) { // and not by an address that nobody can read
		s.To, err = component.ParseJID(domainOf(e.AttrValue("to")))
	}
	if err == nil && st.g.m.Serves(s.To.Domainpart()) {
		st.g.answer(s, why)
	}
}

// domainOf is the domain of an address, and one that nobody has where there is none.
func domainOf(address string) string {
	bare, _, _ := strings.Cut(address, "/")
	_, domain, found := strings.Cut(bare, "@")
	if !found {
		domain = bare
	}
	j, err := component.NewJID("", domain, "")
	if err != nil {
		return "-"
	}
	return j.Domainpart()
}
