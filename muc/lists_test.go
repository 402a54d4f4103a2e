package muc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

func affiliationQuery(level string) string {
	return "<query xmlns='" + NSAdmin + "'><item affiliation='" + level + "'/></query>"
}

// XEP-0045 §9.2: the list of who is banned comes whole, whatever was said against them: reasons
// are cut where it would be too long to be sent.
func TestLongBanList(t *testing.T) {
	w := newWorld(t)
	w.coven()
	w.longest = 500_000 // as by a component.Link
	w.admin(crone1, "coven", affiliationItem("first@example.org", "outcast", "Treason"))
	list := func() []*component.Element {
		s := w.get(crone1, "coven", affiliationQuery("outcast"))
		require.Equal(t, "result", s.Type)
		return itemsOf(s)
	}
	reason := func(item *component.Element) string { return item.Child(NSAdmin, "reason").Text() }
	for i := range 150 {
		why := strings.Repeat([]string{"x", "é", "&amp;"}[i%3], 4096/[]int{1, 2, 1}[i%3])
		w.did(w.admin(crone1, "coven", affiliationItem(fmt.Sprintf("u%03d@example.org", i), "outcast", why)), crone1)
		if i == 30 {
			require.Equal(t, strings.Repeat("x", 4096), reason(list()[31]), "as long as there is room")
		}
	}
	items := list()
	require.Len(t, items, 151)
	require.Equal(t, "Treason", reason(items[0]), "a short one is whole")
	for _, item := range items[1:] {
		text := reason(item)
		require.True(t, strings.HasSuffix(text, "…"), text)
		require.Greater(t, len(text), 400)
		require.Less(t, len(text), 4096)
	}
}

// XEP-0045 §9.5, §9.8, §10.2, RFC 6120 §8.2.3: every request is answered, also where the answer
// would be longer than a stanza may be.
func TestAnswersThatAreTooLong(t *testing.T) {
	w := newWorld(t)
	w.coven()
	r := w.sv.awake("coven").room
	for i := range 9000 {
		r.affiliates.put(affiliate{jid: fmt.Sprintf("somebody%04d@shakespeare.lit", i), level: Member, reason: "By invitation"})
	}
	w.longest = 500_000
	long := func(payload string) {
		s := w.get(crone1, "coven", payload)
		require.Equal(t, "cancel/resource-constraint", condition(s))
		require.Equal(t, []string{"get", "coven@" + domain}, []string{s.ID, s.From.String()})
	}
	long(affiliationQuery("member"))
	require.Equal(t, "result", w.get(crone1, "coven", affiliationQuery("owner")).Type)
	w.longest = 300
	long(ownerQuery)
	long("<query xmlns='" + NSAdmin + "'><item role='participant'/></query>")
	require.Empty(t, w.say(crone1, "coven", "m", strings.Repeat("x", 300)), "nobody is asked about what is no answer")
	require.Len(t, w.sv.awake("coven").room.list, 3)
}
