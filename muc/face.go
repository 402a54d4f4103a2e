package muc

import (
	"context"
	"crypto/rand"
	"strings"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// face is what the service itself answers (XEP-0045 §6).
func (sv *Service) face() {
	sv.front.Announce(NSMUC, NSConference, NSOccupantID, NSRSM, NSVCard, NSStableID)
	sv.front.Answer(stanza.GetIQ, component.NSDiscoItem, "query", sv.listRooms)
	sv.front.Command(sv.commands()...)
	sv.front.Answer(stanza.GetIQ, NSUnique, "unique", sv.uniqueName)
	sv.front.Answer(stanza.GetIQ, NSVCard, "vCard", func(context.Context, *component.Stanza) ([]*component.Element, error) {
		return []*component.Element{component.NewElement(NSVCard, "vCard",
			component.NewElement(NSVCard, "FN", component.Text(sv.o.Name)).Node())}, nil
	})
}

// uniqueName makes a name that no room has (XEP-0307).
func (sv *Service) uniqueName(context.Context, *component.Stanza) ([]*component.Element, error) {
	name := strings.ToLower(rand.Text())
	if !sv.o.mayBeCalled(name) {
		return nil, errUnsupported
	}
	return []*component.Element{component.NewElement(NSUnique, "unique", component.Text(name))}, nil
}

// listRooms lists the public rooms (XEP-0045 §6.3), by pages if it is asked for (XEP-0059).
func (sv *Service) listRooms(_ context.Context, s *component.Stanza) ([]*component.Element, error) {
	if s.Payload().AttrValue("node") != "" {
		return nil, errNotFound
	}
	sv.mu.Lock()
	defer sv.mu.Unlock()
	page, set, err := paginate(sv.public, s.Payload().Child(NSRSM, "set"), maxListed)
	if err != nil {
		return nil, err
	}
	q := component.NewElement(component.NSDiscoItem, "query")
	for _, name := range page {
		item := component.NewElement(component.NSDiscoItem, "item").With("jid", name+"@"+sv.o.Domain)
		if title := sv.index[name].Config.Name; title != "" {
			item.SetAttr("name", title)
		}
		q.Add(item)
	}
	if set != nil {
		q.Add(set)
	}
	return []*component.Element{q}, nil
}

// maxListed is how many rooms one answer lists.
const maxListed = 500
