package muc

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

func moderation(id string) string {
	return "<moderate xmlns='" + NSModerate + "' id='" + id + "'><retract xmlns='" + NSRetract + "'/><reason>Not here</reason></moderate>"
}

// oldModeration is version 0 of XEP-0425.
func oldModeration(id string) string {
	return "<apply-to xmlns='" + NSFastening + "' id='" + id + "'><moderate xmlns='" + NSModerate0 + "'><retract xmlns='" + NSRetract0 +
		"'/><reason>Not here</reason></moderate></apply-to>"
}

// XEP-0425 §3.1: all are told by the room, who asked too and before the result. §4: a
// tombstone is left in the archive; §5: the message is not sent to anybody any more.
func TestModerate(t *testing.T) {
	for version, ask := range []func(string) string{oldModeration, moderation} {
		for _, forgotten := range []bool{false, true} {
			t.Run(fmt.Sprintf("version %d, forgotten %t", version, forgotten), func(t *testing.T) {
				w := newWorld(t)
				ids := w.talk(2)
				author := w.query(crone1, "coven", "").messages[1].Child(NSOccupantID, "occupant-id").AttrValue("id")
				if forgotten { // so that it is looked up in the archive
					w.configure(crone1, "coven", "muc#maxhistoryfetch", "0")
				}
				got := w.set(crone1, "coven", ask(ids[1]))
				mine := to(got, crone1)
				require.Len(t, mine, 2)
				require.Equal(t, "result", mine[1].Type)
				for _, s := range []*component.Stanza{mine[0], w.only(got, crone2)} {
					require.Equal(t, "coven@"+domain, s.From.String())
					require.Equal(t, "groupchat", s.Type)
					require.NotEmpty(t, s.ID)
					r := s.Child(NSRetract, "retract")
					require.Equal(t, ids[1], r.AttrValue("id"))
					require.Equal(t, "Not here", r.Child(NSRetract, "reason").Text())
					by := r.Child(NSModerate, "moderated")
					require.Equal(t, "coven@"+domain+"/firstwitch", by.AttrValue("by"))
					require.NotEmpty(t, by.Child(NSOccupantID, "occupant-id").AttrValue("id"))
					old := s.Child(NSFastening, "apply-to")
					require.Equal(t, ids[1], old.AttrValue("id"))
					require.NotNil(t, old.Child(NSModerate0, "moderated").Child(NSRetract0, "retract"))
				}
				for range 2 {
					f := w.query(crone1, "coven", "")
					require.Equal(t, []string{"line 0", "", ""}, f.bodies())
					require.Equal(t, append(ids, stanzaID(mine[0])), f.ids)
					tomb := f.messages[1]
					require.Equal(t, "m1", tomb.AttrValue("id"))
					require.Equal(t, "coven@"+domain+"/secondwitch", tomb.AttrValue("from"))
					require.Equal(t, author, tomb.Child(NSOccupantID, "occupant-id").AttrValue("id"))
					require.Equal(t, ids[1], tomb.Child(NSSID, "stanza-id").AttrValue("id"))
					gone := tomb.Child(NSRetract, "retracted")
					require.Equal(t, mine[0].ID, gone.AttrValue("id"))
					require.NotEmpty(t, gone.AttrValue("stamp"))
					require.Equal(t, "Not here", gone.Child(NSRetract, "reason").Text())
					require.Equal(t, "coven@"+domain+"/firstwitch", gone.Child(NSModerate, "moderated").AttrValue("by"))
					require.Equal(t, "coven@"+domain, f.messages[2].AttrValue("from"))
					require.Empty(t, w.query(crone1, "coven", "", fieldFulltext, "line 1").ids)
					for _, s := range to(w.enter(hag, "coven", "thirdwitch"), hag) {
						require.NotEqual(t, "line 1", s.Body())
					}
					w.restart()
					w.enter(crone1, "coven", "firstwitch")
				}
			})
		}
	}
}

// XEP-0425 §3.2, §5: moderators only; what is not there cannot be moderated.
func TestModerateRefused(t *testing.T) {
	w := newWorld(t)
	ids := w.talk(2)
	require.Equal(t, "auth/forbidden", condition(w.only(w.set(crone2, "coven", moderation(ids[0])), crone2)))
	require.Equal(t, "auth/forbidden", condition(w.only(w.set(stranger, "coven", oldModeration(ids[0])), stranger)))
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.set(crone1, "coven", moderation("stanza-id-1")), crone1)))
	never := w.sv.awake("coven").room.idText(1)
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.set(crone1, "coven", moderation(never)), crone1)))
	edit := "<moderate xmlns='" + NSModerate + "' id='" + ids[0] + "'><edit/></moderate>"
	require.Equal(t, "cancel/feature-not-implemented", condition(w.only(w.set(crone1, "coven", edit), crone1)))
	require.Equal(t, "cancel/feature-not-implemented", condition(w.only(w.set(crone1, "coven", "<apply-to xmlns='"+NSFastening+"' id='"+ids[0]+"'/>"), crone1)))
	require.Equal(t, []string{"line 0", "line 1"}, w.query(crone1, "coven", "").bodies())
}

// XEP-0425: in a room without archive what the history has can be moderated.
func TestModerateWithoutArchive(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.configure(crone1, "coven", "muc#roomconfig_enablelogging", "0")
	id := stanzaID(w.only(w.say(crone1, "coven", "m", "spam"), crone1))
	require.Len(t, to(w.set(crone1, "coven", moderation(id)), crone1), 2)
	for _, s := range to(w.enter(hag, "coven", "thirdwitch"), hag) {
		require.Empty(t, s.Body())
	}
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.set(crone1, "coven", moderation(id)), crone1)))
}

// XEP-0424 §3 to §5: all get what takes a message back, it is archived, and what it takes
// back is a tombstone, if it is from who wrote that.
func TestRetract(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		t.Run(fmt.Sprintf("forgotten %t", forgotten), func(t *testing.T) {
			w := newWorld(t)
			ids := w.talk(2)
			if forgotten {
				w.configure(crone1, "coven", "muc#maxhistoryfetch", "0")
			}
			retract := func(who, id string) []*component.Stanza {
				return w.send("<message type='groupchat' id='r1' from='" + who + "' to='coven@" + domain + "'><retract xmlns='" + NSRetract + "' id='" + id +
					"'/><body>/me retracted a message</body></message>")
			}
			require.NotNil(t, w.only(retract(crone2, ids[0]), crone1).Child(NSRetract, "retract"))
			f := w.query(crone1, "coven", "")
			require.Equal(t, []string{"line 0", "line 1", "/me retracted a message"}, f.bodies(), "it is not the author's")
			// The author is known by whatever nickname, in whatever session.
			w.send("<presence from='" + crone2 + "' to='coven@" + domain + "/other'/>")
			retract(crone2, ids[1])
			retract(crone2, "nothing")
			f = w.query(crone1, "coven", "")
			require.Len(t, f.ids, 5)
			require.Empty(t, f.bodies()[1])
			gone := f.messages[1].Child(NSRetract, "retracted")
			require.Equal(t, "r1", gone.AttrValue("id"))
			require.Nil(t, gone.Child(NSModerate, "moderated"))
			for _, s := range to(w.enter(hag, "coven", "thirdwitch"), hag) {
				require.NotEqual(t, "line 1", s.Body())
			}
			// A moderator's tombstone is not turned into an author's.
			w.set(crone1, "coven", moderation(ids[1]))
			retract(crone2, ids[1])
			require.NotNil(t, w.query(crone1, "coven", "").messages[1].Child(NSRetract, "retracted").Child(NSModerate, "moderated"))
		})
	}
}

// What all have heard of being taken back is that on disk too: nothing that comes between, such as
// a stop, can keep it there.
func TestRetractionIsStoredWithItsMessage(t *testing.T) {
	w := newWorld(t)
	id := w.talk(1)[0]
	goOn := make(chan struct{})
	defer close(goOn)
	for i := range laneLimits[rowLane].slots { // nothing more can be looked up
		require.True(t, w.sv.readers.add(rowLane, fmt.Sprint(i), func() { <-goOn }))
	}
	require.NoError(t, w.sv.awake("coven").post(event{do: func(r *room) { r.warm, r.history = false, history{} }}))
	require.NoError(t, w.sv.HandleStanza(t.Context(), parseOne(t, "<message type='groupchat' id='r1' from='"+crone1+"' to='coven@"+domain+"'><retract xmlns='"+NSRetract+"' id='"+id+"'/></message>")))
	heard := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(to(w.out, crone1)) > 0
	}
	require.Eventually(t, heard, time.Minute, time.Millisecond)
	n, ok := w.sv.awake("coven").room.parseID(id)
	require.True(t, ok)
	m, err := w.st.message("coven", n)
	require.NoError(t, err)
	require.NotContains(t, string(m.xml), "line 0")
	require.Contains(t, string(m.xml), "retracted")
}

// XEP-0425 §4: nothing is left of a message whose declarations are more attributes where it is
// written again than an element of a stranger may have.
func TestModerateWhatIsWide(t *testing.T) {
	w := newWorld(t)
	w.coven()
	declared, used := "", ""
	for i := range 100 {
		declared, used = declared+fmt.Sprintf(" xmlns:p%d='urn:x:%d'", i, i), used+fmt.Sprintf(" p%d:a='1'", i)
	}
	got := w.send("<message type='groupchat' id='m' from='" + hag + "' to='coven@" + domain + "'" + declared + "><body>eye of newt</body><x xmlns='urn:x'" + used + "/></message>")
	id := stanzaID(w.only(got, crone2))
	w.did(w.set(crone1, "coven", moderation(id)), crone1)
	require.Equal(t, []string{"", ""}, w.query(crone1, "coven", "").bodies())
}
