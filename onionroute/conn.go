package onionroute

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// Namespaces of server-to-server streams.
const (
	nsDialback         = "jabber:server:dialback"          // XEP-0220
	nsDialbackFeatures = "urn:xmpp:features:dialback"      // XEP-0220 §2.4.2
	nsTLS              = "urn:ietf:params:xml:ns:xmpp-tls" // RFC 6120 §5
)

// A conn is a connection with one XML stream in each direction (RFC 6120 §4). One
// goroutine reads, any may write, end or abort. Once stanzas go both ways, who reads does
// not write but by reply and later, which do not wait: or two that have much for each
// other would both write, and neither read.
type conn struct {
	raw    net.Conn      // below TLS; deadlines and closing are its business
	delay  time.Duration // of what is not urgent
	limit  time.Duration // for one write
	d      *component.Decoder
	lim    component.Limits // before anything is proven
	secure bool             // TLS is on

	opened atomic.Bool // our header was sent
	mute   atomic.Bool // TLS is to come first: nothing is said in the clear

	mu     sync.Mutex // held while writing
	w      net.Conn
	closed bool // our closing tag was sent

	waiting sync.Mutex // guards what goes before the next write; never held while writing
	first   []byte     // see ahead
	replies []byte     // see reply
	held    []byte     // see later

	last atomic.Int64 // no write lasts longer than until then, Unix nanoseconds; 0: it may
}

func newConn(c net.Conn, lim component.Limits, limit time.Duration) *conn {
	return &conn{raw: c, w: c, delay: laterDelay, limit: limit, d: component.NewDecoder(c, lim), lim: lim}
}

// A header is what matters of a stream's opening tag.
type header struct {
	to, from, id string
	version      bool // it is of version 1.0, so features follow
}

// appendHeader appends a stream's opening tag. Attributes that are empty are left out.
func appendHeader(dst []byte, h header) []byte {
	e := component.NewElement(component.NSStream, "stream")
	for _, a := range []struct{ name, value string }{{"from", h.from}, {"to", h.to}, {"id", h.id}, {"version", "1.0"}} {
		if a.value != "" {
			e.SetAttr(a.name, a.value)
		}
	}
	e.Prefix = "stream"
	dst = e.AppendXML(append(dst, "<?xml version='1.0'?>"...), component.NSServer)
	return append(dst[:len(dst)-len("/>")],
		" xmlns='"+component.NSServer+"' xmlns:stream='"+component.NSStream+"' xmlns:db='"+nsDialback+"' xml:lang='en'>"...)
}

// writeHeader opens our stream.
func (c *conn) writeHeader(h header) error {
	c.opened.Store(true)
	return c.write(appendHeader(nil, h))
}

// readHeader reads the other side's opening tag.
func (c *conn) readHeader() (header, error) {
	e, err := c.d.Header()
	if err != nil {
		return header{}, err
	}
	var content string
	for _, a := range e.Attr {
		if a.Name.Space == component.NSXMLNS && a.Name.Local == "" {
			content = a.Value
		}
	}
	if content != component.NSServer {
		return header{}, component.NewStreamError(condition.InvalidNamespace, "content namespace "+content)
	}
	h := header{to: e.AttrValue("to"), from: e.AttrValue("from"), id: e.AttrValue("id")}
	version := e.AttrValue("version")
	h.version = version != "" && version[0] != '0'
	return h, nil
}

func (c *conn) write(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.writeLocked(p, c.limit)
}

func (c *conn) writeLocked(p []byte, timeout time.Duration) error {
	c.waiting.Lock()
	p = slices.Concat(c.first, c.replies, c.held, p)
	c.first, c.replies, c.held = nil, nil, nil
	c.waiting.Unlock()
	if len(p) == 0 {
		return nil
	}
	deadline := time.Now().Add(timeout)
	if last := c.last.Load(); last != 0 && deadline.After(time.Unix(0, last)) {
		deadline = time.Unix(0, last)
	}
	c.raw.SetWriteDeadline(deadline)
	_, err := c.w.Write(p)
	return err
}

// ahead writes p before what is written next, in one with that, or after a delay.
func (c *conn) ahead(p []byte) {
	c.waiting.Lock()
	defer c.waiting.Unlock()
	c.first = append(c.first, p...)
	time.AfterFunc(c.delay, func() { c.write(nil) })
}

// reply writes e soon, and does not wait for that. It is an error if the peer asks for
// answers, and does not read them.
func (c *conn) reply(e *component.Element) error {
	c.waiting.Lock()
	defer c.waiting.Unlock()
	if len(c.replies) == 0 {
		go c.write(nil)
	}
	c.replies = e.AppendXML(c.replies, component.NSServer)
	if len(c.replies) > maxReplies {
		return component.NewStreamError(condition.PolicyViolation, "answers are not read")
	}
	return nil
}

// later writes e along with what is written next, or by itself if that is nothing for
// a while; it does not wait for that. What waits from before is left out. Two small writes
// cost more than one: a relay of Tor that has not heard yet that the first has arrived can
// hold the second back until it has, which takes up to 40 ms (Nagle's algorithm).
func (c *conn) later(e *component.Element) {
	c.waiting.Lock()
	defer c.waiting.Unlock()
	if c.held == nil {
		time.AfterFunc(c.delay, func() { c.write(nil) })
	}
	c.held = e.AppendXML(nil, component.NSServer)
}

func (c *conn) send(e *component.Element) error {
	return c.write(e.AppendXML(nil, component.NSServer))
}

// startTLS puts TLS under the streams, which both begin anew (RFC 6120 §5.4.3.3).
// What came in the clear must have been used up: the rest would be read as if it had
// come by TLS. Who speaks first then has the end of the handshake go along with that.
func (c *conn) startTLS(speaks bool, wrap func(net.Conn) *tls.Conn) (*tls.Conn, error) {
	if c.d.Buffered() > 0 {
		return nil, component.NewStreamError(condition.PolicyViolation, "data in the clear behind starttls")
	}
	flight := newFlightConn(c.raw)
	t := wrap(flight)
	err := t.Handshake()
	flight.shaken()
	if err != nil || !speaks {
		err = errors.Join(err, flight.flush())
	}
	if err != nil {
		return nil, fmt.Errorf("onionroute: TLS: %w", err)
	}
	c.mu.Lock()
	c.w = t
	c.mu.Unlock()
	c.d, c.secure = component.NewDecoder(t, c.lim), true
	c.mute.Store(false)
	c.opened.Store(false)
	return t, nil
}

// end sends the error that fits to err, and the closing tag, and closes.
func (c *conn) end(err error) {
	c.finish(err)
	c.raw.Close()
}

// finish ends our stream, and leaves it to the other side to close the connection.
func (c *conn) finish(err error) error {
	var out []byte
	var se *component.StreamError
	if errors.As(err, &se) {
		out = se.Element().AppendXML(out, component.NSServer)
	}
	if !c.opened.Load() {
		if se == nil || c.mute.Load() {
			return nil
		}
		c.writeHeader(header{id: streamID()}) // RFC 6120 §4.9.1.2
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return c.writeLocked(append(out, "</stream:stream>"...), closeTimeout)
}

// hurry makes all writes, also one that is under way, end by a certain time.
func (c *conn) hurry(last time.Time) {
	c.last.Store(last.UnixNano())
	c.raw.SetWriteDeadline(last)
}

// abort closes without words.
func (c *conn) abort() { c.raw.Close() }

// streamID makes an id that cannot be guessed (RFC 6120 §4.7.3).
func streamID() string { return rand.Text() }

// isDialback tells if e is a dialback element of that name.
func isDialback(e *component.Element, name string) bool { return e.Is(nsDialback, name) }

// isStanzaName tells if the element has the name of a stanza.
func isStanzaName(n xml.Name) bool {
	return n.Space == component.NSClient && (n.Local == "message" || n.Local == "presence" || n.Local == "iq")
}
