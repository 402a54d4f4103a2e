package muc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// The tables of this file say what XEP-0045 §5.1.3, §5.2.3, §8, §9 and §10 permit. A row is
// who asks, a column whom it is about:
//
//	. it is done   f forbidden   n not-allowed   c conflict
//
// Visitors, participants and moderators have the affiliation that stands before them;
// "absent" is not in the room. Admins and owners in the room are moderators.
const (
	inRoom = "none/visitor none/participant none/moderator member/visitor member/participant member/moderator admin/moderator owner/moderator"
	absent = "outcast/absent none/absent member/absent admin/absent owner/absent"
)

// What is never permitted to those who are neither moderators nor admins (§8, §9).
var powerless = []string{
	"outcast/absent", "none/absent", "member/absent",
	"none/visitor", "none/participant", "member/visitor", "member/participant",
}

// changesOfRole are requests for a role. A kick is §8.2, voice §8.3 and §8.4, and who is
// moderator §9.6 and §9.7.
var changesOfRole = map[string]map[string]string{
	"none": {
		"none/moderator":   "..n nnnnn",
		"member/moderator": "..n ..nnn",
		"admin/moderator":  "... ....n",
		"owner/moderator":  "... .....",
		"admin/absent":     "fff fffff",
		"owner/absent":     "fff fffff",
	},
	"visitor": {
		"none/moderator":   "..f .nfnn",
		"member/moderator": "..f .nfnn",
		"admin/moderator":  "... ...nn",
		"owner/moderator":  "... ...nn",
		"admin/absent":     "ff. ff.nn",
		"owner/absent":     "ff. ff.nn",
	},
	"participant": {
		"none/moderator":   "..f ..fnn",
		"member/moderator": "..f ..fnn",
		"admin/moderator":  "... ...nn",
		"owner/moderator":  "... ...nn",
		"admin/absent":     "ff. ff.nn",
		"owner/absent":     "ff. ff.nn",
	},
	"moderator": {
		"none/moderator":   "fff fffff",
		"member/moderator": "fff fffff",
		"admin/moderator":  "... .....",
		"owner/moderator":  "... .....",
		"admin/absent":     "... .....",
		"owner/absent":     "... .....",
	},
}

// changesOfAffiliation are requests for an affiliation: bans §9.1, members §9.3 and §9.4,
// owners §10.3 and §10.4, admins §10.6 and §10.7. There is another owner.
var changesOfAffiliation = map[string]map[string]string{
	"outcast": {
		"none/moderator":   "fff fffff fffff",
		"member/moderator": "fff fffff fffff",
		"admin/moderator":  "... ...nn ...nn",
		"admin/absent":     "... ...nn ...nn",
		"owner/moderator":  "... ..... .....",
		"owner/absent":     "... ..... .....",
	},
	"none": {
		"none/moderator":   "fff fffff fffff",
		"member/moderator": "fff fffff fffff",
		"admin/moderator":  "... ...ff ...ff",
		"admin/absent":     "... ...ff ...ff",
		"owner/moderator":  "... ..... .....",
		"owner/absent":     "... ..... .....",
	},
	"member": {
		"none/moderator":   "fff fffff fffff",
		"member/moderator": "fff fffff fffff",
		"admin/moderator":  "... ...ff ...ff",
		"admin/absent":     "... ...ff ...ff",
		"owner/moderator":  "... ..... .....",
		"owner/absent":     "... ..... .....",
	},
	"admin": {
		"none/moderator":   "fff fffff fffff",
		"member/moderator": "fff fffff fffff",
		"admin/moderator":  "fff fffff fffff",
		"admin/absent":     "fff fffff fffff",
		"owner/moderator":  "... ..... .....",
		"owner/absent":     "... ..... .....",
	},
	"owner": {
		"none/moderator":   "fff fffff fffff",
		"member/moderator": "fff fffff fffff",
		"admin/moderator":  "fff fffff fffff",
		"admin/absent":     "fff fffff fffff",
		"owner/moderator":  "... ..... .....",
		"owner/absent":     "... ..... .....",
	},
}

var outcomes = map[byte]string{'.': "", 'f': "auth/forbidden", 'n': "cancel/not-allowed", 'c': "cancel/conflict"}

// cases calls do with all that a table says.
func cases(t *testing.T, table map[string]map[string]string, columns string, do func(t *testing.T, actor, target, value, want string)) {
	targets := strings.Fields(columns)
	for value, rows := range table {
		for _, actor := range powerless {
			rows[actor] = strings.Repeat("f", len(targets))
		}
		for actor, row := range rows {
			row = strings.ReplaceAll(row, " ", "")
			require.Len(t, row, len(targets), "%s %s", value, actor)
			for i, target := range targets {
				t.Run(fmt.Sprintf("%s makes %s %s", actor, target, value), func(t *testing.T) {
					do(t, actor, target, value, outcomes[row[i]])
				})
			}
		}
	}
}

var (
	actorJID  = jid.MustParse("actor@shakespeare.lit/pda")
	targetJID = jid.MustParse("target@shakespeare.lit/pda")
)

// cast makes a room with who acts, who is acted on, and an owner beside.
func cast(t *testing.T, actor, target string) *room {
	r := newRoom(&settings{motd: &motd{}, limits: Limits{}.orDefault(), admin: func(jid.JID) bool { return false },
		creator: func(jid.JID) bool { return true }}, jid.MustParse("coven@"+domain), new(KindConfig("open")))
	r.affiliate("else@shakespeare.lit", affiliate{level: Owner})
	for i, j := range []jid.JID{actorJID, targetJID} {
		who := []string{actor, target}[i]
		affiliation, role, _ := strings.Cut(who, "/")
		r.affiliate(j.Bare().String(), affiliate{level: affiliations[affiliation]})
		if role == "absent" {
			continue
		}
		nick := j.Localpart()
		r.handle(&component.Stanza{Kind: component.Presence, From: j, To: r.nickJID(nick),
			Nodes: []component.Node{component.NewElement(NSMUC, "x").Node()}}, time.Now())
		require.NotNil(t, r.nicks.get(nick))
		r.setRole(r.nicks.get(nick), roles[role], "", "")()
		require.Equal(t, who, r.nicks.get(nick).affiliation.String()+"/"+r.nicks.get(nick).role.String())
	}
	r.out = new(output)
	return r
}

// request has the actor ask for something, and returns the error of the answer.
func request(t *testing.T, r *room, item *component.Element) string {
	r.handle(&component.Stanza{Kind: component.IQ, Type: "set", ID: "1", From: actorJID, To: r.addr,
		Nodes: []component.Node{component.NewElement(NSAdmin, "query", item.Node()).Node()}}, time.Now())
	for _, c := range r.out.copies {
		s, err := c.Draft.Stanza(c.To.JID, c.Full)
		require.NoError(t, err)
		if s.Kind == component.IQ {
			return condition(s)
		}
	}
	return "no answer"
}

// XEP-0045 §5.1.3: every permitted and forbidden change of a role.
func TestEveryChangeOfRole(t *testing.T) {
	cases(t, changesOfRole, inRoom, func(t *testing.T, actor, target, value, want string) {
		r := cast(t, actor, target)
		o := r.nicks.get("target")
		was := *o
		require.Equal(t, want, request(t, r, component.NewElement(NSAdmin, "item").With("nick", "target").With("role", value)))
		switch {
		case want != "":
			require.Equal(t, was.role, o.role)
			require.Same(t, o, r.nicks.get("target"))
			require.Len(t, r.out.copies, 1, "nobody is told anything")
		case value == "none":
			require.Nil(t, r.nicks.get("target"))
		default:
			require.Equal(t, roles[value], o.role)
		}
		require.Equal(t, was.affiliation, o.affiliation, "§5.1: an affiliation does not follow from a role")
	})
}

// XEP-0045 §5.2.3: every permitted and forbidden change of an affiliation.
func TestEveryChangeOfAffiliation(t *testing.T) {
	cases(t, changesOfAffiliation, inRoom+" "+absent, func(t *testing.T, actor, target, value, want string) {
		r := cast(t, actor, target)
		was, _, _ := strings.Cut(target, "/")
		require.Equal(t, want, request(t, r, component.NewElement(NSAdmin, "item").With("jid", targetJID.Bare().String()).With("affiliation", value)))
		now := r.affiliates.get(targetJID.Bare().String()).level
		if want != "" {
			require.Equal(t, was, now.String())
			require.Len(t, r.out.copies, 1, "nobody is told anything")
			return
		}
		require.Equal(t, value, now.String())
		if !strings.HasSuffix(target, "/absent") {
			require.Equal(t, value == "outcast", r.nicks.get("target") == nil)
		}
	})
}

// XEP-0045 §8.2, §9.1, §10.4: what somebody can do to oneself.
func TestEveryChangeOfOneself(t *testing.T) {
	for _, c := range []struct{ who, attr, value, want string }{
		{"none/visitor", "role", "participant", "auth/forbidden"},
		{"none/participant", "role", "none", "auth/forbidden"},
		{"none/moderator", "role", "none", ""}, // may be denied, but is a custom
		{"none/moderator", "role", "participant", "auth/forbidden"},
		{"admin/moderator", "role", "none", ""},
		{"admin/moderator", "role", "participant", "cancel/not-allowed"},
		{"owner/moderator", "role", "visitor", "cancel/not-allowed"},
		{"none/moderator", "affiliation", "member", "auth/forbidden"},
		{"member/participant", "affiliation", "none", "auth/forbidden"},
		{"admin/moderator", "affiliation", "outcast", "cancel/conflict"},
		{"admin/absent", "affiliation", "outcast", "cancel/conflict"},
		{"owner/moderator", "affiliation", "outcast", "cancel/conflict"},
		{"admin/moderator", "affiliation", "owner", "auth/forbidden"},
		{"admin/moderator", "affiliation", "member", "auth/forbidden"}, // only owners change the admin list
		{"owner/moderator", "affiliation", "admin", ""},                // there is another one
		{"owner/moderator", "affiliation", "none", ""},
	} {
		t.Run(c.who+" makes oneself "+c.value, func(t *testing.T) {
			r := cast(t, c.who, "none/absent")
			item := component.NewElement(NSAdmin, "item").With(c.attr, c.value)
			if c.attr == "role" {
				item.SetAttr("nick", "actor")
			} else {
				item.SetAttr("jid", actorJID.Bare().String())
			}
			require.Equal(t, c.want, request(t, r, item))
		})
	}
}
