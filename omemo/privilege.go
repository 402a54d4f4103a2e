package omemo

import (
	"context"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const nsForward = "urn:xmpp:forward:0" // XEP-0297

// privileges are the namespaces of XEP-0356: of 0.4, and of 0.2 and 0.3.
var privileges = []string{"urn:xmpp:privilege:2", "urn:xmpp:privilege:1"}

// A privilege is the right to read pubsub in the place of the users of a domain (XEP-0356
// §5).
type privilege struct {
	space string
	of    jid.JID // who has it: the domain of a component
}

// granted takes what the host tells of the rights that it gives. It is false if s is not
// about that.
func (d *Directory) granted(s *component.Stanza) bool {
	if s.From.Localpart() != "" || s.To.Localpart() != "" || !d.o.Local(s.From) {
		return false
	}
	told := false
	for _, space := range privileges {
		e := s.Child(space, "privilege")
		if e == nil {
			continue
		}
		told = true
		if mayRead(e) {
			d.mu.Lock()
			d.rights[s.From.Domainpart()] = privilege{space, s.To}
			d.mu.Unlock()
			d.o.Log.Info("the host lets Allium read the keys of its users", "namespace", space)
			break
		}
	}
	return told
}

// mayRead tells if among the rights is that to read pubsub.
func mayRead(e *component.Element) bool {
	for _, perm := range e.Nodes {
		if perm.Element.AttrValue("access") != "iq" {
			continue
		}
		for _, n := range perm.Element.Nodes {
			if t := n.Element.AttrValue("type"); n.Element.AttrValue("ns") == NSPubsub && (t == "get" || t == "both") {
				return true
			}
		}
	}
	return false
}

// askByRight asks once more what the host has refused, in the owner's name. It is false if
// there is no right to, or if that was refused as well: then the right is forgotten.
func (d *Directory) askByRight(ctx context.Context, q *question) bool {
	domain := q.owner.Domainpart()
	d.mu.Lock()
	right, ok := d.rights[domain]
	asked := q.right.space != ""
	if ok && asked {
		delete(d.rights, domain)
	}
	ok = ok && !asked && !q.done
	if ok {
		q.right, q.from = right, right.of
	}
	d.mu.Unlock()
	key := newID()
	if !ok || !d.expect(key, q) {
		return false
	}
	inner := &component.Stanza{Kind: component.IQ, Type: string(stanza.GetIQ), ID: key, To: q.owner, From: q.owner}
	s := &component.Stanza{Kind: component.IQ, Type: string(stanza.GetIQ), ID: key, To: q.owner, From: right.of}
	s.Add(component.NewElement(right.space, "privileged_iq").Add(inner.Add(q.request()).Element()))
	if err := d.ways[hostSide](ctx, s); err != nil {
		d.forget(key)
		return false
	}
	d.wait(key, q)
	return true
}

// unwrap makes of s the answer that is in it (XEP-0356 §5.3). If there is none it stays as
// it is: an error, or what is no answer.
func unwrap(s *component.Stanza, r privilege) {
	inner := s.Child(r.space, "privilege").Child(nsForward, "forwarded").Child(component.NSClient, "iq")
	if inner == nil || s.Type != "result" {
		return
	}
	s.Type, s.Nodes = inner.AttrValue("type"), inner.Nodes
}
