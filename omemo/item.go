package omemo

import (
	"fmt"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A find is a verified device list (of device 0) or bundle, in an item of pubsub.
type find struct {
	format  *Format
	device  uint32
	id      string             // of the item
	payload *component.Element // written anew; nil in an item that only says that there is one
	list    *DeviceList        // of device 0
	bundle  *Bundle            // of others
}

// item is the item as it is written in that namespace of pubsub.
func (f *find) item(space string) *component.Element {
	e := component.NewElement(space, "item").With("id", f.id)
	if f.payload != nil {
		e.Add(f.payload)
	}
	return e
}

// maxItemID is the number of octets that the id of an item may have, which is kept too. Those of
// clients and servers are words, numbers, or random and short.
const maxItemID = 128

// read reads the items of a node that are in e. Where a node has one bundle for each
// device, what is wrong is left out if there is something right; bad is the first fault.
// So the others can be reached of somebody with one broken device. Of several items in a
// node that should have one, it is the one that replaces all others, or the last.
func (n *node) read(e *component.Element, owner jid.JID) (found []find, bad error) {
	space := e.Name.Space
	var items []*component.Element
	for _, c := range e.Nodes {
		if c.Element != nil && c.Element.Is(space, "item") {
			items = append(items, c.Element)
		}
	}
	several := n.bundles && n.device == 0
	if !several && len(items) > 1 {
		last := items[len(items)-1]
		for _, it := range items {
			if it.AttrValue("id") == current {
				last = it
			}
		}
		items = []*component.Element{last}
	}
	if len(items) > MaxDevices {
		return nil, tooMany("bundles", MaxDevices)
	}
	seen := map[uint32]bool{}
	for _, it := range items {
		f, err := n.one(it, owner)
		if err == nil && seen[f.device] {
			err = refuse("more than one bundle of device %d", f.device)
		}
		if err != nil {
			if bad == nil {
				bad = err
			}
			continue
		}
		seen[f.device] = true
		found = append(found, f)
	}
	return found, bad
}

func (n *node) one(it *component.Element, owner jid.JID) (find, error) {
	f := find{format: n.format, device: n.device, id: it.AttrValue("id")}
	if len(f.id) > maxItemID {
		return f, refuse("an item whose id is too long")
	}
	if by := it.AttrValue("publisher"); by != "" {
		if j, err := jid.Parse(by); err != nil || !j.Bare().Equal(owner) {
			return f, refuse("published by somebody else than its owner")
		}
	}
	if n.bundles && n.device == 0 {
		id, ok := deviceID(f.id)
		if !ok {
			return f, refuse("a bundle in an item whose id is not that of a device")
		}
		f.device = id
	}
	var payload *component.Element
	for _, c := range it.Nodes {
		switch {
		case c.Element == nil:
		case payload != nil:
			return f, refuse("more than one thing in an item")
		default:
			payload = c.Element
		}
	}
	if payload == nil { // XEP-0060 §4.3: a notification can be without
		if it.Name.Space == NSPubsubEvent {
			return f, nil
		}
		return f, refuse("nothing in an item")
	}
	if !n.bundles {
		l, err := n.format.ParseDevices(payload)
		if err != nil {
			return f, err
		}
		f.list, f.payload = l, l.Element()
		return f, nil
	}
	b, err := n.format.ParseBundle(payload)
	if err != nil {
		if f.device != 0 {
			err = about(err, fmt.Sprintf("device %d: ", f.device))
		}
		return f, err
	}
	f.bundle, f.payload = b, b.Element()
	return f, nil
}

// about says what a fault is of.
func about(err error, of string) error {
	if e, ok := err.(*Error); ok {
		return &Error{Fault: of + e.Fault, tooBig: e.tooBig}
	}
	return err
}
