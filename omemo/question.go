package omemo

import (
	"errors"
	"strconv"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const maxItemsAskedOf = MaxDevices

// A question is for somebody's keys: a read of pubsub (XEP-0060 §6.5).
type question struct {
	node
	name  string   // of the node
	ids   []string // of the items; nil for all
	max   int      // how many, if that is not 0
	owner jid.JID  // bare
	at    side     // where the owner is
	from  jid.JID  // who it went on from
	// head is the request that is to be answered, without nodes; nil for one that the
	// directory has made for itself.
	head *component.Stanza

	right   privilege // by which it was asked; zero: by none
	listens bool      // it is asked in the place of a listener, who is from
	last    []byte    // the list that the listener before that one got; nil: there was none

	// The directory's, under its lock:
	done  bool // it has been answered
	timer *time.Timer
}

// parseQuestion reads a request, but for its addresses.
func parseQuestion(p *component.Element) (*question, error) {
	items := p.Child(NSPubsub, "items")
	if items == nil {
		return nil, component.NewError(stanza.Modify, stanza.BadRequest, "This asks for no items.")
	}
	q := &question{name: items.AttrValue("node")}
	var ok bool
	if q.node, ok = nodeOf(q.name); !ok {
		return nil, component.NewError(stanza.Cancel, stanza.ItemNotFound, "There can be no keys in this node.")
	}
	bad := component.NewError(stanza.Modify, stanza.BadRequest, "This is not a question for items.")
	for _, n := range p.Nodes {
		if n.Element != nil && n.Element != items && n.Element.Name.Space == NSPubsub {
			return nil, bad
		}
	}
	if m := items.AttrValue("max_items"); m != "" {
		n, err := strconv.ParseUint(m, 10, 31)
		if err != nil || n == 0 {
			return nil, bad
		}
		q.max = int(n)
	}
	for _, n := range items.Nodes {
		if n.Element == nil || !n.Element.Is(NSPubsub, "item") {
			continue
		}
		if len(q.ids) == maxItemsAskedOf {
			return nil, bad
		}
		q.ids = append(q.ids, n.Element.AttrValue("id"))
	}
	return q, nil
}

// request is the question as the payload of a request.
func (q *question) request() *component.Element {
	items := component.NewElement(NSPubsub, "items").With("node", q.name)
	for _, id := range q.ids {
		items.Add(component.NewElement(NSPubsub, "item").With("id", id))
	}
	return component.NewElement(NSPubsub, "pubsub").Add(items)
}

// result is the answer.
func (q *question) result(found []find) *component.Stanza {
	items := component.NewElement(NSPubsub, "items").With("node", q.name)
	for i := range found {
		items.Add(found[i].item(NSPubsub))
	}
	return q.head.Result(component.NewElement(NSPubsub, "pubsub").Add(items))
}

// fault is the answer where what came is wrong. It is an error that no client takes for
// "this person does not use OMEMO", lest one goes on without.
func (q *question) fault(err error) *component.Stanza {
	condition, text := "invalid-payload", "The keys that the contact's server gave are wrong"
	var e *Error
	if errors.As(err, &e) {
		text += ": " + e.Fault
		if e.tooBig {
			condition = "payload-too-big"
		}
	}
	r := q.head.Error(component.NewError(stanza.Cancel, stanza.NotAcceptable, text))
	r.Child(component.NSClient, "error").Add(component.NewElement(NSPubsubErrors, condition))
	return r
}
