package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"
)

// serve reads and writes until the connection ends or ctx is done.
func (l *Link) serve(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	l.heard.Store(time.Now().UnixNano())
	stop := make(chan struct{})
	wrote := make(chan error, 1)
	go func() {
		err := l.pump(ctx, stop, deadlineWriter{conn, writeTimeout})
		if err != nil {
			conn.SetReadDeadline(time.Now().Add(closeTimeout)) // the host may have said why
		}
		wrote <- err
	}()
	closed := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now().Add(2 * closeTimeout)) })
	defer closed()

	err := l.read(conn)
	conn.Close()
	close(stop)
	werr := <-wrote
	said := new(ReceivedError)
	hostSaid := errors.As(err, &said)
	blame := hostSaid && slices.ContainsFunc(stanzaFaults, func(f stream.Error) bool { return errors.Is(said, f) })
	if hostSaid && said.Reason != "" { // it can name somebody, as Prosody's does of an address that is not ours
		l.log.Debug("the host closed the connection", "text", said.Reason)
	}
	if l.out.requeue(blame) {
		l.log.Warn("the host closed the connection because of a stanza, which is dropped", "error", err)
	}
	if werr != nil && !hostSaid && !errors.Is(werr, net.ErrClosed) {
		return werr
	}
	return err
}

// stanzaFaults are the stream errors that can be the fault of one stanza (RFC 6120
// §4.9.3).
var stanzaFaults = []stream.Error{stream.BadFormat, stream.BadNamespacePrefix, stream.ImproperAddressing,
	stream.InvalidFrom, stream.InvalidNamespace, stream.InvalidXML, stream.NotWellFormed, stream.PolicyViolation,
	stream.RestrictedXML, stream.UnsupportedEncoding, stream.UnsupportedStanzaType}

// pump writes until stop is closed or a write fails. When ctx is done it waits for what
// is under way, and writes the closing tag; the host answers that.
func (l *Link) pump(ctx context.Context, stop <-chan struct{}, w io.Writer) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	end := ctx.Done()
	var late <-chan time.Time
	rested := time.NewTimer(0)
	defer rested.Stop()
	for {
		var err error
		ending := false
		select {
		case <-stop:
			return nil
		case <-l.out.wake:
			if rest := l.out.early(writeRest, writeEnough); rest > 0 {
				rested.Reset(rest)
				continue
			}
			err = l.out.flush(w, false)
		case <-rested.C:
			err = l.out.flush(w, false)
		case <-ticker.C:
			err = l.keepAlive(w)
		case <-end:
			end, late = nil, time.After(closeTimeout)
			err = l.out.flush(w, false)
		case <-late:
			ending = true
		}
		if err != nil {
			return err
		}
		if ending || late != nil && l.out.empty() {
			_, err := io.WriteString(w, "</stream:stream>")
			return err
		}
	}
}

func (l *Link) read(conn net.Conn) error {
	d := NewContentDecoder(&heardReader{conn, &l.heard}, NSAccept, l.c.Limits)
	for {
		e, err := d.Next()
		if err == io.EOF {
			return errors.New("component: the host closed the connection")
		}
		if over := new(OversizeError); errors.As(err, &over) {
			l.refuse(e, NewError(stanza.Modify, stanza.PolicyViolation, "The stanza is too large: "+over.Reason+"."))
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
		l.take(e)
	}
}

// An arrival is a stanza from the host, and what it is answered with if it is not handled.
// It is handled by another goroutine than the one that reads: who handles it may wait for room
// in the outbox, which there is when the host's confirmations are read.
type arrival struct {
	s   *Stanza
	err error
}

// take takes one stanza from the host.
func (l *Link) take(e *Element) {
	s, err := ParseStanza(e)
	if s == nil {
		l.log.Warn("the host sent something that is not a stanza", "name", e.Name.Local)
		return
	}
	if err != nil {
		err = NewError(stanza.Modify, stanza.JIDMalformed, "")
	} else if s.To.Equal(jid.JID{}) || s.From.Equal(jid.JID{}) {
		err = NewError(stanza.Modify, stanza.BadRequest, "")
	} else if s.Kind == IQ && !s.IsRequest() && strings.HasPrefix(s.ID, pingID) {
		if l.out.confirm(s.ID) {
			l.notePing(s)
		}
		return
	} else if len(s.ID) > MaxID {
		err = NewError(stanza.Modify, stanza.PolicyViolation, "The id is too long.")
	}
	l.arrive(arrival{s, err})
}

// arrive has a stanza handled. When too many wait for that, who handles one does not wait for
// room any more: until we read on there is none.
func (l *Link) arrive(a arrival) {
	select {
	case l.in <- a:
	default:
		l.setFull(true)
		l.in <- a
		l.setFull(false)
	}
}

func (l *Link) setFull(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full = is; l.waits != nil {
		l.hurry()
		l.waits = nil
	}
}

// waiting is the context of who handles a stanza.
func (l *Link) waiting(ctx context.Context) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits == nil {
		if l.waits, l.hurry = context.WithCancel(ctx); l.full {
			l.hurry()
		}
	}
	return l.waits
}

// refuse answers an element that is not handled.
func (l *Link) refuse(e *Element, err error) {
	if s, perr := ParseStanza(e); perr == nil {
		l.arrive(arrival{s, err})
	}
}

func (l *Link) handle(ctx context.Context, a arrival) {
	if a.err == nil {
		a.err = l.h.HandleStanza(ctx, a.s)
	}
	if a.err != nil {
		l.answer(ctx, a.s, a.err)
	}
}

// answer answers a stanza from the host with an error.
func (l *Link) answer(ctx context.Context, s *Stanza, err error) {
	if r := s.Error(err); r != nil {
		if r.From.Equal(jid.JID{}) {
			r.From = l.addr
		}
		err := l.Send(ctx, r)
		if s.Kind == Message && errors.Is(err, ErrHostAway) && l.out.squeeze(r.AppendXML(nil, NSAccept), newEntry(r)) {
			return // or nobody would know that it was not delivered
		}
		if err != nil {
			l.log.Warn("an error could not be returned to the host", "error", err)
		}
	}
}

const pingID = "allium-link-ping-"

// keepAlive pings a host that has been silent (XEP-0199 §4.2, as a client does), and
// gives up on one that does not answer, this ping or one behind a batch.
func (l *Link) keepAlive(w io.Writer) error {
	if d := l.out.unanswered(); d > answerTimeout {
		return fmt.Errorf("component: the host has not answered a ping for %v", d.Round(time.Second))
	}
	if time.Since(time.Unix(0, l.heard.Load())) <= probeAfter {
		return nil
	}
	if l.c.PingTo != "" {
		return l.out.flush(w, true)
	}
	if _, err := w.Write([]byte{' '}); err != nil {
		return fmt.Errorf("component: write to the host: %w", err)
	}
	return nil
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
