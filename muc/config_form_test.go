package muc

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// form is the configuration form of a room as its owner gets it.
func (w *world) form(who, room string) *component.Form {
	w.t.Helper()
	f := component.ParseForm(w.get(who, room, ownerQuery).Payload().Child(component.NSData, "x"))
	require.NotNil(w.t, f)
	return f
}

// submit sends a form back.
func (w *world) submit(who, room string, f component.Form) []*component.Stanza {
	w.t.Helper()
	f.Type = "submit"
	return w.set(who, room, "<query xmlns='"+NSOwner+"'>"+f.Element().String()+"</query>")
}

// optionsOf are the options of a field, as they are sent.
func optionsOf(w *world, who, room, name string) []string {
	w.t.Helper()
	var options []string
	for _, n := range w.get(who, room, ownerQuery).Payload().Child(component.NSData, "x").Nodes {
		if n.Element == nil || n.Element.AttrValue("var") != name {
			continue
		}
		for _, o := range n.Element.Nodes {
			if o.Element != nil && o.Element.Is(component.NSData, "option") {
				options = append(options, o.Element.Child(component.NSData, "value").Text())
			}
		}
	}
	return options
}

// XEP-0045 §16.5.3: all fields that are standardised, and that of the archive, with their types.
var standardFields = map[string]string{
	"muc#maxhistoryfetch":                  "text-single",
	"muc#roomconfig_allowpm":               "list-single",
	"muc#roomconfig_allowinvites":          "boolean",
	"muc#roomconfig_changesubject":         "boolean",
	"muc#roomconfig_enablearchiving":       "boolean",
	"muc#roomconfig_enablelogging":         "boolean",
	"muc#roomconfig_getmemberlist":         "list-multi",
	"muc#roomconfig_lang":                  "text-single",
	"muc#roomconfig_pubsub":                "text-single",
	"muc#roomconfig_maxusers":              "list-single",
	"muc#roomconfig_membersonly":           "boolean",
	"muc#roomconfig_moderatedroom":         "boolean",
	"muc#roomconfig_passwordprotectedroom": "boolean",
	"muc#roomconfig_persistentroom":        "boolean",
	"muc#roomconfig_presencebroadcast":     "list-multi",
	"muc#roomconfig_publicroom":            "boolean",
	"muc#roomconfig_roomadmins":            "jid-multi",
	"muc#roomconfig_roomdesc":              "text-single",
	"muc#roomconfig_roomname":              "text-single",
	"muc#roomconfig_roomowners":            "jid-multi",
	"muc#roomconfig_roomsecret":            "text-private",
	"muc#roomconfig_whois":                 "list-single",
}

// XEP-0045 §16.5.3, XEP-0004 §3.2: the form is well made, in every kind of room.
func TestConfigForm(t *testing.T) {
	for _, kind := range KindNames() {
		w := newWorld(t, func(o *Options) { o.DefaultKind = kind })
		w.open(crone1, "coven", "firstwitch")
		s := w.get(crone1, "coven", ownerQuery)
		x := s.Payload().Child(component.NSData, "x")
		require.Equal(t, "hidden", x.Child(component.NSData, "field").AttrValue("type"), "FORM_TYPE")
		f := component.ParseForm(x)
		require.Equal(t, "form", f.Type)
		require.Equal(t, NSRoomConfig, f.FormType)
		types := map[string]string{}
		for _, field := range f.Fields {
			require.Empty(t, types[field.Var], "twice")
			require.NotEmpty(t, field.Label)
			types[field.Var] = field.Type
			switch field.Type {
			case "boolean":
				require.Contains(t, []string{"0", "1"}, field.Values[0])
			case "list-single":
				require.Len(t, field.Values, 1)
				require.Contains(t, optionsOf(w, crone1, "coven", field.Var), field.Values[0])
			case "list-multi":
				require.Subset(t, optionsOf(w, crone1, "coven", field.Var), field.Values)
			}
		}
		for name, typ := range standardFields {
			require.Equal(t, typ, types[name], name)
		}
		require.NotContains(t, x.String(), "<required", "a client may send any part")
		require.Equal(t, x.String(), w.get(crone1, "coven", ownerQuery).Payload().Child(component.NSData, "x").String(), "always the same")
	}
}

// XEP-0045 §10.2: every option that is offered is taken, and read back as it was given.
func TestEveryOption(t *testing.T) {
	w := newWorld(t)
	w.coven()
	for _, field := range w.form(crone1, "coven").Fields {
		var values [][]string
		switch field.Type {
		case "boolean":
			values = [][]string{{"1"}, {"0"}}
		case "list-single":
			for _, o := range optionsOf(w, crone1, "coven", field.Var) {
				values = append(values, []string{o})
			}
		case "list-multi":
			all := optionsOf(w, crone1, "coven", field.Var)
			values = [][]string{all, all[:1], all[1:], nil}
		case "text-single", "text-private":
			values = [][]string{{"3"}, {"0"}}
		case "jid-multi":
			values = [][]string{{bare(crone1)}}
		}
		require.NotEmpty(t, values, field.Var)
		for _, v := range values {
			if field.Var == "muc#roomconfig_passwordprotectedroom" {
				w.did(w.configure(crone1, "coven", field.Var, "1", "muc#roomconfig_roomsecret", "cauldron"), crone1)
			}
			if field.Var == "muc#roomconfig_roomadmins" {
				v = []string{bare(crone2)}
			}
			w.did(w.submit(crone1, "coven", component.Form{FormType: NSRoomConfig, Fields: []component.Field{{Var: field.Var, Values: v}}}), crone1)
			got, ok := w.form(crone1, "coven").Values(field.Var)
			require.True(t, ok)
			require.Equal(t, v, got, field.Var)
		}
	}
}

// XEP-0045 §10.2: all choices changed at once, each to what it was not, in a room that is
// locked still.
func TestAllChoicesAtOnce(t *testing.T) {
	for _, kind := range KindNames() {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.DefaultKind = kind })
			w.enter(crone1, "coven", "firstwitch")
			want := component.Form{FormType: NSRoomConfig}
			for _, f := range w.form(crone1, "coven").Fields {
				if f.Type != "list-single" {
					continue
				}
				options := optionsOf(w, crone1, "coven", f.Var)
				i := slices.IndexFunc(options, func(o string) bool { return o != f.Values[0] })
				want.Fields = append(want.Fields, component.Field{Var: f.Var, Values: options[i : i+1]})
			}
			require.Greater(t, len(want.Fields), 3)
			w.did(w.submit(crone1, "coven", want), crone1)
			now := w.form(crone1, "coven")
			for _, f := range want.Fields {
				require.Equal(t, f.Values[0], now.Value(f.Var), f.Var)
			}
		})
	}
}

// XEP-0045 §10.2: a client that sends the whole form back as it got it changes nothing.
func TestFormSentBackChangesNothing(t *testing.T) {
	for _, kind := range KindNames() {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.DefaultKind = kind })
			w.open(crone1, "coven", "firstwitch")
			w.did(w.configure(crone1, "coven", "muc#roomconfig_roomsecret", "cauldron", "muc#roomconfig_roomadmins", bare(crone2)), crone1)
			before := *w.form(crone1, "coven")
			before.Fields = append(before.Fields, component.Field{Type: "fixed", Values: []string{"Some words."}}, component.Field{Var: "unknown", Values: []string{"x"}})
			out := w.submit(crone1, "coven", before)
			require.Len(t, out, 1, "nobody is told anything")
			w.did(out, crone1)
			require.Equal(t, before.Fields[:len(before.Fields)-2], w.form(crone1, "coven").Fields)
		})
	}
}

// XEP-0045 §10.2: what is not in a form stays; what cannot be is refused as a whole.
func TestFormInPart(t *testing.T) {
	w := newWorld(t)
	w.coven("muc#roomconfig_roomname", "A Dark Cave", "muc#roomconfig_lang", "en", "muc#maxhistoryfetch", "7")
	before := w.form(crone1, "coven")
	for name, bad := range map[string]string{
		"muc#roomconfig_membersonly":           "perhaps",
		"muc#roomconfig_whois":                 "nobody",
		"muc#roomconfig_allowpm":               "",
		"muc#roomconfig_maxusers":              "-1",
		"muc#roomconfig_presencebroadcast":     "king",
		"muc#roomconfig_passwordprotectedroom": "1",
		"muc#roomconfig_roomadmins":            "@",
		"muc#maxhistoryfetch":                  "many",
		nsKind:                                 "castle",
	} {
		w.refused(w.configure(crone1, "coven", "muc#roomconfig_roomname", "Another", name, bad, "muc#roomconfig_lang", "de"), crone1, "modify/not-acceptable")
		require.Equal(t, before.Fields, w.form(crone1, "coven").Fields)
	}
	w.did(w.configure(crone1, "coven", "muc#roomconfig_roomname", "A Light Cave"), crone1)
	now := w.form(crone1, "coven")
	require.Equal(t, "A Light Cave", now.Value("muc#roomconfig_roomname"))
	require.Equal(t, "en", now.Value("muc#roomconfig_lang"))
	require.Equal(t, "7", now.Value("muc#maxhistoryfetch"))
	out := w.set(crone1, "coven", cancelQuery)
	require.Len(t, out, 1)
	w.did(out, crone1)
	require.Equal(t, now.Fields, w.form(crone1, "coven").Fields)
}

// XEP-0045 §10.2: any number will do as the most occupants, not only those offered.
func TestMaxUsersOfOnesOwn(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_maxusers", "2"), crone1)
	require.Equal(t, "2", w.form(crone1, "coven").Value("muc#roomconfig_maxusers"))
	require.Contains(t, optionsOf(w, crone1, "coven", "muc#roomconfig_maxusers"), "2")
	w.enter(crone2, "coven", "secondwitch")
	require.Equal(t, "wait/service-unavailable", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)))
	w.grant(bare(hag), "admin")
	require.Equal(t, "admin/moderator", seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"), "§7.2.9")
}

// XEP-0045 §10.2: a password alone turns protection on, and without one off.
func TestPasswordAlone(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.did(w.configure(crone1, "coven", "muc#roomconfig_roomsecret", "cauldron"), crone1)
	require.Equal(t, "auth/not-authorized", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)))
	w.did(w.configure(crone1, "coven", "muc#roomconfig_passwordprotectedroom", "0"), crone1)
	w.did(w.configure(crone1, "coven", "muc#roomconfig_roomsecret", "cauldron"), crone1)
	require.Equal(t, "auth/not-authorized", condition(w.only(w.enter(hag, "coven", "thirdwitch"), hag)))
	w.did(w.configure(crone1, "coven", "muc#roomconfig_roomsecret", ""), crone1)
	require.Equal(t, "none/participant", seen(w.enter(hag, "coven", "thirdwitch"), crone1, "thirdwitch"))
}

// XEP-0045 §9.5, §16.5.3: who may invite follows from who may enter, unless an owner says
// so; what the form shows is what holds when it is sent back.
func TestInvitesOption(t *testing.T) {
	const name = "muc#roomconfig_allowinvites"
	w := newWorld(t)
	w.coven()
	require.Equal(t, "1", w.form(crone1, "coven").Value(name))
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1"), crone1)
	require.Equal(t, "0", w.form(crone1, "coven").Value(name))
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "0"), crone1)
	w.did(w.configure(crone1, "coven", "muc#roomconfig_membersonly", "1", name, "1"), crone1)
	require.Equal(t, "1", w.form(crone1, "coven").Value(name))
}
