package onionroute

import (
	"bytes"
	"encoding/xml"
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// The configuration can be another one than that of the run which left what is in the spool.
// What does not mean the same any more does not go out: it comes back to who sent it, if that
// is one of ours still, and else it is dropped.

func errChanged() error {
	return component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, "The address of this contact, of this server or of yours has changed since. The message was not delivered.")
}

// addresses are those that the item was written with, onion side.
func (it *item) addresses() (to, from jid.JID, err error) {
	start, err := xml.NewDecoder(bytes.NewReader(it.xml)).Token()
	if err != nil {
		return to, from, err
	}
	if e, ok := start.(xml.StartElement); ok {
		for _, a := range e.Attr {
			switch {
			case err != nil || a.Name.Space != "":
			case a.Name.Local == "to":
				to, err = jid.Parse(a.Value)
			case a.Name.Local == "from":
				from, err = jid.Parse(a.Value)
			}
		}
	}
	return to, from, err
}

// holds tells if who sent an item of the last run may send to its contact still, and why it
// may not go out all the same. An address that is none here any more becomes the one that is.
func (g *Gateway) holds(it *item) (may bool, err error) {
	to, from, err := it.addresses()
	if err != nil {
		return false, err
	}
	now, err := g.m.ToHost(to)
	may = g.allowed(it.head.From) || err == nil && g.mayReach(&component.Stanza{From: it.head.From, To: now})
	if err != nil || g.m.At(to.Domainpart()) != it.onion {
		return may, errChanged()
	}
	if d := it.head.To.Domainpart(); d != g.c.Domain && g.m.Aliases[d] == "" {
		it.head.To = now
	}
	sender, err := g.guard.toOnion(it.onion)(it.head.From.Bare())
	if err != nil || !sender.Bare().Equal(from.Bare()) {
		return may, errChanged()
	}
	return may, g.peerAllowed(it.onion)
}

// A leftover is an item that does not go out, and why.
type leftover struct {
	it  *item
	err error
}

// resume gives the items of the last run that may go out, and those that go back. Others are
// dropped.
func (g *Gateway) resume(items []*item) (good []*item, back []leftover) {
	var out []*item
	good = slices.DeleteFunc(items, func(it *item) bool {
		may, err := g.holds(it)
		if may && err == nil {
			return false
		}
		if may {
			back = append(back, leftover{it, err})
		} else {
			out = append(out, it)
		}
		return true
	})
	if n := len(out); n > 0 {
		g.log.Warn("what waited for peers is dropped, since those who sent it may not send by this server any more", "stanzas", n)
	}
	g.spool.remove(out, g.unwritten)
	return good, back
}

// giveBack tells those here what does not go out, and who is off-line since they cannot have
// them as contacts any more.
func (g *Gateway) giveBack(back []leftover, gone []acquaintance) {
	for _, a := range gone {
		if to, err := jid.Parse(a.to); err == nil && g.allowed(to) {
			g.presence(a.from, a.to, stanza.UnavailablePresence, g.out)
		}
	}
	for _, l := range back {
		g.bounce(l.it, l.err, func() { g.spool.remove([]*item{l.it}, g.unwritten) })
	}
}

// noted tells if what the last run noted of who is on-line could be noted now.
func (g *Gateway) noted(onion string, a acquaintance) bool {
	from, err := jid.Parse(a.from)
	to, err2 := jid.Parse(a.to)
	if err != nil || err2 != nil || g.peerAllowed(onion) != nil {
		return false
	}
	at, err := g.m.ToOnion(from)
	return err == nil && g.m.At(at.Domainpart()) == onion &&
		(g.allowed(to) || g.aliasAt(at.Domainpart()).relays(&component.Stanza{To: to}))
}
