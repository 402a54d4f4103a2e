package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// XEP-0045 §10.2, §16.5.3: what clients write for a number that nobody chose refuses nothing: 0
// occupants is no bound, as "none" is, and a number left empty stays.
func TestNumbersThatNobodyChose(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_maxusers", "30", "muc#maxhistoryfetch", "7", "{urn:xmpp:allium:0}keep_days", "3")
	value := func(name string) string { return w.form(crone1, "coven").Value(name) }
	for _, none := range []string{"0", "none", ""} {
		w.did(w.configure(crone1, "coven", "muc#roomconfig_maxusers", "30"), crone1)
		w.did(w.configure(crone1, "coven", "muc#roomconfig_maxusers", none), crone1)
		require.Equal(t, "none", value("muc#roomconfig_maxusers"), "%q", none)
	}
	w.did(w.configure(crone1, "coven", "muc#maxhistoryfetch", "", "{urn:xmpp:allium:0}keep_days", "", "muc#roomconfig_roomname", "A Dark Cave"), crone1)
	require.Equal(t, "7", value("muc#maxhistoryfetch"))
	require.Equal(t, "3", value("{urn:xmpp:allium:0}keep_days"))
	require.Equal(t, "A Dark Cave", value("muc#roomconfig_roomname"), "the rest counts")
	w.did(w.configure(crone1, "coven", "muc#maxhistoryfetch", "0"), crone1)
	require.Equal(t, "0", value("muc#maxhistoryfetch"), "none is a choice there")
}

// XEP-0045 §10.1.3, XEP-0313 §3: Gajim and Conversations make rooms without a public log, which is
// what "enablelogging" is called, and with an archive, which servers know by different names.
// Where nothing else is said, the log is the archive.
func TestArchiveByItsNames(t *testing.T) {
	const logging = "muc#roomconfig_enablelogging"
	w := newWorld(t)
	w.enter(crone1, "coven", "firstwitch")
	w.did(w.configure(crone1, "coven", logging, "0", "muc#roomconfig_enablearchiving", "1", "mam", "1", "muc#roomconfig_mam", "1"), crone1)
	id := stanzaID(w.only(w.say(crone1, "coven", "m", "When shall we three meet again?"), crone1))
	form := w.form(crone1, "coven")
	archived := func() bool {
		ids := w.query(crone1, "coven", "").ids
		is := w.form(crone1, "coven").Value("muc#roomconfig_enablearchiving")
		require.Equal(t, is, w.form(crone1, "coven").Value(logging), "one thing")
		require.Equal(t, is == "1", len(ids) == 1 && ids[0] == id)
		return is == "1"
	}
	require.True(t, archived())
	require.NotContains(t, form.Element().String(), "mam", "one name is enough to offer")
	for _, name := range []string{"muc#roomconfig_enablearchiving", "mam", "muc#roomconfig_mam"} {
		for _, fields := range [][]string{{name, "1", logging, "0"}, {logging, "0", name, "1"}, {logging, "0", name, "1", nsKind, "public"}} {
			w.did(w.configure(crone1, "coven", append(fields, "muc#roomconfig_roomname", name)...), crone1)
			require.True(t, archived(), fields)
		}
		for _, fields := range [][]string{{name, "0"}, {name, "0", logging, "1"}} {
			require.Equal(t, []string{"171"}, notices(w.configure(crone1, "coven", fields...), crone1), fields)
			require.False(t, archived(), fields)
			require.Equal(t, []string{"170"}, notices(w.configure(crone1, "coven", name, "1"), crone1))
			id = stanzaID(w.only(w.say(crone1, "coven", "m", "When shall we three meet again?"), crone1))
		}
	}
	w.did(w.configure(crone1, "coven", logging, "0"), crone1)
	require.False(t, archived(), "who knows no more than the log means it all")
}
