package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	crone1 = "crone1@shakespeare.lit/desktop"
	crone2 = "wiccarocks@shakespeare.lit/laptop"
	hag    = "hag66@shakespeare.lit/pda"
)

// XEP-0045 §10.1.1: who enters a room that is not there makes it.
func TestCreate(t *testing.T) {
	w := newWorld(t)
	s := w.only(w.enter(crone1, "coven", "firstwitch")[:1], crone1)
	require.Equal(t, "coven@chat.shakespeare.lit/firstwitch", s.From.String())
	require.ElementsMatch(t, []string{"110", "201", "170"}, codes(s))
	require.Equal(t, "owner", item(s).AttrValue("affiliation"))
	require.Equal(t, "moderator", item(s).AttrValue("role"))
	require.Equal(t, "cancel/item-not-found", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)))
}

// XEP-0045 §7.1: the others, oneself, the history, the subject.
func TestOrderOfEntering(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.enter(crone2, "coven", "secondwitch")
	w.say(crone1, "coven", "m1", "Thrice the brinded cat hath mew'd.")
	got := to(w.enter(hag, "coven", "thirdwitch"), hag)
	require.Len(t, got, 5)
	require.Equal(t, "firstwitch", got[0].From.Resourcepart())
	require.Equal(t, "secondwitch", got[1].From.Resourcepart())
	require.Equal(t, "thirdwitch", got[2].From.Resourcepart())
	require.ElementsMatch(t, []string{"110", "170"}, codes(got[2]))
	require.Equal(t, "enter", got[2].ID)
	require.Equal(t, "m1", got[3].ID)
	require.NotNil(t, got[3].Child(NSDelay, "delay"))
	require.NotNil(t, got[4].Child("jabber:client", "subject"))
}
