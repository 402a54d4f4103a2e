package hosttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"mellium.im/sasl"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A Client is a person's XMPP client. What it receives is kept until it is asked for.
// It is safe for concurrent use.
type Client struct {
	conn net.Conn
	addr jid.JID

	mu   sync.Mutex
	in   []*component.Stanza
	err  error         // why nothing more comes
	more chan struct{} // closed when there is more in in, or err is set
}

// Login connects to the server at addr (host:port) and logs in: RFC 6120, with SCRAM
// and without TLS, since it does not leave this machine. It sends no presence.
func Login(ctx context.Context, addr, user, password string) (*Client, error) {
	j, err := jid.Parse(user)
	if err != nil {
		return nil, fmt.Errorf("hosttest: log in: %w", err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("hosttest: log in: %w", err)
	}
	// The session is told that the connection is secure: it is a loopback one.
	s, err := xmpp.NewSession(ctx, j.Domain(), j, byteConn{conn}, xmpp.Secure,
		xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
			return xmpp.StreamConfig{Features: []xmpp.StreamFeature{
				xmpp.SASL("", password, sasl.ScramSha1, sasl.Plain), xmpp.BindResource()}}
		}))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("hosttest: log in as %s: %w", user, err)
	}
	c := &Client{conn: conn, addr: s.LocalAddr(), more: make(chan struct{})}
	go c.read()
	return c, nil
}

// byteConn reads octet by octet, so that mellium's session, which is used to log in,
// leaves what comes behind to us.
type byteConn struct{ net.Conn }

func (c byteConn) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return c.Conn.Read(p)
}

func (c *Client) read() {
	d := component.NewContentDecoder(c.conn, component.NSClient, component.Limits{})
	for {
		e, err := d.Next()
		var s *component.Stanza
		if err == nil {
			if s, err = component.ParseStanza(e); errors.Is(err, component.ErrNotStanza) {
				err = fmt.Errorf("hosttest: received %s", e)
			}
		}
		c.mu.Lock()
		if err != nil {
			c.err = err
		} else {
			c.in = append(c.in, s)
		}
		close(c.more)
		c.more = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// JID is the full address that the server gave the client.
func (c *Client) JID() jid.JID { return c.addr }

// Send sends a stanza. From may be left empty.
func (c *Client) Send(s *component.Stanza) error {
	return c.SendXML(string(s.AppendXML(nil, component.NSClient)))
}

// SendXML sends XML as it is.
func (c *Client) SendXML(xml string) error {
	_, err := c.conn.Write([]byte(xml))
	return err
}

// Expect gives the first stanza that matches, of those that were received already and
// of those to come, and removes it. The error tells what was there instead.
func (c *Client) Expect(ctx context.Context, what string, match func(*component.Stanza) bool) (*component.Stanza, error) {
	seen := 0
	for {
		c.mu.Lock()
		for ; seen < len(c.in); seen++ {
			if s := c.in[seen]; match(s) {
				c.in = append(c.in[:seen:seen], c.in[seen+1:]...)
				c.mu.Unlock()
				return s, nil
			}
		}
		err, more := c.err, c.more
		rest := fmt.Sprint(c.in[max(0, len(c.in)-5):])
		c.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("hosttest: %s: expected %s: %w; received %s", c.addr, what, err, rest)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, fmt.Errorf("hosttest: %s: expected %s: %w; received %s", c.addr, what, ctx.Err(), rest)
		}
	}
}

// Received gives all that was received and not asked for by Expect, and forgets it.
func (c *Client) Received() []*component.Stanza {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.in
	c.in = nil
	return in
}

// Close ends the stream.
func (c *Client) Close() error {
	c.conn.Write([]byte("</stream:stream>"))
	return c.conn.Close()
}
