package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRoomDeliveries makes sure that the benchmark of rooms takes what is right, as the
// servers write it, and nothing that is wrong.
func TestRoomDeliveries(t *testing.T) {
	p := &people{rooms: 2, size: 2, got: newDeliveries(2, 2)}
	copyOf := func(room, number, to int) string {
		m, _, ok := cutStanza(p.appendMessage(nil, room, number))
		require.True(t, ok)
		return fmt.Sprintf("<message xml:lang='en' to='user%d@people.example/r' from=\"room%d@rooms.example/n%d\" id='%s' type='groupchat'>%s<stanza-id xmlns='urn:xmpp:sid:0' id='1'/></message>",
			to, room, p.got.sender(room, number), m.id, m.inner)
	}
	presence := func(from, to int, codes ...string) string {
		x := ""
		for _, c := range codes {
			x += "<status code='" + c + "'/>"
		}
		return fmt.Sprintf("<presence from='room%d@rooms.example/n%d' to='user%d@people.example/r'><x>%s</x></presence>", from/2, from, to, x)
	}
	right := []string{presence(2, 2, "110", "201"), presence(2, 3), presence(3, 3, "110"), presence(3, 2),
		copyOf(0, 0, 1), copyOf(0, 0, 0), " ", copyOf(0, 1, 0), copyOf(1, 0, 2), copyOf(1, 0, 3), copyOf(0, 1, 1),
		"<presence to='user0@people.example/r' from='room0@rooms.example'/>",
		"<message to='user0@people.example/r' from='room0@rooms.example' type='groupchat'><subject/></message>",
		"<message to='user0@people.example/r' from='room0@rooms.example' type='groupchat'><x><status code='170'/></x></message>",
		"<iq type='get' id='1' from='room0@rooms.example' to='user0@people.example/r'><ping xmlns='urn:xmpp:ping'/></iq>"}
	take := func(stanzas ...string) (err error) {
		p.got = newDeliveries(2, 2)
		rest, ok := []byte(strings.Join(stanzas, "")), true
		for ok && err == nil {
			rest, ok, err = p.got.first(rest)
		}
		return err
	}
	require.NoError(t, take(right...))
	require.Equal(t, deliveryCounts{copies: 6, presences: 4, own: 2, created: 1, subjects: 1}, p.got.counts)
	require.Equal(t, "<iq type='result' id='1' from='user0@people.example/r' to='room0@rooms.example'/>", string(p.got.replies))

	first, next := copyOf(0, 0, 0), copyOf(0, 1, 0)
	other := copyOf(0, 0, 1)
	for name, wrong := range map[string][]string{
		"twice":             {first, first},
		"too early":         {next},
		"out of order":      {next, first},
		"one is lost":       {first, copyOf(0, 2, 0)},
		"another room":      {first, strings.Replace(first, "user0@", "user2@", 1)},
		"nobody":            {first, strings.Replace(first, "user0@", "user4@", 1)},
		"another sender":    {first, strings.Replace(other, "/n0", "/n1", 1)},
		"no sender":         {strings.Replace(first, "/n0", "", 1)},
		"another id":        {first, strings.Replace(other, "id='m0-0'", "id='m0-1'", 1)},
		"no id":             {strings.Replace(first, "id='m0-0'", "", 1)},
		"another body":      {first, strings.Replace(other, "allium allium", "allium-allium", 1)},
		"body of another":   {first, strings.Replace(other, "<body>m0-0", "<body>m0-1", 1)},
		"longer body":       {first, strings.Replace(other, "</body>", ".</body>", 1)},
		"another type":      {first, strings.Replace(other, "groupchat", "chat", 1)},
		"presence twice":    {presence(0, 1), presence(0, 1)},
		"presence of leave": {strings.Replace(presence(0, 1), "to=", "type='unavailable' to=", 1)},
		"own, not known as": {presence(0, 0)},
		"end of the stream": {"</stream:stream>"},
	} {
		require.Error(t, take(wrong...), name)
	}
}
