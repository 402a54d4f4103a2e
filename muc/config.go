package muc

// A Config is the configuration of a room (XEP-0045 §16.5.3). It is kept as JSON: what
// is added later has its zero value in rooms that are there already.
type Config struct {
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	Lang        string `json:"lang,omitempty"`
	PubSub      string `json:"pubsub,omitempty"` // an associated node, for others to use

	Public      bool   `json:"public,omitempty"` // is listed
	Persistent  bool   `json:"persistent,omitempty"`
	MembersOnly bool   `json:"members_only,omitempty"`
	Moderated   bool   `json:"moderated,omitempty"`
	Protected   bool   `json:"protected,omitempty"` // by Password
	Password    string `json:"password,omitempty"`
	NonAnon     bool   `json:"non_anon,omitempty"` // everybody sees the JIDs

	Subject     bool  `json:"subject,omitempty"` // participants may change it
	Invites     int8  `json:"invites,omitempty"` // who is no admin may invite: 1, may not: -1, may where the room is open: 0
	Private     Role  `json:"private"`           // who may send private messages; NoRole is everybody
	NoPrivate   bool  `json:"no_private,omitempty"`
	Broadcast   Roles `json:"broadcast"`              // whose presence others see
	ListReaders Roles `json:"list_readers"`           // who may read the member list
	MaxUsers    int   `json:"max_users,omitempty"`    // 0 is the service's limit
	NoNicks     bool  `json:"no_nicks,omitempty"`     // nicknames cannot be registered
	Approve     bool  `json:"approve,omitempty"`      // registration needs an owner
	Voice       bool  `json:"voice,omitempty"`        // visitors may ask for voice
	ShowMembers bool  `json:"show_members,omitempty"` // also who is not there

	Archive    bool `json:"archive,omitempty"`   // if not, what was archived before is deleted
	History    int  `json:"history"`             // messages for who enters
	KeepDays   int  `json:"keep_days,omitempty"` // of the archive; 0 is the service's limit
	KeepNumber int  `json:"keep_messages,omitempty"`
}

// KindNames are the names of room kinds: what an owner can pick instead of single
// options.
func KindNames() []string { return []string{"encrypted", "hidden", "public", "announce", "open"} }

var kindLabels = map[string]string{
	"encrypted": "Encrypted: hidden, for members, who know each other's addresses (what OMEMO needs)",
	"hidden":    "Hidden: not listed, addresses are for moderators only",
	"public":    "Public: listed, anybody may enter",
	"announce":  "Announcements: listed, only those with voice may speak",
	"open":      "Plain: nothing preset",
	custom:      "As the options say",
}

// custom is what a room is called whose options are those of no kind. It cannot be picked.
const custom = "custom"

// KindConfig is the configuration that a kind of room starts with. An unknown kind is
// taken for "open".
func KindConfig(kind string) Config {
	c := Config{Public: true, Voice: true, Broadcast: AllRoles,
		ListReaders: AllRoles, History: 20, Archive: true}
	switch kind {
	case "encrypted":
		c.Public, c.MembersOnly, c.NonAnon, c.Persistent = false, true, true, true
	case "hidden":
		c.Public, c.Persistent = false, true
	case "public":
		c.Persistent = true
	case "announce":
		c.Persistent, c.Moderated = true, true
	}
	return c
}

// Kind is the name of the kind that the room is of, by its options as they are; "custom" if
// these are of none.
func (c *Config) Kind() string {
	for _, name := range KindNames() {
		if k := KindConfig(name); c.Public == k.Public && c.Persistent == k.Persistent && c.MembersOnly == k.MembersOnly &&
			c.Moderated == k.Moderated && c.NonAnon == k.NonAnon {
			return name
		}
	}
	return custom
}

// as is c turned into another kind: what the kind decides is changed, names and limits
// stay.
func (c Config) as(kind string) Config {
	k := KindConfig(kind)
	c.Public, c.Persistent, c.MembersOnly, c.Moderated = k.Public, k.Persistent, k.MembersOnly, k.Moderated
	c.NonAnon, c.Invites = k.NonAnon, k.Invites
	return c
}

// mayInvite tells if those may invite who are no admins. In a room for members that makes
// members, so it has to be said (XEP-0045 §7.8.2).
func (c *Config) mayInvite() bool { return c.Invites > 0 || c.Invites == 0 && !c.MembersOnly }
