package omemo

import (
	"context"
	"slices"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// message takes a message. Of notifications (XEP-0163 §4.3) what is wrong is taken out, and
// what is right is kept.
func (d *Directory) message(ctx context.Context, from side, s *component.Stanza) error {
	if s.Type == "error" {
		// What comes back to its sender is nobody's keys, and some clients read it as such.
		s.Nodes = slices.DeleteFunc(s.Nodes, func(n component.Node) bool {
			return n.Element != nil && n.Element.Is(NSPubsubEvent, "event") && anyOMEMO(n.Element)
		})
		return d.pass(ctx, from, s)
	}
	if from == hostSide && d.granted(s) {
		end(s)
		return nil
	}
	gone := false
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n component.Node) bool {
		if n.Element == nil || !n.Element.Is(NSPubsubEvent, "event") || !anyOMEMO(n.Element) {
			return false
		}
		err := d.event(from, s.From, s.To, n.Element)
		if err != nil {
			d.refused(err)
		}
		gone = gone || err != nil
		return err != nil
	})
	if gone && s.Body() == "" {
		end(s)
		return nil
	}
	return d.pass(ctx, from, s)
}

// event takes a notification to somebody, and makes it what it should be. The error tells why it cannot
// be that.
func (d *Directory) event(from side, by, to jid.JID, e *component.Element) error {
	isLocal := d.o.Local(by)
	switch {
	case isLocal && from == peerSide, by.Localpart() == "", by.Resourcepart() != "":
		return refuse("a notification that is not from the account of somebody there")
	}
	var kept []component.Node
	var found []find
	var after []func()
	for _, c := range e.Nodes {
		if c.Element == nil {
			continue
		}
		n, ok := nodeOf(c.Element.AttrValue("node"))
		if !ok {
			return refuse("a notification of a node where there can be no keys")
		}
		fresh := component.NewElement(NSPubsubEvent, c.Element.Name.Local).With("node", c.Element.AttrValue("node"))
		switch {
		case c.Element.Is(NSPubsubEvent, "items"):
			got, bad := n.read(c.Element, by)
			if bad != nil && len(got) == 0 {
				return bad
			}
			for i := range got {
				fresh.Add(got[i].item(NSPubsubEvent))
			}
			found = append(found, got...)
			for _, r := range c.Element.Nodes {
				if r.Element == nil || !r.Element.Is(NSPubsubEvent, "retract") {
					continue
				}
				id := r.Element.AttrValue("id")
				fresh.Add(component.NewElement(NSPubsubEvent, "retract").With("id", id))
				w := what{by, n.format, n.device, id}
				if n.bundles && n.device == 0 {
					if w.device, ok = deviceID(id); !ok {
						continue
					}
				}
				after = append(after, func() { d.store.drop(w) })
			}
		case c.Element.Is(NSPubsubEvent, "purge"), c.Element.Is(NSPubsubEvent, "delete"):
			w, drop := what{by, n.format, n.device, ""}, d.store.drop
			if n.bundles && n.device == 0 {
				drop = d.store.dropBundles
			}
			after = append(after, func() { drop(w) })
		case c.Element.Is(NSPubsubEvent, "configuration"):
		default:
			return refuse("a notification that XEP-0060 does not know of")
		}
		kept = append(kept, fresh.Node())
	}
	e.Nodes = kept
	if !isLocal && from == hostSide {
		return nil // of a stranger, who may be one of whom the gateway takes nothing
	}
	d.keep(from, by, found, nil)
	for _, f := range found {
		if from == hostSide && f.list != nil {
			d.store.told(by, to, f)
		}
	}
	for _, f := range after {
		f()
	}
	return nil
}
