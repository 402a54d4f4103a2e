package muc

import (
	"maps"
	"slices"
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
	if joined && w.r.sessions.get(s.From.String()) != nil && len(w.r.out.copies) > 1 {
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
		w.is(answers == 1, "%d answers", answers)
	}
	w.archived()
	w.r.out = new(output)
	w.check()
	if joined && len(w.entered) > 0 {
		for nick := range w.client(s.From.String()).sees {
			w.is(w.entered[nick] == 1, "who enters sees %s %d times", nick, w.entered[nick])
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
		w.is(c.in, "%s is not in the room and gets %v", j, s)
		w.groupchat(s, c)
	case s.Kind == component.Message && s.Type != "error" && s.To.Resourcepart() != "", s.IsRequest() && s.To.Resourcepart() != "":
		invited := s.Child(NSUser, "x").Child(NSUser, "invite") != nil
		w.is(c.in || invited, "%s is not in the room and gets %v", j, s)
	case s.Kind != component.Presence || nick == "" || s.Type != "" && s.Type != "unavailable":
	case !c.in && !entering:
		lost := s.Type == "unavailable" && slices.Contains(codes, "333") && w.handling != nil && s.To.Equal(w.handling.From)
		w.is(lost, "%s is not in the room and gets %v", j, s)
	case s.Type == "unavailable":
		delete(c.sees, nick)
		if slices.Contains(codes, "110") && !slices.Contains(codes, "303") {
			*c = client{sees: map[string]*component.Stanza{}}
		}
	default:
		w.is(len(ids(s)) == 1 && s.Child(NSMUC, "x") == nil, "%v has not one occupant id, or what was for the room", s)
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
	id, ok := w.r.parseID(s.Child(NSSID, "stanza-id").AttrValue("id"))
	if !ok || s.Body() == "" {
		return
	}
	w.is(len(ids(s)) == 1, "%v has not one occupant id", s)
	switch late := s.Child(NSDelay, "delay") != nil; {
	case late:
		require.Contains(w.t, w.delivered, id)
	case s.From.Resourcepart() == c.nick && (len(w.delivered) == 0 || w.delivered[len(w.delivered)-1] != id):
		w.delivered = append(w.delivered, id)
	}
}

// archived checks that the archive and the history have the order of delivery.
func (w *watcher) archived() {
	ids := make([]int64, 0, len(w.r.history.list))
	for _, p := range w.r.history.list {
		ids = append(ids, p.id)
	}
	w.is(slices.IsSorted(w.delivered), "archive ids go back: %v", w.delivered)
	last := w.delivered[max(0, len(w.delivered)-len(ids)):]
	w.is(slices.Equal(last, ids), "the history is %v, and was %v", ids, last)
	for _, c := range w.r.out.changes {
		if m, ok := c.(saveMessage); ok && m.Replay != notReplayed {
			require.Equal(w.t, w.delivered[len(w.delivered)-1], m.ID)
		}
	}
}

// anonymous checks that who may not see real JIDs does not get those of others.
func (w *watcher) anonymous(s *component.Stanza, knew map[string]bool) {
	bare := s.To.Bare().String()
	ses := w.r.sessions.get(s.To.String())
	if knew == nil || knew[bare] || w.r.cfg.NonAnon || w.r.affiliation(s.To.Bare()) >= Admin || ses != nil && ses.occ.role == Moderator {
		return
	}
	if s.Child(NSUser, "x").Child(NSUser, "decline") != nil {
		return // it tells who was invited, to who invited
	}
	xml := strings.ReplaceAll(s.String(), bare, "")
	w.is(!strings.Contains(xml, "@"+users), "%s gets the address of somebody else: %v", bare, s)
}

// check compares what everybody believes with how the room is.
func (w *watcher) check() {
	r := w.r
	n := 0
	for _, o := range r.list {
		w.is(r.nicks.get(o.nick) == o && o.from == r.self+"/"+o.nick, "%s is not where its nickname is", o.nick)
		w.is(slices.Contains(o.sessions, o.shown), "%s shows no session of its own", o.nick)
		w.is(o.affiliation == r.affiliation(o.bare()), "%s has another affiliation", o.nick)
		w.is(o.role == o.told && o.role != NoRole, "%s has another role than was told", o.nick)
		for _, ses := range o.sessions {
			n++
			w.is(ses.occ == o && r.sessions.get(ses.to.JID.String()) == ses, "%v is another's session", ses.to.JID)
		}
	}
	w.is(len(r.nicks) == len(r.list) && len(r.sessions) == n, "%d nicknames, %d occupants, %d of %d sessions", len(r.nicks), len(r.list), len(r.sessions), n)
	w.is(r.gone || len(r.withLevel(Owner)) > 0, "a room without owner")
	reserved := map[string]string{}
	for _, a := range r.affiliates {
		if a.nick != "" {
			w.is(reserved[a.nick] == "", "%s belongs to two", a.nick)
			reserved[a.nick] = a.jid
		}
	}
	w.is(maps.Equal(reserved, r.reserved), "nicknames are reserved by %v and not %v", r.reserved, reserved)
	for j, c := range w.clients {
		ses := r.sessions.get(j)
		w.is((ses != nil) == c.in, "%s believes to be in the room: %v", j, c.in)
		if ses == nil {
			continue
		}
		w.is(ses.occ.nick == c.nick, "%s believes to be %s", j, c.nick)
		sees, want := map[string]string{}, map[string]string{}
		for nick, p := range c.sees {
			it := item(p)
			sees[nick] = it.AttrValue("affiliation") + " " + it.AttrValue("role")
			if r.seesJIDs(ses.occ) && it.AttrValue("jid") == "" {
				sees[nick] += " without address"
			}
		}
		for _, o := range r.list {
			if r.visibleTo(ses.occ, o) {
				want[o.nick] = o.affiliation.String() + " " + o.role.String()
			}
		}
		w.is(maps.Equal(want, sees), "%s sees %v and not %v", j, sees, want)
	}
}

// is ends the test if something is not true.
func (w *watcher) is(ok bool, format string, args ...any) {
	if !ok {
		w.t.Helper()
		w.t.Fatalf(format+", after %v", append(args, w.handling)...)
	}
}
