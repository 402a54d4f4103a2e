package muc

import "github.com/allium-xmpp/allium/component"

// weight is about what a stanza takes in memory, in octets.
func weight(s *component.Stanza) int {
	return len(s.ID) + weightOf(s.Attr, s.Nodes)
}

// What elements and attributes take beside their text.
const (
	elementWeight = 128
	attrWeight    = 80
)

func weightOf(attrs []component.Attr, nodes []component.Node) int {
	n := elementWeight
	for i := range attrs {
		n += attrWeight + len(attrs[i].Name.Local) + len(attrs[i].Value)
	}
	for i := range nodes {
		n += len(nodes[i].Text)
		if e := nodes[i].Element; e != nil {
			n += len(e.Name.Local) + len(e.Name.Space) + weightOf(e.Attr, e.Nodes)
		}
	}
	return n
}
