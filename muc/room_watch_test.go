package muc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// A watcher sees all that a room sends, and knows from that alone what each client must
// believe of the room.
type watcher struct {
	t         *testing.T
	r         *room
	clients   map[string]*client // by full JID
	delivered []int64            // archive ids, in the order of delivery
	handling  *component.Stanza
	entered   map[string]int // what who enters has got of each nickname
}

// A client is one session's view of the room.
type client struct {
	in   bool
	nick string
	sees map[string]*component.Stanza // available presence by nickname
}

func newWatcher(t *testing.T, r *room) *watcher {
	return &watcher{t: t, r: r, clients: map[string]*client{}}
}

func (w *watcher) client(j string) *client {
	c := w.clients[j]
	if c == nil {
		c = &client{sees: map[string]*component.Stanza{}}
		w.clients[j] = c
	}
	return c
}

// handled looks at what handling s led to.
func (w *watcher) handled(s *component.Stanza, before map[string]bool) {
	w.handling, w.entered = s, map[string]int{}
	answers := 0
	joined := s != nil && joins(s)
	if joined && w.r.sessions[s.From.String()] != nil && len(w.r.out.copies) > 1 {
		clear(w.client(s.From.String()).sees) // it says that it knows nothing
	}
	for _, c := range w.r.out.copies {
		got, err := c.Draft.Stanza(c.To.JID, c.Full)
		require.NoError(w.t, err, "%s", c.Draft.XML())
		if s != nil && got.Kind == component.IQ && got.To.Equal(s.From) && got.ID == s.ID && (got.Type == "result" || got.Type == "error") {
			answers++
		}
		w.got(got, joined && got.To.Equal(s.From))
		w.anonymous(got, before)
	}
	if s != nil && s.IsRequest() && s.To.Resourcepart() == "" && len(w.r.out.reads) == 0 {
		require.Equal(w.t, 1, answers, "answers to %s", s)
	}
	w.archived()
	w.r.out = output{}
	w.check()
	if joined && len(w.entered) > 0 {
		for nick := range w.client(s.From.String()).sees {
			require.Equal(w.t, 1, w.entered[nick], "presence of %s for who enters", nick)
		}
	}
}

// got is what one client gets.
func (w *watcher) got(s *component.Stanza, entering bool) {
	j := s.To.String()
	c := w.client(j)
	nick := s.From.Resourcepart()
	codes := codes(s)
	switch {
	case s.Kind == component.Message && s.Type == "groupchat" && s.Child(NSHints, "no-store") == nil:
		require.True(w.t, c.in, "%s is not in the room and gets %s", j, s)
		w.groupchat(s, c)
	case s.Kind != component.Presence || nick == "" || s.Type != "" && s.Type != "unavailable":
	case !c.in && !entering:
		lost := s.Type == "unavailable" && slices.Contains(codes, "333") && w.handling != nil && s.To.Equal(w.handling.From)
		require.True(w.t, lost, "%s is not in the room and gets %s", j, s)
	case s.Type == "unavailable":
		delete(c.sees, nick)
		if slices.Contains(codes, "110") && !slices.Contains(codes, "303") {
			*c = client{sees: map[string]*component.Stanza{}}
		}
	default:
		require.Len(w.t, ids(s), 1, "occupant ids in %s", s)
		require.Nil(w.t, s.Child(NSMUC, "x"), "%s", s)
		c.sees[nick] = s
		if entering {
			w.entered[nick]++
		}
		if slices.Contains(codes, "110") {
			c.in, c.nick = true, nick
		}
	}
}

// ids are the occupant ids in a stanza.
func ids(s *component.Stanza) []string {
	var ids []string
	for _, n := range s.Nodes {
		if n.Element != nil && n.Element.Is(NSOccupantID, "occupant-id") {
			ids = append(ids, n.Element.AttrValue("id"))
		}
	}
	return ids
}

// groupchat notes a message when its sender gets it, and looks at the order of history.
func (w *watcher) groupchat(s *component.Stanza, c *client) {
	id, err := strconv.ParseInt(s.Child(NSSID, "stanza-id").AttrValue("id"), 10, 64)
	if err != nil || s.Body() == "" {
		return
	}
	require.Len(w.t, ids(s), 1, "occupant ids in %s", s)
	switch late := s.Child(NSDelay, "delay") != nil; {
	case late:
		require.Contains(w.t, w.delivered, id)
	case s.From.Resourcepart() == c.nick && (len(w.delivered) == 0 || w.delivered[len(w.delivered)-1] != id):
		w.delivered = append(w.delivered, id)
	}
}

// archived checks that the archive and the history have the order of delivery.
func (w *watcher) archived() {
	ids := make([]int64, 0, len(w.r.history))
	for _, p := range w.r.history {
		ids = append(ids, p.id)
	}
	require.True(w.t, slices.IsSorted(w.delivered))
	for i := range ids {
		j := len(w.delivered) - len(ids) + i
		require.True(w.t, j >= 0 && w.delivered[j] == ids[i], "history %v of %v", ids, w.delivered)
	}
	for _, c := range w.r.out.changes {
		if m, ok := c.(saveMessage); ok {
			require.Equal(w.t, w.delivered[len(w.delivered)-1], m.ID)
		}
	}
}

// anonymous checks that who may not see real JIDs does not get those of others.
func (w *watcher) anonymous(s *component.Stanza, knew map[string]bool) {
	bare := s.To.Bare().String()
	ses := w.r.sessions[s.To.String()]
	if knew == nil || knew[bare] || w.r.cfg.NonAnon || w.r.affiliation(s.To.Bare()) >= Admin || ses != nil && ses.occ.role == Moderator {
		return
	}
	if s.Child(NSUser, "x").Child(NSUser, "decline") != nil {
		return // it tells who was invited, to who invited
	}
	xml := strings.ReplaceAll(s.String(), bare, "")
	require.NotContains(w.t, xml, "@"+users, "for %s after %v", bare, w.handling)
}

// check compares what everybody believes with how the room is.
func (w *watcher) check() {
	r := w.r
	n := 0
	for _, o := range r.list {
		require.Same(w.t, o, r.nicks[o.nick])
		require.Equal(w.t, o.nick, o.addr.Resourcepart())
		require.NotEmpty(w.t, o.sessions)
		require.Contains(w.t, o.sessions, o.shown)
		require.Equal(w.t, r.affiliation(o.bare), o.affiliation, o.nick)
		require.Equal(w.t, o.role, o.told, o.nick)
		for _, ses := range o.sessions {
			n++
			require.Same(w.t, o, ses.occ)
			require.Same(w.t, ses, r.sessions[ses.to.JID.String()])
		}
	}
	require.Len(w.t, r.nicks, len(r.list))
	require.Len(w.t, r.sessions, n)
	require.True(w.t, r.gone || len(r.withLevel(Owner)) > 0, "a room without owner")
	for j, c := range w.clients {
		ses := r.sessions[j]
		require.Equal(w.t, ses != nil, c.in, "%s believes to be in the room: %v, after %v", j, c.in, w.handling)
		if ses == nil {
			continue
		}
		require.Equal(w.t, ses.occ.nick, c.nick)
		var sees, want []string
		for nick, p := range c.sees {
			it := item(p)
			sees = append(sees, fmt.Sprint(nick, " ", it.AttrValue("affiliation"), " ", it.AttrValue("role"), " ", r.seesJIDs(ses.occ) && it.AttrValue("jid") == ""))
		}
		for _, o := range r.list {
			if r.visibleTo(ses.occ, o) {
				want = append(want, fmt.Sprint(o.nick, " ", o.affiliation, " ", o.role, " false"))
			}
		}
		require.ElementsMatch(w.t, want, sees, "%s after %v", j, w.handling)
	}
}
