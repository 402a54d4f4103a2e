package muc

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// XEP-0045 §10.9: everybody gets one presence, with what the owner said, then the owner the answer.
func TestDestroy(t *testing.T) {
	for _, persistent := range []string{"0", "1"} {
		w := newWorld(t)
		w.coven("muc#roomconfig_persistentroom", persistent)
		w.grant(bare(hag), "member")
		out := w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy jid='heath@"+domain+"'><password>cauldron</password><reason>Macbeth doth come.</reason><x xmlns='y'/></destroy></query>")
		require.Len(t, out, 4)
		require.Equal(t, "result", out[3].Type)
		for who, nick := range map[string]string{crone1: "firstwitch", crone2: "secondwitch", hag: "thirdwitch"} {
			s := to(out, who)[0]
			require.Equal(t, "unavailable", s.Type)
			require.Equal(t, "coven@"+domain+"/"+nick, s.From.String())
			require.Equal(t, []string{"110"}, codes(s))
			require.Equal(t, "none", item(s).AttrValue("role"))
			require.NotEmpty(t, item(s).AttrValue("affiliation"))
			destroy := s.Child(NSUser, "x").Child(NSUser, "destroy")
			require.Equal(t, "<destroy xmlns='http://jabber.org/protocol/muc#user' jid='heath@chat.shakespeare.lit'><password>cauldron</password><reason>Macbeth doth come.</reason></destroy>", destroy.String())
		}
		require.Equal(t, "cancel/item-not-found", condition(w.get(crone1, "coven", "<query xmlns='http://jabber.org/protocol/disco#info'/>")))
		require.Empty(t, itemsListed(w))
		// Nothing of it is left for a new one.
		require.Contains(t, codes(w.enter(crone2, "coven", "secondwitch")[0]), "201")
		w.restart()
		w.did(w.configure(crone2, "coven"), crone2)
		require.Equal(t, []string{bare(crone2)}, w.adminList(crone2, "coven", "affiliation", "owner"))
		require.Equal(t, []string{}, w.adminList(crone2, "coven", "affiliation", "member"))
	}
}

// itemsListed are the rooms that the service lists.
func itemsListed(w *world) []string {
	w.t.Helper()
	s := w.only(w.send("<iq type='get' id='1' from='"+macbeth+"' to='"+domain+"'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"), macbeth)
	var rooms []string
	for _, n := range s.Payload().Nodes {
		rooms = append(rooms, n.Element.AttrValue("jid"))
	}
	return rooms
}

// XEP-0045 §10.9: the reasons are optional, a locked room can be destroyed, one that is not
// there cannot.
func TestDestroyWithoutWords(t *testing.T) {
	const destroy = "<query xmlns='" + NSOwner + "'><destroy/></query>"
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	out := w.set(crone1, "coven", destroy)
	require.Equal(t, "<destroy xmlns='http://jabber.org/protocol/muc#user'/>", out[0].Child(NSUser, "x").Child(NSUser, "destroy").String())
	w.did(out, crone1)
	w.refused(w.set(crone1, "coven", destroy), crone1, "cancel/item-not-found")
}

// Issue point 6: as everybody gets what the owner says at the end, each in a stanza of its own, that
// cannot be of any length.
func TestDestroyWithManyWords(t *testing.T) {
	w := newWorld(t)
	w.coven()
	long := strings.Repeat("Macbeth doth come. ", 1000)
	for _, how := range []string{"<destroy><reason>" + long + "</reason></destroy>", "<destroy><password>" + long + "</password></destroy>", "<destroy jid='" + long + "'/>"} {
		w.refused(w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'>"+how+"</query>"), crone1, "modify/policy-violation")
	}
	w.did(w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy><reason>"+long[:4000]+"</reason></destroy></query>"), crone1)
}

// XEP-0045 §10.9, §7.2.8: all sessions of all nicknames are told.
func TestDestroyReachesAllSessions(t *testing.T) {
	w := newWorld(t)
	w.coven()
	tablet, phone := bare(hag)+"/tablet", bare(hag)+"/phone"
	w.enter(tablet, "coven", "thirdwitch")
	w.enter(phone, "coven", "otherwitch")
	out := w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>")
	require.Len(t, out, 6)
	for _, who := range []string{hag, tablet, phone} {
		require.Equal(t, "unavailable", w.only(out, who).Type)
	}
}

// RFC 6120 §8.2.3: who asks for what has to be looked up, of a room that is destroyed
// meanwhile, gets an answer all the same.
func TestAnswerWhileDestroyed(t *testing.T) {
	w := newWorld(t)
	for range 30 {
		w.open(crone1, "coven", "firstwitch")
		for typ, payload := range map[string]*component.Element{
			"get": component.NewElement(NSVCard, "vCard"),
			"set": component.NewElement(NSOwner, "query", component.NewElement(NSOwner, "destroy").Node()),
		} {
			s := &component.Stanza{Kind: component.IQ, Type: typ, ID: typ, From: jid.MustParse(crone1), To: jid.MustParse("coven@" + domain)}
			if err := w.sv.HandleStanza(context.Background(), s.Add(payload)); err != nil {
				w.Send(context.Background(), s.Error(err))
			}
		}
		require.Eventually(t, func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			answers := map[string]int{}
			for _, s := range to(w.out, crone1) {
				if s.Kind == component.IQ {
					answers[s.ID]++
				}
			}
			return answers["get"] == 1 && answers["set"] == 1
		}, 30*time.Second, time.Millisecond)
		w.send("")
	}
}
