package muc

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// A coven is a room with crone1 as its owner firstwitch, and wiccarocks and hag66 as
// secondwitch and thirdwitch, configured by fields.
func (w *world) coven(fields ...string) {
	w.t.Helper()
	w.enter(crone1, "coven", "firstwitch")
	w.did(w.configure(crone1, "coven", fields...), crone1)
	for who, nick := range map[string]string{crone2: "secondwitch", hag: "thirdwitch"} {
		out := w.enter(who, "coven", nick)
		require.Empty(w.t, condition(to(out, who)[0]))
	}
}

// grant is affiliations given by crone1: a bare JID and what it gets, and so on.
func (w *world) grant(pairs ...string) []*component.Stanza {
	w.t.Helper()
	var items []string
	for i := 0; i < len(pairs); i += 2 {
		items = append(items, affiliationItem(pairs[i], pairs[i+1], ""))
	}
	out := w.admin(crone1, "coven", items...)
	w.did(out, crone1)
	return out
}

// did is that a request was answered with a result.
func (w *world) did(stanzas []*component.Stanza, who string) {
	w.t.Helper()
	require.Equal(w.t, "result", answerTo(stanzas, who).Type, "%v", stanzas)
}

// refused is that a request was answered with an error, and nobody else was told anything.
func (w *world) refused(stanzas []*component.Stanza, who, want string) {
	w.t.Helper()
	require.Equal(w.t, want, condition(w.only(stanzas, who)))
	require.Len(w.t, stanzas, 1)
}

func roleItem(nick, role, reason string) string {
	return "<item nick='" + nick + "' role='" + role + "'>" + reasonOf(reason) + "</item>"
}

func affiliationItem(j, affiliation, reason string) string {
	return "<item jid='" + j + "' affiliation='" + affiliation + "'>" + reasonOf(reason) + "</item>"
}

func reasonOf(text string) string {
	if text == "" {
		return ""
	}
	return "<reason>" + text + "</reason>"
}

// answerTo is the answer to a request that somebody got.
func answerTo(stanzas []*component.Stanza, who string) *component.Stanza {
	for _, s := range to(stanzas, who) {
		if s.Kind == component.IQ {
			return s
		}
	}
	return new(component.Stanza)
}

// seen is how somebody was shown an occupant: affiliation/role and the status codes, and
// "gone" for an unavailable one; "" if that was not shown, or more than once.
func seen(stanzas []*component.Stanza, who, nick string) string {
	var all []string
	for _, s := range to(stanzas, who) {
		if s.Kind != component.Presence || s.From.Resourcepart() != nick {
			continue
		}
		text := item(s).AttrValue("affiliation") + "/" + item(s).AttrValue("role")
		if s.Type == "unavailable" {
			text = "gone " + text
		}
		all = append(all, strings.TrimSpace(text+" "+strings.Join(codes(s), " ")))
	}
	if len(all) != 1 {
		return strings.Join(all, ", then ")
	}
	return all[0]
}

// notices are the status codes of the messages that somebody got from the room.
func notices(stanzas []*component.Stanza, who string) []string {
	var all []string
	for _, s := range to(stanzas, who) {
		if s.Kind == component.Message && s.Type == "groupchat" && s.From.Resourcepart() == "" {
			all = append(all, strings.Join(codes(s), " "))
		}
	}
	return all
}

// adminList is a list as somebody gets it: "jid nick" or "nick jid" of each item, or the error.
func (w *world) adminList(who, room, attr, value string) []string {
	w.t.Helper()
	s := w.get(who, room, "<query xmlns='"+NSAdmin+"'><item "+attr+"='"+value+"'/></query>")
	if c := condition(s); c != "" {
		return []string{c}
	}
	list := []string{}
	for _, item := range itemsOf(s) {
		require.Equal(w.t, value, item.AttrValue(attr))
		text := item.AttrValue("jid") + " " + item.AttrValue("nick")
		if attr == "role" {
			text = item.AttrValue("nick") + " " + item.AttrValue("affiliation") + " " + item.AttrValue("jid")
		}
		list = append(list, strings.TrimSpace(text))
	}
	return list
}

// bare is a full JID without its resource.
func bare(full string) string {
	j, _, _ := strings.Cut(full, "/")
	return j
}
