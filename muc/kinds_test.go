package muc

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// kindFeatures are what the kinds of issue point 3 are, as XEP-0045 §6.4 names it.
var kindFeatures = map[string][]string{
	"encrypted": {"muc_hidden", "muc_membersonly", "muc_nonanonymous", "muc_persistent", "muc_unmoderated", "muc_unsecured"},
	"hidden":    {"muc_hidden", "muc_open", "muc_semianonymous", "muc_persistent", "muc_unmoderated", "muc_unsecured"},
	"public":    {"muc_public", "muc_open", "muc_semianonymous", "muc_persistent", "muc_unmoderated", "muc_unsecured"},
	"announce":  {"muc_public", "muc_open", "muc_semianonymous", "muc_persistent", "muc_moderated", "muc_unsecured"},
	"open":      {"muc_public", "muc_open", "muc_semianonymous", "muc_temporary", "muc_unmoderated", "muc_unsecured"},
}

// featuresOf are those features of a room that tell what it is like.
func featuresOf(w *world, who, room string) []string {
	w.t.Helper()
	var features []string
	for _, n := range w.get(who, room, "<query xmlns='"+component.NSDiscoInfo+"'/>").Payload().Nodes {
		if v := n.Element.AttrValue("var"); len(v) > 4 && v[:4] == "muc_" {
			features = append(features, v)
		}
	}
	return features
}

// Issue point 3: the kind that new rooms are of, by configuration.
func TestDefaultKind(t *testing.T) {
	for kind, features := range kindFeatures {
		w := newWorld(t, func(o *Options) { o.DefaultKind = kind })
		w.open(crone1, "coven", "firstwitch")
		require.ElementsMatch(t, features, featuresOf(w, crone1, "coven"), kind)
		require.Equal(t, kind, w.form(crone1, "coven").Value(nsKind))
	}
	w := newWorld(t, func(o *Options) { o.DefaultKind = "" })
	w.open(crone1, "coven", "firstwitch")
	require.Equal(t, "encrypted", w.form(crone1, "coven").Value(nsKind))
	_, err := NewService(Options{Domain: domain, DefaultKind: "castle"}, w.st, w)
	require.ErrorContains(t, err, "castle")
}

// Issue point 3: an owner picks a kind by name, from any to any, and keeps what is none of
// its business.
func TestPickKind(t *testing.T) {
	for from := range kindFeatures {
		for to, features := range kindFeatures {
			w := newWorld(t, func(o *Options) { o.DefaultKind = from })
			w.open(crone1, "coven", "firstwitch")
			w.did(w.configure(crone1, "coven", "muc#roomconfig_roomname", "A Dark Cave", "muc#roomconfig_maxusers", "30"), crone1)
			// As a client does it that sends all fields back.
			form := *w.form(crone1, "coven")
			form.Fields[0].Values = []string{to}
			require.Equal(t, nsKind, form.Fields[0].Var)
			w.did(w.submit(crone1, "coven", form), crone1)
			require.ElementsMatch(t, features, featuresOf(w, crone1, "coven"), "%s to %s", from, to)
			now := w.form(crone1, "coven")
			require.Equal(t, to, now.Value(nsKind))
			require.Equal(t, "A Dark Cave", now.Value("muc#roomconfig_roomname"))
			require.Equal(t, "30", now.Value("muc#roomconfig_maxusers"))
		}
	}
}

// Issue point 3: what is chosen together with a kind counts more than the kind.
func TestPickKindAndMore(t *testing.T) {
	w := newCoven(t)
	w.did(w.configure(crone1, "coven", nsKind, "encrypted", "muc#roomconfig_passwordprotectedroom", "1", "muc#roomconfig_roomsecret", "cauldron", "muc#roomconfig_moderatedroom", "1"), crone1)
	require.ElementsMatch(t, []string{"muc_hidden", "muc_membersonly", "muc_nonanonymous", "muc_persistent", "muc_moderated", "muc_passwordprotected"}, featuresOf(w, crone1, "coven"))
	const invites = "muc#roomconfig_allowinvites"
	w.did(w.configure(crone1, "coven", invites, "1"), crone1)
	w.did(w.configure(crone1, "coven", nsKind, "hidden"), crone1)
	require.Equal(t, "1", w.form(crone1, "coven").Value(invites))
	w.did(w.configure(crone1, "coven", nsKind, "encrypted"), crone1)
	require.Equal(t, "0", w.form(crone1, "coven").Value(invites), "a kind does not let anybody in whom nobody meant to")
}

// Issue point 3, XEP-0045 §10.2: the form calls a room what its options make it, also when they
// were changed one by one; none of the kinds is shown, and cannot be picked, where it is of none.
func TestKindIsTrue(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.DefaultKind = "encrypted" })
	w.open(crone1, "coven", "firstwitch")
	kind := func() string { return w.form(crone1, "coven").Value(nsKind) }
	w.refused(w.configure(crone1, "coven", nsKind, custom), crone1, "modify/not-acceptable")
	for _, c := range []struct{ name, value, want string }{
		{"muc#roomconfig_roomname", "A Dark Cave", "encrypted"},
		{"muc#roomconfig_membersonly", "0", custom},
		{"muc#roomconfig_roomname", "A Cave", custom},
		{nsKind, custom, custom}, // as a client sends it back
		{"muc#roomconfig_whois", "moderators", "hidden"},
		{"muc#roomconfig_publicroom", "1", "public"},
		{"muc#roomconfig_moderatedroom", "1", "announce"},
		{"muc#roomconfig_persistentroom", "0", custom},
		{nsKind, "open", "open"},
	} {
		w.did(w.configure(crone1, "coven", c.name, c.value), crone1)
		require.Equal(t, c.want, kind(), "%s %s", c.name, c.value)
		require.Equal(t, c.want == custom, slices.Contains(optionsOf(w, crone1, "coven", nsKind), custom))
	}
	require.ElementsMatch(t, kindFeatures["open"], featuresOf(w, crone1, "coven"))
	w.did(w.configure(crone1, "coven", nsKind, "encrypted", "muc#roomconfig_moderatedroom", "1"), crone1)
	w.restart()
	require.Equal(t, custom, kind())
}

// Issue point 3, XEP-0384 §5.8.1: in an encrypted room the members know each other's addresses.
func TestEncryptedKindHasWhatOMEMONeeds(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.DefaultKind = "encrypted" })
	w.open(crone1, "coven", "firstwitch")
	w.grant(bare(crone2), "member", bare(hag), "member")
	s := w.enter(hag, "coven", "thirdwitch")
	require.Equal(t, crone1, item(to(s, hag)[0]).AttrValue("jid"))
	require.Contains(t, codes(to(s, hag)[1]), "100")
	require.ElementsMatch(t, []string{bare(crone2), bare(hag)}, w.adminList(hag, "coven", "affiliation", "member"))
	require.Equal(t, []string{bare(crone1)}, w.adminList(crone2, "coven", "affiliation", "owner"), "also before entering")
}

// Issue point 3: a hidden room is none for strangers, whatever they ask.
func TestHiddenRoomAnswersAsNone(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.DefaultKind = "encrypted" })
	w.open(crone1, "coven", "firstwitch")
	for _, query := range []string{ownerQuery, registerQuery, "<query xmlns='" + NSAdmin + "'><item affiliation='member'/></query>", "<vCard xmlns='vcard-temp'/>"} {
		there, none := w.get(macbeth, "coven", query), w.get(macbeth, "heath", query)
		require.Equal(t, condition(none), condition(there), query)
		require.Equal(t, none.String(), strings.ReplaceAll(there.String(), "coven@", "heath@"))
	}
	require.Empty(t, itemsListed(w))
}

// Of a file whose first page alone is whole, an admin is told what to do.
func TestDamagedRooms(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.st.Close())
	whole, err := os.ReadFile(w.file)
	require.NoError(t, err)
	for i := 4096; i < len(whole); i++ {
		whole[i] ^= 0x55
	}
	require.NoError(t, os.WriteFile(w.file, whole, 0o600))
	w.st, err = OpenStore(w.file)
	require.NoError(t, err)
	_, err = NewService(w.o, w.st, w)
	require.ErrorContains(t, err, "it is damaged: put a backup of it back, or move it away")
}
