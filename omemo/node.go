package omemo

import (
	"strconv"
	"strings"

	"github.com/allium-xmpp/allium/component"
)

// current is the id of the one item of a node that has no more (XEP-0060 §12.20).
const current = "current"

// A node is what a node of pubsub is for.
type node struct {
	format  *Format
	bundles bool   // and not the device list
	device  uint32 // whose bundle alone is there; 0: it has those of all, by their ids
}

// isOMEMO tells of the names of nodes that are in the namespaces of OMEMO.
func isOMEMO(name string) bool {
	return strings.HasPrefix(name, NSLegacy+".") || strings.HasPrefix(name, NSOMEMO2+":")
}

// nodeOf reads the name of a node; ok is false for one where no client looks for keys.
func nodeOf(name string) (n node, ok bool) {
	switch name {
	case NodeLegacyDevices:
		return node{format: Legacy}, true
	case NodeOMEMO2Devices:
		return node{format: OMEMO2}, true
	case NodeOMEMO2Bundles:
		return node{format: OMEMO2, bundles: true}, true
	}
	digits, ok := strings.CutPrefix(name, NodeLegacyBundles)
	if !ok {
		return node{}, false
	}
	id, ok := deviceID(digits)
	return node{format: Legacy, bundles: true, device: id}, ok
}

// deviceID reads the id of a device in its one form.
func deviceID(digits string) (uint32, bool) {
	id, err := strconv.ParseUint(digits, 10, 31)
	return uint32(id), err == nil && id > 0 && formatID(uint32(id)) == digits
}

// nodeFor is the name of the node where the device's bundle is, or, of device 0, the list.
func (f *Format) nodeFor(device uint32) string {
	switch {
	case f == Legacy && device == 0:
		return NodeLegacyDevices
	case f == Legacy:
		return NodeLegacyBundles + formatID(device)
	case device == 0:
		return NodeOMEMO2Devices
	}
	return NodeOMEMO2Bundles
}

// nodesOf are the names of the nodes that the children of e are about.
func nodesOf(e *component.Element) (names []string) {
	for _, c := range e.Nodes {
		if name := c.Element.AttrValue("node"); name != "" {
			names = append(names, name)
		}
	}
	return names
}
