package onionroute

import (
	"slices"

	"mellium.im/xmpp/jid"
)

// isPerson tells of whom the rules protect: whoever peers know by an address of ours.
func (gd *guard) isPerson(j jid.JID) bool { return gd.isAccount(j) || gd.isOccupant(j) }

// isAccount tells of a user whom peers know by an account at our onion name: one of the
// host, or a stranger, who is in a room here or uses an alias.
func (gd *guard) isAccount(j jid.JID) bool { return gd.isLocal(j) || gd.isStranger(j) }

// isLocal tells of a user of the host.
func (gd *guard) isLocal(j jid.JID) bool {
	d := j.Domainpart()
	// Below the onion name of a native host are its services, such as rooms.
	return j.Localpart() != "" && slices.Contains(gd.m.Domains, d) && (d == gd.m.Identity || !gd.m.own(d))
}

// isStranger tells of a user of a third server. What is below the host's own domains is
// none: peers do not learn of it.
func (gd *guard) isStranger(j jid.JID) bool {
	d := j.Domainpart()
	return j.Localpart() != "" && gd.m.plain(d) && !gd.exposes(d)
}

// isOccupant tells of somebody in a room here (XEP-0045 §4.1). The room itself, and its
// service, are no persons.
func (gd *guard) isOccupant(j jid.JID) bool {
	return j.Localpart() != "" && j.Resourcepart() != "" && gd.hasRooms(j.Domainpart())
}

// hasRooms tells of the domain of a service here, or of one that a native host has below
// its own.
func (gd *guard) hasRooms(domain string) bool {
	return gd.m.Services[domain] != "" || gd.m.ofHost(domain) && domain != gd.m.Identity
}
