package component_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// Who comes and goes in a room is written again when a connection is lost, in its order: those in
// the room who are there still would never know.
func TestCopiesOfPresenceAgain(t *testing.T) {
	h := startRawHost(t)
	l, _, _ := attach(t, h.ln.Addr().String(), "one.example.org", "x", component.NewRouter())
	c := h.accept()
	up(t, l)
	to := component.NewRecipient(jid.MustParse("a@b"))
	var copies []component.Copy
	for _, typ := range []string{"", "unavailable"} {
		s := &component.Stanza{Kind: component.Presence, Type: typ, From: jid.MustParse("room@one.example.org/nick")}
		copies = append(copies, component.Copy{Draft: component.NewDraft(s, nil, nil, nil), To: &to})
	}
	l.SendCopies(t.Context(), copies, func(_ component.Copy, err error) { t.Error(err) })
	for range 2 {
		for _, typ := range []string{"", "unavailable"} {
			assert.Equal(t, typ, c.next().Type)
		}
		require.NotNil(t, c.next().Child(component.NSPing, "ping"))
		c.conn.Close()
		c = h.accept()
		c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	}
}

// So are contacts, but not who wants to enter a room of the host: they could get its history twice.
func TestPresenceAgain(t *testing.T) {
	h := startRawHost(t)
	l, _, _ := attach(t, h.ln.Addr().String(), "one.example.org", "x", component.NewRouter())
	c := h.accept()
	up(t, l)
	send := func(typ string, payload ...*component.Element) {
		s := &component.Stanza{Kind: component.Presence, Type: typ, From: jid.MustParse("bob@one.example.org/x"), To: jid.MustParse("a@b")}
		require.NoError(t, l.Send(t.Context(), s.Add(payload...)))
	}
	send("")
	send("probe")
	send("", component.NewElement("http://jabber.org/protocol/muc", "x"))
	send("unavailable")
	first, again := []string{"", "probe", "", "unavailable"}, []string{"", "unavailable"}
	for _, want := range [][]string{first, again, again} {
		for _, typ := range want {
			s := c.next()
			for s.Child(component.NSPing, "ping") != nil {
				s = c.next()
			}
			assert.Equal(t, typ, s.Type)
		}
		c.conn.Close()
		c = h.accept()
		c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	}
}
