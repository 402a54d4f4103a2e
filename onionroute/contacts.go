package onionroute

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/database"
)

// contacts is who at peers is on-line, as far as somebody here was told so, so that
// nobody stays on-line whose server has vanished: then they are told otherwise, and once
// the server is back it is probed (RFC 6121 §4.3). It is kept in the spool, since those
// who were told may outlive us. Addresses are host side. It is safe for concurrent use.
type contacts struct {
	spool *spool

	mu     sync.Mutex
	online map[string]map[acquaintance]bool // X.onion →
	lost   map[string]map[acquaintance]bool // those of a server that has vanished; bare addresses
}

// An acquaintance is an address at a peer, and whom here its presence was sent to.
type acquaintance struct{ from, to string }

// bare tells whom to probe: those whose presence goes to an account, and not to one
// client, as that of a room's occupants does.
func (a acquaintance) bare() (acquaintance, bool) {
	from, err := jid.Parse(a.from)
	to, err2 := jid.Parse(a.to)
	if err != nil || err2 != nil || to.Resourcepart() != "" {
		return acquaintance{}, false
	}
	return acquaintance{from.Bare().String(), a.to}, true
}

func newContacts(s *spool) *contacts {
	return &contacts{spool: s, online: map[string]map[acquaintance]bool{}, lost: map[string]map[acquaintance]bool{}}
}

// note takes note of presence from a peer.
func (c *contacts) note(onion string, s *component.Stanza) {
	if s.Kind != component.Presence {
		return
	}
	a := acquaintance{s.From.String(), s.To.String()}
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.online[onion]
	switch stanza.PresenceType(s.Type) {
	case stanza.AvailablePresence:
		if of[a] || len(of) >= maxOnline {
			return
		}
		if of == nil {
			of = map[acquaintance]bool{}
			c.online[onion] = of
		}
		of[a] = true
		c.spool.online(onion, []acquaintance{a}, true)
	case stanza.UnavailablePresence, stanza.ErrorPresence:
		if of[a] {
			c.remove(onion, []acquaintance{a})
		}
	}
}

// remove forgets some. c.mu is held.
func (c *contacts) remove(onion string, who []acquaintance) {
	for _, a := range who {
		delete(c.online[onion], a)
	}
	if len(c.online[onion]) == 0 {
		delete(c.online, onion)
	}
	c.spool.online(onion, who, false)
}

// any tells if anybody at the peer is on-line.
func (c *contacts) any(onion string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.online[onion]) > 0
}

// missed tells if somebody waits to know if those at the peer are back.
func (c *contacts) missed(onion string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lost[onion]) > 0
}

// vanish takes all at the peer for off-line, and gives back who was not.
func (c *contacts) vanish(onion string) (gone []acquaintance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range c.online[onion] {
		gone = append(gone, a)
		if b, ok := a.bare(); ok {
			if c.lost[onion] == nil {
				c.lost[onion] = map[acquaintance]bool{}
			}
			c.lost[onion][b] = true
		}
	}
	c.remove(onion, gone)
	return gone
}

// back is whom to probe when the peer is back.
func (c *contacts) back(onion string) (probe []acquaintance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range c.lost[onion] {
		probe = append(probe, a)
	}
	delete(c.lost, onion)
	for a := range c.online[onion] {
		if b, ok := a.bare(); ok && !slices.Contains(probe, b) {
			probe = append(probe, b)
		}
	}
	return probe
}

// offline tells the host's users that all at the peer are off-line.
func (g *Gateway) offline(onion string) {
	for _, a := range g.contacts.vanish(onion) {
		g.presence(a.from, a.to, stanza.UnavailablePresence, g.out)
	}
}

// probe asks a peer that is back for the presence of all whom somebody here has on-line,
// or had.
func (g *Gateway) probe(onion string) {
	for _, a := range g.contacts.back(onion) {
		g.presence(a.to, a.from, stanza.ProbePresence, senderFunc(g.HandleStanza))
	}
}

func (g *Gateway) presence(from, to string, typ stanza.PresenceType, out component.Sender) {
	s := &component.Stanza{Kind: component.Presence, Type: string(typ)}
	var err error
	if s.From, err = jid.Parse(from); err == nil {
		s.To, err = jid.Parse(to)
	}
	if err == nil {
		err = out.Send(context.WithoutCancel(g.ctx), s)
	}
	if err != nil {
		g.log.Debug("presence could not be sent", "error", err)
	}
}

type senderFunc func(context.Context, *component.Stanza) error

func (f senderFunc) Send(ctx context.Context, s *component.Stanza) error { return f(ctx, s) }

// online keeps who is on-line, or not any more. What is lost of it by a crash is a
// contact that stays on-line until the next word from it.
func (s *spool) online(onion string, who []acquaintance, is bool) {
	if len(who) == 0 {
		return
	}
	s.ops <- database.Op{Do: func(tx *sql.Tx) error {
		query := "DELETE FROM online WHERE peer = ? AND from_jid = ? AND to_jid = ?"
		if is {
			query = "INSERT OR IGNORE INTO online (peer, from_jid, to_jid) VALUES (?,?,?)"
		}
		for _, a := range who {
			if _, err := tx.Exec(query, onion, a.from, a.to); err != nil {
				return err
			}
		}
		return nil
	}}
}

// load reads who was on-line.
func (c *contacts) load() (peers []string, err error) {
	rows, err := c.spool.db.Query("SELECT peer, from_jid, to_jid FROM online")
	if err != nil {
		return nil, fmt.Errorf("onionroute: spool: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var onion string
		var a acquaintance
		if err := rows.Scan(&onion, &a.from, &a.to); err != nil {
			return nil, fmt.Errorf("onionroute: spool: %w", err)
		}
		if c.online[onion] == nil {
			c.online[onion] = map[acquaintance]bool{}
			peers = append(peers, onion)
		}
		c.online[onion][a] = true
	}
	return peers, rows.Err()
}
