package muc

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// An option is a field of the configuration form (XEP-0045 §16.5.3).
type option struct {
	name, typ, label string // without a label it is taken, and not offered
	options          []component.Option
	get              func(c *Config) []string
	set              func(c *Config, v []string) bool // false if v cannot be
	unless           []string                         // where one of these fields is sent, it counts instead
}

// nsKind is the field that chooses a kind of room: all options that make it up, at once.
const nsKind = "{urn:xmpp:allium:0}kind"

var configForm = []option{
	text("muc#roomconfig_roomname", "Name", func(c *Config) *string { return &c.Name }),
	text("muc#roomconfig_roomdesc", "Description", func(c *Config) *string { return &c.Description }),
	text("muc#roomconfig_lang", "Language", func(c *Config) *string { return &c.Lang }),
	flag("muc#roomconfig_persistentroom", "Stays when nobody is in it", func(c *Config) *bool { return &c.Persistent }),
	flag("muc#roomconfig_publicroom", "Is listed", func(c *Config) *bool { return &c.Public }),
	flag("muc#roomconfig_membersonly", "Only members may enter", func(c *Config) *bool { return &c.MembersOnly }),
	flag("muc#roomconfig_moderatedroom", "Only those with voice may speak", func(c *Config) *bool { return &c.Moderated }),
	flag("muc#roomconfig_passwordprotectedroom", "Needs a password", func(c *Config) *bool { return &c.Protected }),
	secret("muc#roomconfig_roomsecret", "Password", func(c *Config) *string { return &c.Password }),
	choice("muc#roomconfig_whois", "Who may see real addresses", []component.Option{{Label: "Moderators", Value: "moderators"}, {Label: "Everybody", Value: "anyone"}},
		func(c *Config) string { return either(c.NonAnon, "anyone", "moderators") },
		func(c *Config, v string) { c.NonAnon = v == "anyone" }),
	flag("muc#roomconfig_changesubject", "Participants may change the subject", func(c *Config) *bool { return &c.Subject }),
	invites(),
	choice("muc#roomconfig_allowpm", "Who may send private messages", []component.Option{{Label: "Everybody", Value: "anyone"},
		{Label: "Those with voice", Value: "participants"}, {Label: "Moderators", Value: "moderators"}, {Label: "Nobody", Value: "none"}},
		func(c *Config) string {
			switch {
			case c.NoPrivate:
				return "none"
			case c.Private == Participant:
				return "participants"
			case c.Private == Moderator:
				return "moderators"
			}
			return "anyone"
		},
		func(c *Config, v string) {
			c.NoPrivate, c.Private = v == "none", map[string]Role{"participants": Participant, "moderators": Moderator}[v]
		}),
	archive(0, "Messages are archived (off: the archive is deleted)"), archive(1, ""), archive(2, ""),
	archive(3, "The same, by its older name (counts where only this is sent)"),
	count("muc#maxhistoryfetch", "Messages for who enters", func(c *Config) *int { return &c.History }),
	count("{urn:xmpp:allium:0}keep_days", "Days that the archive goes back (0: as the service has it)", func(c *Config) *int { return &c.KeepDays }),
	count("{urn:xmpp:allium:0}keep_messages", "Messages in the archive (0: as the service has it)", func(c *Config) *int { return &c.KeepNumber }),
	maxUsers(),
	roleSet("muc#roomconfig_presencebroadcast", "Whose presence others see", func(c *Config) *Roles { return &c.Broadcast }),
	roleSet("muc#roomconfig_getmemberlist", "Who may read the member list", func(c *Config) *Roles { return &c.ListReaders }),
	not("{http://prosody.im/protocol/muc}roomconfig_allowregister", "Nicknames can be registered", func(c *Config) *bool { return &c.NoNicks }),
	flag("{urn:xmpp:allium:0}approve", "Registration needs an owner's approval", func(c *Config) *bool { return &c.Approve }),
	flag("{urn:xmpp:allium:0}voice_requests", "Visitors may ask for voice", func(c *Config) *bool { return &c.Voice }),
	flag("{urn:xmpp:allium:0}show_members", "Members who are not there are shown", func(c *Config) *bool { return &c.ShowMembers }),
	text("muc#roomconfig_pubsub", "Associated pubsub node", func(c *Config) *string { return &c.PubSub }),
}

func either(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// maxText bounds what an owner can write into one field, in octets.
const maxText = 4096

func text(name, label string, at func(*Config) *string) option {
	return option{name: name, typ: "text-single", label: label,
		get: func(c *Config) []string { return []string{*at(c)} },
		set: func(c *Config, v []string) bool {
			*at(c) = strings.Join(v, "\n")
			return len(*at(c)) <= maxText
		}}
}

func secret(name, label string, at func(*Config) *string) option {
	o := text(name, label, at)
	o.typ = "text-private"
	return o
}

func flag(name, label string, at func(*Config) *bool) option {
	return option{name: name, typ: "boolean", label: label,
		get: func(c *Config) []string { return []string{component.FormatBool(*at(c))} },
		set: func(c *Config, v []string) bool {
			is, ok := component.Bool(strings.Join(v, ""))
			*at(c) = is
			return ok
		}}
}

// archiveNames are what clients call the archive: as Prosody does and, for rooms of ejabberd, in
// two more ways. The last, which the XEP has, is of a public log (XEP-0045 §10.1.3): clients that
// know both switch it off in rooms that are to have an archive.
var archiveNames = []string{"muc#roomconfig_enablearchiving", "mam", "muc#roomconfig_mam", "muc#roomconfig_enablelogging"}

func archive(n int, label string) option {
	o := flag(archiveNames[n], label, func(c *Config) *bool { return &c.Archive })
	o.unless = archiveNames[:n]
	return o
}

// not is a flag that is kept the other way round, so that its zero value is the default.
func not(name, label string, at func(*Config) *bool) option {
	o := flag(name, label, at)
	get, set := o.get, o.set
	o.get = func(c *Config) []string { return []string{component.FormatBool(get(c)[0] == "0")} }
	o.set = func(c *Config, v []string) bool {
		ok := set(c, v)
		*at(c) = !*at(c)
		return ok
	}
	return o
}

func choice(name, label string, options []component.Option, get func(*Config) string, set func(*Config, string)) option {
	return option{name: name, typ: "list-single", label: label, options: options,
		get: func(c *Config) []string { return []string{get(c)} },
		set: func(c *Config, v []string) bool {
			if len(v) != 1 || !slices.ContainsFunc(options, func(o component.Option) bool { return o.Value == v[0] }) {
				return false
			}
			set(c, v[0])
			return true
		}}
}

// count is a number, which stays as it is where it was left empty.
func count(name, label string, at func(*Config) *int) option {
	return option{name: name, typ: "text-single", label: label,
		get: func(c *Config) []string { return []string{strconv.Itoa(*at(c))} },
		set: func(c *Config, v []string) bool {
			text := strings.Join(v, "")
			if text == "" {
				return true
			}
			n, err := strconv.Atoi(text)
			*at(c) = n
			return err == nil && n >= 0 && n <= 1<<30
		}}
}

func invites() option {
	return option{name: "muc#roomconfig_allowinvites", typ: "boolean", label: "Participants may invite",
		get: func(c *Config) []string { return []string{component.FormatBool(c.mayInvite())} },
		set: func(c *Config, v []string) bool {
			is, ok := component.Bool(strings.Join(v, ""))
			switch { // as long as nobody decides, it follows from who may enter
			case is && !c.mayInvite():
				c.Invites = 1
			case !is && c.mayInvite():
				c.Invites = -1
			}
			return ok
		}}
}

func maxUsers() option {
	o := option{name: "muc#roomconfig_maxusers", typ: "list-single", label: "Most occupants",
		get: func(c *Config) []string { return []string{either(c.MaxUsers == 0, "none", strconv.Itoa(c.MaxUsers))} },
		set: func(c *Config, v []string) bool {
			text := strings.Join(v, "")
			if text == "none" || text == "" {
				c.MaxUsers = 0
				return true
			}
			n, err := strconv.Atoi(text)
			c.MaxUsers = n // 0 is none too: nobody wants a room for nobody
			return err == nil && n >= 0
		}}
	for _, n := range []string{"10", "20", "30", "50", "100", "200", "500", "1000"} {
		o.options = append(o.options, component.Option{Label: n, Value: n})
	}
	o.options = append(o.options, component.Option{Label: "As the service has it", Value: "none"})
	return o
}

func roleSet(name, label string, at func(*Config) *Roles) option {
	o := option{name: name, typ: "list-multi", label: label,
		get: func(c *Config) []string {
			var v []string
			for _, role := range []Role{Moderator, Participant, Visitor} {
				if at(c).Has(role) {
					v = append(v, role.String())
				}
			}
			return v
		},
		set: func(c *Config, v []string) bool {
			var set Roles
			for _, name := range v {
				role, ok := roles[name]
				if !ok {
					return false
				}
				set |= 1 << role
			}
			*at(c) = set &^ (1 << NoRole)
			return true
		}}
	for _, role := range []Role{Moderator, Participant, Visitor} {
		o.options = append(o.options, component.Option{Label: role.String(), Value: role.String()})
	}
	return o
}

// form is the configuration form, with how the room is now.
func (r *room) form() *component.Form {
	f := &component.Form{Type: "form", Title: "Configuration of " + r.addr.Localpart(), FormType: NSRoomConfig}
	kind := component.Field{Var: nsKind, Type: "list-single", Label: "Kind of room (changes what makes it up)", Values: []string{r.cfg.Kind()}}
	names := KindNames()
	if r.cfg.Kind() == custom {
		names = append(names, custom)
	}
	for _, name := range names {
		kind.Options = append(kind.Options, component.Option{Label: kindLabels[name], Value: name})
	}
	f.Fields = append(f.Fields, kind)
	for _, o := range configForm {
		if o.label == "" {
			continue
		}
		options := o.options
		if v := o.get(r.cfg); o.typ == "list-single" && !slices.ContainsFunc(options, func(x component.Option) bool { return x.Value == v[0] }) {
			options = append([]component.Option{{Label: v[0], Value: v[0]}}, options...)
		}
		f.Fields = append(f.Fields, component.Field{Var: o.name, Type: o.typ, Label: o.label, Values: o.get(r.cfg), Options: options})
	}
	f.Fields = append(f.Fields,
		component.Field{Var: "muc#roomconfig_roomadmins", Type: "jid-multi", Label: "Admins", Values: r.withLevel(Admin)},
		component.Field{Var: "muc#roomconfig_roomowners", Type: "jid-multi", Label: "Owners", Values: r.withLevel(Owner)})
	return f
}

func (r *room) withLevel(level Affiliation) []string {
	var jids []string
	for _, a := range r.affiliates {
		if a.level == level {
			jids = append(jids, a.jid)
		}
	}
	slices.Sort(jids)
	return jids
}

// submitted is the configuration that a submitted form asks for. What is not in it stays.
func (r *room) submitted(f *component.Form) (Config, error) {
	c := *r.cfg
	kind, ok := f.Values(nsKind)
	another := ok && !slices.Equal(kind, []string{c.Kind()})
	if another {
		if len(kind) != 1 || !slices.Contains(KindNames(), kind[0]) {
			return c, errNotAcceptable
		}
		c = c.as(kind[0])
	}
	for _, o := range configForm {
		v, ok := f.Values(o.name)
		// What a client merely sent back is no wish: a new kind may change it.
		if !ok || sends(f, o.unless) || another && slices.Equal(v, o.get(r.cfg)) {
			continue
		}
		if !o.set(&c, v) {
			return c, errNotAcceptable
		}
	}
	// Who sends a password and says no more wants it to be asked for.
	if _, ok := f.Values("muc#roomconfig_passwordprotectedroom"); !ok {
		if _, ok := f.Values("muc#roomconfig_roomsecret"); ok {
			c.Protected = c.Password != ""
		}
	}
	if c.Protected && c.Password == "" {
		return c, errNotAcceptable
	}
	return c, nil
}

// sends tells if one of the fields is in a form.
func sends(f *component.Form, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		_, ok := f.Values(name)
		return ok
	})
}

// lists are the admins and owners that a submitted form asks for, as changes. Each field
// is the full list (XEP-0045 §10.8): who is not on it any more becomes a member, or an
// admin if the form says nothing of admins (§10.2).
func (r *room) lists(f *component.Form) (todo []action, err error) {
	owners, hasOwners, err := addresses(f, "muc#roomconfig_roomowners")
	if err != nil {
		return nil, err
	}
	admins, hasAdmins, err := addresses(f, "muc#roomconfig_roomadmins")
	if err != nil {
		return nil, err
	}
	want := map[string]Affiliation{}
	for _, a := range r.affiliates {
		switch {
		case a.level == Owner && hasOwners && !hasAdmins:
			want[a.jid] = Admin
		case a.level == Owner && hasOwners, a.level == Admin && hasAdmins:
			want[a.jid] = Member
		}
	}
	for _, key := range admins {
		if hasOwners || r.affiliates.get(key).level != Owner {
			want[key] = Admin
		}
	}
	for _, key := range owners {
		want[key] = Owner
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if want[key] != r.affiliates.get(key).level {
			todo = append(todo, action{jid: jid.MustParse(key), level: want[key]})
		}
	}
	return todo, nil
}

// addresses are the bare JIDs in a field, and if it is there.
func addresses(f *component.Form, name string) (bare []string, ok bool, err error) {
	v, ok := f.Values(name)
	if len(v) > maxItems {
		return nil, ok, errNotAcceptable
	}
	for _, text := range v {
		if text == "" {
			continue
		}
		j, err := component.ParseJID(text)
		if err != nil {
			return nil, ok, errNotAcceptable
		}
		bare = append(bare, j.Bare().String())
	}
	return bare, ok, nil
}
