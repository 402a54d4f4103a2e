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
