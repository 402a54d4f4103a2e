package muc

import (
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// relays are the requests to occupants that have no answer yet, the oldest first: who asked
// gets one in any case (RFC 6120 §8.2.3), also if the client that was asked leaves.
type relays []relay

// A relay is one request that was sent on to an occupant.
type relay struct {
	id           string  // that it came with
	at           jid.JID // whom it was for, room@service/nick
	asker, asked uint32  // serials of sessions
}

// What is remembered of a room's relays. Some clients never answer.
const (
	maxRelays  = 1000
	maxRelayID = 256 // octets of an id
)

// add remembers a request, and forgets the oldest if there are too many.
func (rs *relays) add(r relay) {
	if len(r.id) > maxRelayID {
		return
	}
	if len(*rs) >= maxRelays {
		*rs = slices.Delete(*rs, 0, 1)
	}
	*rs = append(*rs, r)
}

// done forgets a request that is answered.
func (rs *relays) done(asker, asked uint32, id string) {
	rs.drop(func(r relay) bool { return r.asker == asker && r.asked == asked && r.id == id })
}

func (rs *relays) drop(which func(relay) bool) {
	if *rs = slices.DeleteFunc(*rs, which); len(*rs) == 0 {
		*rs = nil
	}
}

var errLeft = fail(stanza.Wait, stanza.RecipientUnavailable, "")

// leftRelays answers what a client was asked that has left, and forgets what it asked.
func (r *room) leftRelays(ses *session) {
	var open []relay
	r.relays.drop(func(rel relay) bool {
		if rel.asked == ses.serial {
			open = append(open, rel)
		}
		return rel.asked == ses.serial || rel.asker == ses.serial
	})
	for _, rel := range open {
		o := withSerial(r.list, rel.asker)
		if o == nil {
			continue
		}
		for _, asker := range o.sessions {
			if asker.serial == rel.asker {
				r.refuse(&component.Stanza{Kind: component.IQ, Type: string(stanza.GetIQ), ID: rel.id, From: asker.to.JID, To: rel.at}, errLeft)
			}
		}
	}
}
