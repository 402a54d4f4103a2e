package main

import (
	"context"
	"crypto/rand"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/muc"
)

// meet lets a make a hidden room, and invite b, who comes through Tor.
func (d *demo) meet(ctx context.Context, a, b *side) error {
	room, err := jid.New("talk", "rooms."+a.domain, "")
	if err != nil {
		return err
	}
	far, err := jid.New(`talk\40rooms.`+a.onion, "onion."+b.domain, "") // the same room, for b
	if err != nil {
		return err
	}
	if err := d.enter(ctx, a, room); err != nil {
		return err
	}
	accept := "<iq type='set' id='accept' to='" + room.String() + "'><query xmlns='" + muc.NSOwner + "'><x xmlns='jabber:x:data' type='submit'/></query></iq>"
	if err := a.client.SendXML(accept); err != nil {
		return err
	}
	if _, err := a.client.Expect(ctx, "the room", func(s *component.Stanza) bool { return s.ID == "accept" && s.Type == "result" }); err != nil {
		return err
	}
	d.say("%s made the room %s: not listed, for members", a.user, room)
	guest, err := a.contact(b)
	if err != nil {
		return err
	}
	invite := "<message to='" + room.String() + "'><x xmlns='" + muc.NSUser + "'><invite to='" + guest.String() + "'/></x></message>"
	if err := a.client.SendXML(invite); err != nil {
		return err
	}
	if _, err := b.client.Expect(ctx, "the invitation", func(s *component.Stanza) bool {
		return s.From.Equal(far) && s.Child(muc.NSUser, "x").Child(muc.NSUser, "invite") != nil
	}); err != nil {
		return err
	}
	if err := d.enter(ctx, b, far); err != nil {
		return err
	}
	d.say("%s was invited, and came through Tor as a guest of %s", b.user, far)
	for _, say := range []struct {
		from, to   *side
		room, seen jid.JID
		body       string
	}{{a, b, room, far, "Welcome!"}, {b, a, far, room, "Nobody sees where I am."}} {
		began := time.Now()
		m := &component.Stanza{Kind: component.Message, Type: "groupchat", ID: rand.Text(), To: say.room}
		if err := say.from.client.Send(m.Add(component.NewElement(component.NSClient, "body", component.Text(say.body)))); err != nil {
			return err
		}
		if _, err := say.to.client.Expect(ctx, "a message in the room", func(s *component.Stanza) bool {
			return s.ID == m.ID && s.Body() == say.body && s.From.Bare().Equal(say.seen) && s.From.Resourcepart() == say.from.user
		}); err != nil {
			return err
		}
		d.say("%s in the room: %q, after %v", say.from.user, say.body, time.Since(began).Round(time.Millisecond))
	}
	return nil
}

// enter enters a room, and waits until the own presence has come.
func (d *demo) enter(ctx context.Context, s *side, room jid.JID) error {
	nick, err := room.WithResource(s.user)
	if err != nil {
		return err
	}
	join := &component.Stanza{Kind: component.Presence, To: nick}
	if err := s.client.Send(join.Add(component.NewElement(muc.NSMUC, "x"))); err != nil {
		return err
	}
	_, err = s.client.Expect(ctx, "the own presence in "+room.String(), func(s *component.Stanza) bool {
		return s.Kind == component.Presence && s.Type == "" && s.From.Equal(nick)
	})
	return err
}
