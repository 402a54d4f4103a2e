package onionroute

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// contacts is who at peers is on-line, as far as somebody here was told so, so that
// nobody stays on-line whose server has vanished: then they are told otherwise, and once
// the server is back it is probed (RFC 6121 §4.3). It is kept in the spool, since those
// who were told may outlive us. Presence is noted only if whom it is for has business with
// who sends it, as far as we have seen, since anybody may send it to anybody. Addresses are
// host side. It is safe for concurrent use.
type contacts struct {
	spool   *spool
	account func(jid.JID) bool // tells who has an account here
	bounds  *bounds

	mu     sync.Mutex
	online map[string]map[acquaintance]bool // X.onion →
	octets map[string]int                   // X.onion → of these
	total  int
	lost   map[string]map[acquaintance]bool // those of a server that has vanished; bare addresses
	away   int                              // octets of these
	met    met
	guests *lru.Cache[acquaintance, bool]   // as met, of those who have no account here; bare addresses
	asking *lru.Cache[acquaintance, string] // presence that no business is known with yet → whom it is to; a.to is bare

	probed   map[acquaintance]bool // whose presence the host was asked for; bare addresses
	probedAt time.Time
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

const (
	maxGuests      = 5000 // that are remembered, and as many that wait to be let in
	maxGuestOctets = 1500 // of one; addresses can have 6 kB
)

func newContacts(s *spool, account func(jid.JID) bool, b *bounds) *contacts {
	guests, _ := lru.New[acquaintance, bool](maxGuests) // these fail for no size alone
	asking, _ := lru.New[acquaintance, string](maxGuests)
	return &contacts{spool: s, account: account, bounds: b, online: map[string]map[acquaintance]bool{}, octets: map[string]int{},
		lost: map[string]map[acquaintance]bool{}, met: newMet(), guests: guests, asking: asking}
}

// note takes note of presence from a peer. It gives the clients that are not there any more,
// if it is of the whole account that is told: so hosts answer a probe (RFC 6121 §4.3.2).
func (c *contacts) note(onion string, s *component.Stanza) (gone []acquaintance) {
	if s.Kind != component.Presence {
		return nil
	}
	a := acquaintance{s.From.String(), s.To.String()}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch stanza.PresenceType(s.Type) {
	case stanza.AvailablePresence:
		if c.online[onion][a] {
			return nil
		}
		known := acquaintance{s.From.Bare().String(), s.To.Bare().String()}
		_, met := c.met.of[known.to][known.from]
		if !met && !c.guests.Contains(known) {
			if noteOctets(a.from, a.to) <= maxGuestOctets {
				c.asking.Add(acquaintance{a.from, known.to}, a.to)
			}
			return nil
		}
		c.add(onion, a, met)
	case stanza.UnavailablePresence, stanza.ErrorPresence:
		c.asking.Remove(acquaintance{a.from, s.To.Bare().String()})
		if c.online[onion][a] {
			c.remove(onion, []acquaintance{a})
		}
		if s.Type == string(stanza.UnavailablePresence) && s.From.Resourcepart() == "" {
			for o := range c.online[onion] {
				if o.to == a.to && strings.HasPrefix(o.from, a.from+"/") {
					gone = append(gone, o)
				}
			}
			c.remove(onion, gone)
		}
	case stanza.UnsubscribePresence:
		c.hide(acquaintance{s.From.Bare().String(), s.To.Bare().String()})
	}
	return gone
}

// told takes note of presence to a peer: it tells who has business with whom.
func (c *contacts) told(onion string, s *component.Stanza) {
	if s.Kind != component.Presence {
		return
	}
	a := acquaintance{s.To.Bare().String(), s.From.Bare().String()}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch stanza.PresenceType(s.Type) {
	case stanza.AvailablePresence, stanza.SubscribePresence, stanza.SubscribedPresence, stanza.ProbePresence:
		account := c.account(s.From)
		if account {
			c.meet(onion, a, s.Type == string(stanza.SubscribedPresence) || s.Type == "" && s.To.Resourcepart() == "")
		} else if noteOctets(a.from, a.to) <= maxGuestOctets {
			c.guests.Add(a, true)
		}
		// Who enters a room says so before they are in it.
		entered := acquaintance{s.To.String(), a.to}
		if to, asked := c.asking.Get(entered); asked {
			c.asking.Remove(entered)
			c.add(onion, acquaintance{entered.from, to}, account)
		}
	case stanza.UnsubscribePresence:
		c.part(a)
	case stanza.UnsubscribedPresence:
		c.hide(a)
	case stanza.UnavailablePresence, stanza.ErrorPresence:
		c.left(onion, s.From, s.To)
	}
}

// left forgets what was noted for a client or an occupant that is not there any more for
// somebody at the peer. c.mu is held.
func (c *contacts) left(onion string, who, at jid.JID) {
	if who.Resourcepart() == "" {
		return
	}
	var gone []acquaintance
	for a := range c.online[onion] {
		if a.to != who.String() {
			continue
		}
		if from, err := jid.Parse(a.from); err == nil && from.Bare().Equal(at.Bare()) {
			gone = append(gone, a)
		}
	}
	c.remove(onion, gone)
}

// add notes who is on-line, if there is room. Those who are not known for sure have half of
// it. c.mu is held.
func (c *contacts) add(onion string, a acquaintance, met bool) {
	most := c.bounds.notes
	if !met {
		most /= 2
	}
	n := noteOctets(a.from, a.to)
	if c.online[onion][a] || c.octets[onion]+n > c.bounds.ofPeer || c.total+n > most {
		return
	}
	c.hold(onion, a)
	c.spool.online(onion, []acquaintance{a}, true)
}

func (c *contacts) hold(onion string, a acquaintance) {
	if c.online[onion] == nil {
		c.online[onion] = map[acquaintance]bool{}
	}
	c.online[onion][a] = true
	c.octets[onion] += noteOctets(a.from, a.to)
	c.total += noteOctets(a.from, a.to)
}

// remove forgets some, who are noted. c.mu is held.
func (c *contacts) remove(onion string, who []acquaintance) {
	for _, a := range who {
		delete(c.online[onion], a)
		c.octets[onion] -= noteOctets(a.from, a.to)
		c.total -= noteOctets(a.from, a.to)
	}
	if len(c.online[onion]) == 0 {
		delete(c.online, onion)
		delete(c.octets, onion)
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
			c.miss(onion, b)
		}
	}
	c.remove(onion, gone)
	return gone
}

// miss notes whom to probe when the peer is back, if there is room as in add. A server need
// never come back, and another one can vanish then. c.mu is held.
func (c *contacts) miss(onion string, a acquaintance) {
	most := c.bounds.notes
	if _, met := c.met.of[a.to][a.from]; !met {
		most /= 2
	}
	n := noteOctets(a.from, a.to)
	if c.lost[onion][a] || c.away+n > most {
		return
	}
	if c.lost[onion] == nil {
		c.lost[onion] = map[acquaintance]bool{}
	}
	c.lost[onion][a] = true
	c.away += n
}

// back is whom to probe when the peer is back.
func (c *contacts) back(onion string) (probe []acquaintance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range c.lost[onion] {
		probe = append(probe, a)
		c.away -= noteOctets(a.from, a.to)
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
