package onionroute

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A host that is killed takes its users' sessions along, and does not say so: neither we nor it
// know of it later. And what users say when they come is lost while we are not attached. So
// whenever we are again, the sessions that peers were told of are asked if they are there, and
// the host is probed for those who have contacts at peers.

const (
	recheckID = "are-you-there-"
	probeWait = 10 * time.Second // until what the host says is no answer to a probe
)

// Recheck asks all these, and returns before they have answered. What is still to be asked since
// the last time is not asked any more.
func (g *Gateway) Recheck() {
	ctx, end := context.WithCancel(context.Background())
	g.mu.Lock()
	g.endRecheck()
	g.endRecheck = end
	g.mu.Unlock()
	go func() {
		<-g.loaded
		out := senderFunc(func(_ context.Context, s *component.Stanza) error { return g.out.Send(ctx, s) })
		for _, a := range g.contacts.probes(g.mayProbe) {
			if ctx.Err() != nil {
				return
			}
			g.presence(a.from, a.to, stanza.ProbePresence, out)
		}
		for _, shown := range g.guard.masks.shownAvailable() {
			if by := g.asker(shown); by != "" && ctx.Err() == nil {
				g.askIfThere(ctx, by, shown.who, component.IQ, string(stanza.GetIQ), component.NewElement(component.NSPing, "ping"))
			}
		}
	}()
}

// mayProbe tells if an account is a user of the host, and who has business with it could be one of
// their contacts still: the host would ask anybody, and answer to any domain. The domains of
// contacts are not attached for that, in the place of those that are in use.
func (g *Gateway) mayProbe(onion string, a acquaintance) bool {
	account, err := jid.Parse(a.to)
	contact, err2 := jid.Parse(a.from)
	return err == nil && err2 == nil && g.guard.isLocal(account) && g.noted(onion, a) &&
		(g.c.Attached == nil || g.c.Attached(contact.Domainpart()))
}

// probes are all who have business with each other and may be asked, and notes that the host is.
// It is asked for nobody but those who are seen by the contact: for others Prosody takes a probe
// for the end of the request that may wait for its user, and denies it.
func (c *contacts) probes(may func(onion string, a acquaintance) bool) (all []acquaintance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probed, c.probedAt = map[acquaintance]bool{}, time.Now()
	for account, of := range c.met.of {
		for contact, m := range of {
			if a := (acquaintance{contact, account}); m.shown && may(m.onion, a) {
				all = append(all, a)
				c.probed[a] = true
			}
		}
	}
	return all
}

// answersProbe takes what the host says to the contact of an account, and tells if it is that
// there is nothing to tell: they have not asked. If there is something, that is the answer, also
// that they are no contact any more. ejabberd says nothing where there is nothing to tell.
func (c *contacts) answersProbe(s *component.Stanza) bool {
	if s.Kind != component.Presence {
		return false
	}
	a := acquaintance{s.To.Bare().String(), s.From.Bare().String()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.probed[a] {
		return false
	}
	delete(c.probed, a)
	return s.Type == string(stanza.UnavailablePresence) && s.From.Resourcepart() == "" && time.Since(c.probedAt) < probeWait
}

// asker is the domain that a session is asked by: the gateway's, or the alias that a stranger uses,
// who may not know of any other; "" if there is none.
func (g *Gateway) asker(s shown) string {
	to, err := jid.Parse(s.to)
	switch {
	case g.guard.isLocal(s.who):
		return g.c.Domain
	case err == nil && g.guard.isStranger(s.who) && g.m.Aliases[to.Domainpart()] != "":
		return to.Domainpart()
	}
	return ""
}

func (g *Gateway) askIfThere(ctx context.Context, by string, who jid.JID, kind component.Kind, typ string, payload *component.Element) {
	asker, err := jid.New("", by, "")
	if err == nil {
		q := &component.Stanza{Kind: kind, Type: typ, ID: recheckID + rand.Text(), From: asker, To: who}
		err = g.out.Send(ctx, q.Add(payload))
	}
	if err != nil {
		g.log.Debug("a session could not be asked if it is there", "error", err)
	}
}

// rechecked takes an answer, and tells if it was one. A client that knows no ping, and a host
// whose client is gone, answer alike; but no client gives a groupchat message back (RFC 6121
// §8.5.3.2.1).
func (g *Gateway) rechecked(ctx context.Context, s *component.Stanza) bool {
	answer := s.Type == "error" || s.Kind == component.IQ && !s.IsRequest()
	if !answer || !strings.HasPrefix(s.ID, recheckID) || !g.guard.isAccount(s.From) {
		return false
	}
	switch c := s.StanzaError().Condition; {
	case s.Kind == component.IQ && c == stanza.ServiceUnavailable:
		g.askIfThere(ctx, s.To.Domainpart(), s.From, component.Message, string(stanza.GroupChatMessage), component.NewElement(nsHints, "no-store"))
	case c == stanza.ServiceUnavailable, c == stanza.ItemNotFound, c == stanza.RecipientUnavailable, c == stanza.Gone:
		for _, to := range g.guard.masks.toldAvailable(s.From) {
			gone := &component.Stanza{Kind: component.Presence, Type: string(stanza.UnavailablePresence), From: s.From}
			var err error
			if gone.To, err = jid.Parse(to); err == nil {
				err = g.HandleStanza(ctx, gone)
			}
			if err != nil {
				g.log.Debug("presence could not be sent", "error", err)
			}
		}
	}
	return true
}

// shown is a session of which somebody was told that it is available, and one who was.
type shown struct {
	who jid.JID
	to  string
}

// shownAvailable are all of these.
func (m *masks) shownAvailable() map[string]shown {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]shown{}
	for _, k := range m.lru.Values() {
		for to := range k.open {
			all[k.real.String()] = shown{k.real, to}
		}
	}
	return all
}

// toldAvailable is who was told that of a session.
func (m *masks) toldAvailable(real jid.JID) (who []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.lru.Values() {
		if k.real.Equal(real) {
			for to := range k.open {
				who = append(who, to)
			}
		}
	}
	return who
}
