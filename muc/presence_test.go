package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// XEP-0045 §16.5.3, muc#roomconfig_presencebroadcast: whose presence others see. Moderators
// see all, and everybody sees itself.
func TestPresenceOfSome(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_moderatedroom", "1", "muc#roomconfig_presencebroadcast", "moderator")
	out := w.enter(hecate, "coven", "fourth")
	require.Equal(t, "presence firstwitch moderator\npresence fourth visitor 110 170\nmessage groupchat room subject \"\"", summary(out, hecate))
	require.Equal(t, "presence fourth visitor", summary(out, crone1))
	require.Empty(t, to(out, hag))
	out = w.presence(hecate, witches+"/fourth", "", "<show>away</show>")
	require.Equal(t, "presence fourth visitor 110", summary(out, hecate))
	require.Empty(t, to(out, hag))
	require.Equal(t, "presence error fourth cancel/item-not-found", summary(w.presence(hag, witches+"/fourth", "probe", ""), hag))
	// Who becomes a moderator is seen by all, and sees all; and the other way round.
	out = w.admin(crone1, "coven", "<item nick='thirdwitch' role='moderator'/>")
	require.Equal(t, "presence thirdwitch moderator", summary(out, hecate))
	require.Equal(t, "presence thirdwitch moderator 110\npresence firstwitch moderator\npresence secondwitch visitor\npresence fourth visitor", summary(out, hag))
	require.Equal(t, hecate, item(to(out, hag)[3]).AttrValue("jid"))
	out = w.admin(crone1, "coven", "<item nick='thirdwitch' role='participant'/>")
	require.Equal(t, "presence unavailable thirdwitch none", summary(out, hecate))
	require.Equal(t, "presence thirdwitch participant 110\npresence unavailable secondwitch none\npresence unavailable fourth none", summary(out, hag))
	// Who is not seen is not seen leaving, nor with another nickname.
	out = w.presence(hecate, witches+"/other", "", "")
	require.Empty(t, to(out, hag))
	out = w.presence(hecate, witches+"/other", "unavailable", "")
	require.Equal(t, "presence unavailable other none", summary(out, crone1))
	require.Empty(t, to(out, hag))
	// When that is changed all are shown, or go (§10.2).
	w.enter(hecate, "coven", "fourth")
	form := "<field var='muc#roomconfig_presencebroadcast'><value>moderator</value><value>participant</value><value>visitor</value></field>"
	out = w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"+NSRoomConfig+"</value></field>"+form+"</x></query>")
	require.Equal(t, "presence secondwitch visitor\npresence fourth visitor\nmessage groupchat room 104", summary(out, hag))
	out = w.configure(crone1, "coven", "muc#roomconfig_presencebroadcast", "participant")
	require.Equal(t, "presence unavailable firstwitch none\npresence unavailable secondwitch none\npresence unavailable fourth none\nmessage groupchat room 104", summary(out, hag))
}

// Several changes at once, of who sees whom and of who is there: nobody is left over.
func TestPresenceOfSomeAtOnce(t *testing.T) {
	w := newWorld(t)
	w.gather("muc#roomconfig_moderatedroom", "1", "muc#roomconfig_presencebroadcast", "moderator")
	w.admin(crone1, "coven", "<item nick='thirdwitch' role='moderator'/>")
	w.enter(hecate, "coven", "fourth")
	// thirdwitch sees secondwitch and fourth, and is to see neither any more.
	out := w.admin(crone1, "coven", "<item nick='thirdwitch' role='participant'/>", "<item nick='fourth' role='none'/>")
	require.Equal(t, "presence thirdwitch participant 110\npresence unavailable secondwitch none\npresence unavailable fourth none 307", summary(out, hag))
	// All see all, then who is no member goes, and nobody sees visitors.
	w.admin(crone1, "coven", "<item jid='"+bareOf(crone2)+"' affiliation='member'/>")
	w.configure(crone1, "coven", "muc#roomconfig_presencebroadcast", "participant")
	out = w.configure(crone1, "coven", "muc#roomconfig_presencebroadcast", "moderator", "muc#roomconfig_membersonly", "1")
	require.Equal(t, "presence unavailable thirdwitch none 322\npresence firstwitch moderator\nmessage groupchat room 104", summary(out, crone2))
}

// XEP-0045 §12, 102, 103: members with a registered nickname who are not there are shown
// where the room is configured so.
func TestAbsentMembers(t *testing.T) {
	w := newWorld(t)
	w.gather()
	w.admin(crone1, "coven", "<item jid='banquo@shakespeare.lit' affiliation='member' nick='banquo'/>", "<item jid='hag66@shakespeare.lit' affiliation='member' nick='thirdwitch'/>")
	require.NotContains(t, summary(w.enter(hecate, "coven", "fourth"), hecate), "banquo")
	require.Equal(t, "message groupchat room 102", summary(w.configure(crone1, "coven", "{urn:xmpp:allium:0}show_members", "1"), hag))
	out := w.enter("hecate@shakespeare.lit/b", "coven", "fifth")
	require.Contains(t, summary(out, "hecate@shakespeare.lit/b"), "presence unavailable banquo none\npresence fifth participant 110 170\n")
	require.NotContains(t, summary(out, "hecate@shakespeare.lit/b"), "unavailable thirdwitch")
	for _, s := range to(out, "hecate@shakespeare.lit/b") {
		if s.From.Resourcepart() == "banquo" {
			require.Equal(t, "member", item(s).AttrValue("affiliation"))
			require.Empty(t, item(s).AttrValue("jid"))
		}
	}
	require.Equal(t, "presence unavailable banquo none", summary(w.presence(hag, witches+"/banquo", "probe", ""), hag))
	require.Equal(t, "message groupchat room 103", summary(w.configure(crone1, "coven", "{urn:xmpp:allium:0}show_members", "0"), hag))
	require.Equal(t, "presence error banquo cancel/item-not-found", summary(w.presence(hag, witches+"/banquo", "probe", ""), hag))
}

// XEP-0045 §7.9: what an owner brings along from a conversation of two has a time of its
// own, and gets no second.
func TestHistoryBroughtAlong(t *testing.T) {
	w := newWorld(t)
	w.gather()
	late := "<delay xmlns='urn:xmpp:delay' from='crone1@shakespeare.lit/desktop' stamp='2004-09-29T01:54:37Z'/>"
	for _, who := range []string{crone1, hag} {
		w.message(who, witches, "groupchat", "<body>before</body>"+late)
	}
	var stamps []int
	for _, s := range to(w.enter(hecate, "coven", "fourth"), hecate) {
		if s.Body() == "" {
			continue
		}
		n := 0
		for _, node := range s.Nodes {
			if node.Element.Is(NSDelay, "delay") {
				n++
			}
		}
		stamps = append(stamps, n)
	}
	require.Equal(t, []int{1, 2}, stamps)
}
