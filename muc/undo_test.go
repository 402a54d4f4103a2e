package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What cannot be stored has not happened: who asked gets an error, and all come again to a
// room as it was before.
func TestWhatCannotBeStored(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.enter(hag, "coven", "thirdwitch")
	w.configure(crone1, "coven", "muc#roomconfig_persistentroom", "1")
	_, err := w.st.db.Exec("CREATE TRIGGER broken BEFORE INSERT ON affiliate BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(t, err)
	out := w.admin(crone1, "coven", "<item affiliation='outcast' jid='hag66@shakespeare.lit'/>")
	require.Equal(t, "wait/resource-constraint", condition(to(out, crone1)[0]))
	require.Equal(t, []string{"110", "332"}, codes(to(out, crone1)[1]))
	require.Empty(t, to(out, hag), "no 301: there is no ban")
	ping := w.get(hag, "coven/thirdwitch", "<ping xmlns='urn:xmpp:ping'/>")
	require.Equal(t, "modify/not-acceptable", condition(ping), "it finds out by asking")
	_, err = w.st.db.Exec("DROP TRIGGER broken")
	require.NoError(t, err)
	require.Equal(t, "thirdwitch", to(w.enter(hag, "coven", "thirdwitch"), hag)[0].From.Resourcepart())
	require.Equal(t, "owner", item(to(w.enter(crone1, "coven", "firstwitch"), crone1)[1]).AttrValue("affiliation"))

	// A room that could not be made is not there, and can be made then.
	_, err = w.st.db.Exec("CREATE TRIGGER broken BEFORE INSERT ON room BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(t, err)
	w.enter(crone1, "cave", "firstwitch")
	_, err = w.st.db.Exec("DROP TRIGGER broken")
	require.NoError(t, err)
	require.Contains(t, codes(to(w.enter(hag, "cave", "thirdwitch"), hag)[0]), "201")

	// A room that could not be destroyed is still there.
	_, err = w.st.db.Exec("CREATE TRIGGER broken BEFORE DELETE ON room BEGIN SELECT RAISE(FAIL, 'broken'); END")
	require.NoError(t, err)
	out = w.set(crone1, "coven", "<query xmlns='"+NSOwner+"'><destroy/></query>")
	require.Equal(t, "wait/resource-constraint", condition(to(out, crone1)[0]))
	_, err = w.st.db.Exec("DROP TRIGGER broken")
	require.NoError(t, err)
	require.Equal(t, "owner", item(to(w.enter(crone1, "coven", "firstwitch"), crone1)[0]).AttrValue("affiliation"))
}
