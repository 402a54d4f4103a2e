package omemo

import (
	"context"
	"slices"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Publish makes a service answer who reads the device's list and bundle, as an account with
// PEP does (XEP-0163 §6, XEP-0060 §6.5). Everybody may read.
func (o *OwnDevice) Publish(sv *component.Service) {
	sv.Identify(component.Identity{Category: "pubsub", Type: "pep"})
	sv.Announce(NSPubsub+"#access-open", NSPubsub+"#item-ids", NSPubsub+"#persistent-items", NSPubsub+"#retrieve-items")
	sv.Answer(stanza.GetIQ, NSPubsub, "pubsub", func(_ context.Context, s *component.Stanza) ([]*component.Element, error) {
		q, err := parseQuestion(s.Payload())
		if err != nil {
			return nil, err
		}
		f, err := o.item(q)
		if err != nil {
			return nil, err
		}
		return []*component.Element{component.NewElement(NSPubsub, "pubsub").Add(
			component.NewElement(NSPubsub, "items").With("node", q.name).Add(f.item(NSPubsub)))}, nil
	})
}

// item is what a question is for.
func (o *OwnDevice) item(q *question) (*find, error) {
	o.mu.Lock()
	id, b := o.id, o.bundles[q.format]
	o.mu.Unlock()
	f := &find{id: current}
	switch {
	case !q.bundles:
		f.payload = (&DeviceList{Format: q.format, Devices: []Device{{ID: id}}}).Element()
	case q.device == 0:
		f.id, f.payload = formatID(id), b.Element()
	case q.device == id:
		f.payload = b.Element()
	}
	if f.payload == nil || q.ids != nil && !slices.Contains(q.ids, f.id) {
		return nil, component.NewError(stanza.Cancel, stanza.ItemNotFound, "")
	}
	return f, nil
}
