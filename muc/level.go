package muc

// An Affiliation is what a user is to a room, by bare JID and for longer than a visit
// (XEP-0045 §5.2). The greater may do more.
type Affiliation int8

// The affiliations.
const (
	Outcast Affiliation = iota - 1
	None
	Member
	Admin
	Owner
)

var affiliations = map[string]Affiliation{
	"outcast": Outcast, "none": None, "member": Member, "admin": Admin, "owner": Owner,
}

func (a Affiliation) String() string {
	return [...]string{"outcast", "none", "member", "admin", "owner"}[a+1]
}

// A Role is what an occupant may do during a visit (XEP-0045 §5.1). The greater may do
// more.
type Role int8

// The roles.
const (
	NoRole Role = iota
	Visitor
	Participant
	Moderator
)

var roles = map[string]Role{
	"none": NoRole, "visitor": Visitor, "participant": Participant, "moderator": Moderator,
}

func (r Role) String() string {
	return [...]string{"none", "visitor", "participant", "moderator"}[r]
}

// Roles is a set of roles.
type Roles uint8

// AllRoles are those that an occupant can have.
const AllRoles = Roles(1<<Visitor | 1<<Participant | 1<<Moderator)

// Has tells if r is in the set.
func (s Roles) Has(r Role) bool { return s&(1<<r) != 0 }
