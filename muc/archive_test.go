package muc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// XEP-0313 §6.1.2, §8.1: who may read the archive.
func TestArchiveAccess(t *testing.T) {
	w := newWorld(t)
	ids := w.talk(2)
	bare := jid.MustParse(stranger).Bare().String()
	require.Equal(t, ids, w.query(stranger, "coven", "").ids, "an open room")
	w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", "cauldron")
	require.Equal(t, "auth/forbidden", w.query(stranger, "coven", "").err, "a password")
	require.Equal(t, "auth/forbidden", condition(w.get(stranger, "coven", "<query xmlns='"+NSMAM+"'/>")))
	w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "0", "muc#roomconfig_membersonly", "1")
	require.Equal(t, "auth/forbidden", w.query(stranger, "coven", "").err, "members only")
	w.admin(crone1, "coven", "<item affiliation='member' jid='"+bare+"'/>")
	require.Equal(t, ids, w.query(stranger, "coven", "").ids, "a member from outside")
	w.admin(crone1, "coven", "<item affiliation='outcast' jid='"+bare+"'/>")
	require.Equal(t, "auth/forbidden", w.query(stranger, "coven", "").err, "banned")
	w.configure(crone1, "coven", "muc#roomconfig_membersonly", "0")
	require.Equal(t, "auth/forbidden", w.query(stranger, "coven", "").err, "banned from an open room")
	w.configure(crone1, "coven", "muc#roomconfig_publicroom", "0")
	require.Equal(t, "cancel/item-not-found", w.query(hag, "coven", "").err, "a hidden room")
	require.Equal(t, "cancel/item-not-found", w.query(hag, "nowhere", "").err)
}

// XEP-0313 §6.1.2: no private messages, nothing that was refused; subjects are archived,
// and who enters gets them once.
func TestArchiveContents(t *testing.T) {
	w := newWorld(t)
	w.talk(1)
	w.send("<message type='chat' from='" + crone1 + "' to='coven@" + domain + "/secondwitch'><body>private</body></message>")
	require.Equal(t, "modify/not-acceptable", condition(w.only(w.say(hag, "coven", "m", "from outside"), hag)))
	w.send("<message type='groupchat' id='s' from='" + crone1 + "' to='coven@" + domain + "'><subject>Fire Burn</subject></message>")
	f := w.query(crone2, "coven", "")
	require.Equal(t, []string{"line 0", ""}, f.bodies())
	require.Equal(t, "Fire Burn", f.messages[1].Child(component.NSClient, "subject").Text())
	for range 2 {
		subjects := 0
		for _, s := range to(w.enter(hag, "coven", "thirdwitch"), hag) {
			if s.Child(component.NSClient, "subject") != nil {
				subjects++
			}
		}
		require.Equal(t, 1, subjects)
		w.restart()
	}
}

// XEP-0085, XEP-0308, XEP-0333, XEP-0334, XEP-0444: what is archived, and what who enters
// gets of it.
func TestWorthKeeping(t *testing.T) {
	hint := func(name string) string { return "<" + name + " xmlns='" + NSHints + "'/>" }
	for _, c := range []struct {
		name, xml          string
		archived, replayed bool
	}{
		{"body", "<body>x</body>", true, true},
		{"chat state", "<composing xmlns='" + NSChatStates + "'/>", false, false},
		{"chat state with thread", "<composing xmlns='" + NSChatStates + "'/><thread>t</thread>", false, false},
		{"body and chat state", "<body>x</body><active xmlns='" + NSChatStates + "'/>", true, true},
		{"chat state to store", "<composing xmlns='" + NSChatStates + "'/>" + hint("store"), true, true},
		{"correction", "<body>y</body><replace xmlns='urn:xmpp:message-correct:0' id='m1'/>", true, true},
		{"reaction", "<reactions xmlns='urn:xmpp:reactions:0' id='m1'><reaction>x</reaction></reactions>", true, true},
		{"marker", "<displayed xmlns='" + NSMarkers + "' id='m1'/>", true, false},
		{"encrypted", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", true, true},
		{"no-store", "<body>x</body>" + hint("no-store"), false, false},
		{"no-store and store", "<body>x</body>" + hint("no-store") + hint("store"), false, false},
		{"no-permanent-store", "<body>x</body>" + hint("no-permanent-store"), false, false},
		{"retraction", "<retract xmlns='" + NSRetract + "' id='m1'/>" + hint("no-store"), true, true},
		{"nothing", "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.open(crone1, "coven", "firstwitch")
			w.only(w.send("<message type='groupchat' id='m1' from='"+crone1+"' to='coven@"+domain+"'>"+c.xml+"</message>"), crone1)
			require.Equal(t, c.archived, len(w.query(crone1, "coven", "").ids) == 1)
			for range 2 {
				n := 0
				for _, s := range to(w.enter(hag, "coven", "thirdwitch"), hag) {
					if s.ID == "m1" {
						n++
					}
				}
				require.Equal(t, c.replayed, n == 1)
				w.restart()
				w.enter(crone1, "coven", "firstwitch")
			}
		})
	}
}

// XEP-0313 §7, XEP-0431 §2.1, XEP-0424 §2: features, as long as the room has an archive.
func TestArchiveFeatures(t *testing.T) {
	has := func(w *world) map[string]bool {
		all := map[string]bool{}
		for _, n := range w.get(crone1, "coven", "<query xmlns='"+component.NSDiscoInfo+"'/>").Child(component.NSDiscoInfo, "query").Nodes {
			all[n.Element.AttrValue("var")] = true
		}
		return all
	}
	w := newWorld(t)
	w.talk(1)
	of := []string{"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:fulltext:0", "urn:xmpp:message-retract:1#tombstone"}
	always := []string{"urn:xmpp:message-moderate:1", "urn:xmpp:message-moderate:0", "urn:xmpp:message-retract:1", "urn:xmpp:sid:0"}
	for _, f := range append(of, always...) {
		require.True(t, has(w)[f], f)
	}
	w.configure(crone1, "coven", "muc#roomconfig_enablelogging", "0")
	require.Equal(t, "cancel/service-unavailable", w.query(crone1, "coven", "").err)
	for _, f := range of {
		require.False(t, has(w)[f], f)
	}
	for _, f := range always {
		require.True(t, has(w)[f], f)
	}
	none := newWorld(t, func(o *Options) { o.Limits.NoArchive = true })
	none.talk(1)
	require.False(t, has(none)["urn:xmpp:mam:2"])
}

// XEP-0313 §3.1, XEP-0045 §7.2.13: archive, history and the order of ids survive a crash.
func TestArchiveSurvives(t *testing.T) {
	w := newWorld(t)
	ids := w.talk(30)
	before := to(w.enter(hag, "coven", "thirdwitch"), hag)
	w.restart()
	w.enter(crone1, "coven", "firstwitch")
	after := to(w.enter(hag, "coven", "thirdwitch"), hag)
	history := func(stanzas []*component.Stanza) (all []string) {
		for _, s := range stanzas {
			if s.Body() != "" {
				require.NotNil(t, s.Child(NSDelay, "delay"))
				all = append(all, stanzaID(s))
			}
		}
		return all
	}
	require.Equal(t, ids[10:], history(before))
	require.Equal(t, ids[10:], history(after))
	more := stanzaID(w.only(w.say(crone1, "coven", "new", "again"), crone1))
	require.Equal(t, append(ids, more), w.query(crone1, "coven", "").ids)
}

// XEP-0313 §8.1: queries that take too long are refused.
func TestArchiveQueriesBounded(t *testing.T) {
	w := newWorld(t)
	w.talk(1)
	defer func(d time.Duration) { queryTimeout = d }(queryTimeout)
	queryTimeout = 1
	require.Equal(t, "wait/resource-constraint", w.query(crone1, "coven", "").err)
}
