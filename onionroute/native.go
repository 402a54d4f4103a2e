package onionroute

import "mellium.im/xmpp/jid"

// Reaches tells if a host-side domain is one that a native host hands over: of a peer,
// or with a name that only a peer can have. It is for component.Router.Otherwise.
func (g *Gateway) Reaches(domain string) bool {
	return g.m.Native && !g.m.own(domain) && (isOnionName(domain) || g.m.remote(domain))
}

// want tells that a user has asked for an address, so that the next stanza for it, which
// is written to it directly, finds its way here.
func (g *Gateway) want(j jid.JID) {
	if g.c.Wanted != nil && g.Reaches(j.Domainpart()) {
		g.c.Wanted(j.Domainpart())
	}
}
