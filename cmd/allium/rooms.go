package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/muc"
	"github.com/allium-xmpp/allium/onionroute"
)

// roomsLabel is what stands before the onion name in the address of the rooms.
const roomsLabel = "rooms"

// A mucConfig is the section of the rooms.
type mucConfig struct {
	Domain      string `toml:"domain"`
	Name        string `toml:"name"`
	DefaultKind string `toml:"default_kind"`
	Create      string `toml:"create"`
	Names       string `toml:"names"`

	Archive      *bool    `toml:"archive"`
	KeepFor      duration `toml:"keep_for"`
	KeepMessages int      `toml:"keep_messages"`

	MaxOccupants int `toml:"max_occupants"`
	RoomsPerUser int `toml:"rooms_per_user"`
	MaxRooms     int `toml:"max_rooms"`
	RoomRate     int `toml:"room_rate"`
	MessageRate  int `toml:"message_rate"`
	PresenceRate int `toml:"presence_rate"`
	MaxMessage   int `toml:"max_message"`
	MaxNick      int `toml:"max_nick"`
	MaxName      int `toml:"max_name"`
	secretConfig
}

// checkRooms tells of what cannot be right in [muc].
func (c *config) checkRooms(at func(key, format string, args ...any)) {
	m := c.Muc
	if m.Domain == "" {
		at("muc.domain", "say which component domain the rooms have, such as domain = \"rooms.example.org\"")
	} else {
		checkDomain(at, "muc.domain", m.Domain)
	}
	if slices.Contains(c.Host.Domains, m.Domain) || c.Federation != nil && c.Federation.Domain == m.Domain {
		at("muc.domain", "%s is taken; rooms need a domain of their own", m.Domain)
	}
	if m.DefaultKind != "" && !slices.Contains(muc.KindNames(), m.DefaultKind) {
		at("muc.default_kind", "%q is not one of %s", m.DefaultKind, strings.Join(muc.KindNames(), ", "))
	}
	switch m.Create {
	case "", "local", "anyone", "admins":
	default:
		at("muc.create", "%q is not one of local, anyone, admins", m.Create)
	}
	if _, err := m.names(); err != nil {
		at("muc.names", "is not a regular expression: %v", err)
	}
}

// names is the rule for names of new rooms, which are matched as a whole; nil if there is none.
func (m *mucConfig) names() (*regexp.Regexp, error) {
	if m.Names == "" {
		return nil, nil
	}
	return regexp.Compile("^(?:" + m.Names + ")$")
}

// checkAdmins tells of admins that are no addresses.
func (c *config) checkAdmins(at func(key, format string, args ...any)) {
	for _, a := range c.Admins {
		if j, err := jid.Parse(a); err != nil || j.Localpart() == "" || j.Resourcepart() != "" {
			at("admins", "%q is not the address of a user, such as admin@example.org", a)
		}
	}
}

// roomsFile is where the rooms are kept.
func (c *config) roomsFile() string { return filepath.Join(c.StateDir, "rooms.sqlite") }

func (c *config) roomsOptions(id *onionroute.Identity) muc.Options {
	m := c.Muc
	o := muc.Options{Domain: m.Domain, Name: m.Name, DefaultKind: m.DefaultKind, Limits: muc.Limits{
		Occupants: m.MaxOccupants, RoomsPerUser: m.RoomsPerUser, Rooms: m.MaxRooms,
		RoomRate: m.RoomRate, MessageRate: m.MessageRate, PresenceRate: m.PresenceRate, Message: m.MaxMessage, Nick: m.MaxNick, Name: m.MaxName,
		KeepDays: m.KeepFor.days(), KeepNumber: m.KeepMessages, NoArchive: m.Archive != nil && !*m.Archive,
	}}
	o.RoomNames, _ = m.names() // it was checked
	for _, a := range c.Admins {
		o.Admins = append(o.Admins, jid.MustParse(a))
	}
	hosts := c.domains(id)
	switch m.Create {
	case "", "local":
		o.MayCreate = func(bare jid.JID) bool { return slices.Contains(hosts, bare.Domainpart()) }
	case "admins":
		o.MayCreate = func(jid.JID) bool { return false }
	}
	if id != nil {
		o.MayReach = c.mayReach(id)
	}
	return o
}

// mayReach tells for whom rooms write to whom outside of them: not for somebody at a peer to
// somebody at a third server, which could be theirs too. By that they would learn the rooms'
// domain, and where the host is.
func (c *config) mayReach(id *onionroute.Identity) func(by, whom jid.JID) bool {
	m, _ := onionroute.NewAddressMap(c.gatewaySettings(id)) // the gateway has been made with the same
	hosts := c.domains(id)
	return func(by, whom jid.JID) bool {
		return !m.IsPeers(by) || m.IsPeers(whom) || slices.Contains(hosts, whom.Domainpart())
	}
}

// openRooms makes the rooms, as a handler of their domain with a link of their own.
func (h *house) openRooms(r *component.Router, c *config, id *onionroute.Identity, ping string) error {
	st, err := muc.OpenStore(c.roomsFile())
	if err != nil {
		return err
	}
	h.store = st
	o := c.roomsOptions(id)
	if id != nil {
		o.OnionOf = func(room jid.JID) (jid.JID, bool) {
			j, err := jid.New(room.Localpart(), roomsLabel+"."+id.Name(), room.Resourcepart())
			return j, err == nil && !j.Equal(room)
		}
	}
	if h.rooms, err = muc.NewService(o, st, r); err != nil {
		return fmt.Errorf("%s: %w", c.roomsFile(), err)
	}
	h.related = h.rooms.Related
	link, err := component.NewLink(component.LinkConfig{Server: c.Host.Server, Domain: c.Muc.Domain, Secret: c.Muc.Secret, PingTo: ping,
		OnUp: h.rooms.Recheck}, r)
	if err != nil {
		return fmt.Errorf("muc: %w", err)
	}
	h.take(r, link, c.Muc.Domain, h.rooms)
	return nil
}
