package onionroute

// Reaches tells if a host-side domain is one that a native host hands over: of a peer,
// or with a name that only a peer can have. It is for component.Router.Otherwise.
func (g *Gateway) Reaches(domain string) bool {
	return g.m.Native && !g.m.own(domain) && (isOnionName(domain) || g.m.remote(domain))
}
