package omemo

import (
	"context"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// answer takes the answer to a request that came from that side.
func (d *Directory) answer(ctx context.Context, from side, s *component.Stanza) error {
	q := d.match(from, s)
	if q == nil {
		// Questions to a service, such as the gateway with its own device, were let pass, and
		// so were those that are not for items, such as for a subscription.
		if p := s.Payload(); s.From.Localpart() != "" && s.Type == "result" && p != nil && p.Is(NSPubsub, "pubsub") && anyOMEMO(p) && p.Child(NSPubsub, "items") != nil {
			end(s) // nobody has asked, or not for a long time
			return nil
		}
		return d.pass(ctx, from, s)
	}
	if q.right.space != "" {
		unwrap(s, q.right)
	}
	if s.Type == "error" {
		return d.failed(ctx, q, s)
	}
	found, bad := q.answered(s.Payload())
	if bad != nil {
		d.refused(bad)
		if len(found) == 0 {
			if q.head == nil {
				end(s)
				return nil
			}
			return d.reply(ctx, q, s, q.fault(bad))
		}
	}
	d.keep(q.at, q.owner, found, q.head)
	if len(found) == 0 {
		d.nothing(q)
	}
	if q.at == hostSide && !q.listens {
		d.store.granted(q)
	}
	if q.listens && len(found) == 1 {
		d.heard(q, &found[0])
	}
	if q.head == nil {
		end(s)
		return nil
	}
	return d.reply(ctx, q, s, q.result(found))
}

// match is the question that s answers, which is not waited for any more; nil if there is
// none.
func (d *Directory) match(from side, s *component.Stanza) *question {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.asked[s.ID]
	if q == nil || q.at != from || !s.From.Equal(q.owner) || !s.To.Equal(q.from) {
		return nil
	}
	d.remove(s.ID, q)
	d.silent.Remove(q.owner.String())
	return q
}

// answered reads the answer to q.
func (q *question) answered(p *component.Element) (found []find, bad error) {
	if p == nil || !p.Is(NSPubsub, "pubsub") {
		return nil, refuse("an answer without items")
	}
	items := p.Child(NSPubsub, "items")
	if items.AttrValue("node") != q.name {
		return nil, refuse("an answer with items of another node")
	}
	return q.read(items, q.owner)
}

// reply sends an answer, in the place of s, to who has asked, unless it has one already.
func (d *Directory) reply(ctx context.Context, q *question, s, r *component.Stanza) error {
	if !d.claim(q) {
		end(s)
		return nil
	}
	r.Taken = s.Taken
	return d.ways[q.at.other()](ctx, r)
}

// failed takes an error in the place of an answer.
func (d *Directory) failed(ctx context.Context, q *question, s *component.Stanza) error {
	e, age, refusal := s.StanzaError(), d.o.MaxAge, false
	switch {
	case q.listens && refuses(e.Condition):
		d.heard(q, nil)
	case q.at == hostSide && refuses(e.Condition) && d.o.Local(q.owner):
		if d.askByRight(ctx, q) {
			end(s)
			return nil
		}
		d.doubt.Do(func() {
			d.o.Log.Info("the host does not let peers read a user's OMEMO keys, or there are none: " + HostSettings)
		})
		d.store.refused(q)
		refusal = true
		age = d.o.Fresh
	case e.Condition == stanza.ItemNotFound:
		d.nothing(q)
		age = 0
	case !isAway(e):
		age = 0
	}
	if q.head == nil {
		end(s)
		return nil
	}
	r := &component.Stanza{Kind: component.IQ, Type: "error", ID: q.head.ID, To: q.head.From, From: q.head.To, Nodes: s.Nodes}
	if age == 0 {
		return d.reply(ctx, q, s, r)
	}
	d.serve(q, age, r, func() {
		if refusal { // and there are some
			d.told.Do(func() {
				d.o.Log.Warn("the host does not let peers read a user's OMEMO keys, so nobody there can begin to encrypt to that user when they are not kept here: " + HostSettings)
			})
		}
	})
	end(s)
	return nil
}

// nothing forgets what the owner's server says that it does not have, and nothing else: who
// asks can name any items. Where several were asked for it is not known which.
func (d *Directory) nothing(q *question) {
	w := what{q.owner, q.format, q.device, ""}
	several := q.bundles && q.device == 0
	switch {
	case q.ids == nil && several:
		d.store.dropBundles(w)
	case q.ids == nil:
		d.store.drop(w)
	case len(q.ids) == 1 && q.ids[0] != "":
		w.item = q.ids[0]
		ok := true
		if several {
			w.device, ok = deviceID(w.item)
		}
		if ok {
			d.store.drop(w)
		}
	}
}

// refuses tells of the errors of an access model (XEP-0060 §6.5.9) that does not let
// everybody read.
func refuses(c stanza.Condition) bool {
	switch c {
	case stanza.Forbidden, stanza.NotAuthorized, stanza.SubscriptionRequired, stanza.NotAllowed, stanza.RegistrationRequired:
		return true
	}
	return false
}
