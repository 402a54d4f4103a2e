package muc

import "github.com/allium-xmpp/allium/component"

// veil leaves of an error that goes on to an occupant what went wrong, and takes out who
// says so: the address of the server or client that made it (RFC 6120 §8.3.1), the new one
// of who is gone (§8.3.3.5), and texts, in which servers write addresses. Where everybody
// knows all addresses the error stays as it is.
func (r *room) veil(s *component.Stanza) {
	if s.Type != "error" || r.cfg.NonAnon {
		return
	}
	nodes := make([]component.Node, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		if e := n.Element; e != nil && e.Is(component.NSClient, "error") {
			n = veiled(e).Node()
		}
		nodes = append(nodes, n)
	}
	s.Nodes = nodes
}

// veiled is an error with nothing but its conditions.
func veiled(e *component.Element) *component.Element {
	left := component.NewElement(component.NSClient, "error").With("type", e.AttrValue("type"))
	for _, n := range e.Nodes {
		if c := n.Element; c != nil && c.Name.Local != "text" {
			left.Add(component.NewElement(c.Name.Space, c.Name.Local))
		}
	}
	return left
}
