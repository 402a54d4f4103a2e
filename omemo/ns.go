package omemo

// Namespaces, and the nodes of pubsub where device lists and bundles are.
const (
	NSLegacy       = "eu.siacs.conversations.axolotl"
	NSOMEMO2       = "urn:xmpp:omemo:2"
	NSPubsub       = "http://jabber.org/protocol/pubsub" // XEP-0060
	NSPubsubEvent  = "http://jabber.org/protocol/pubsub#event"
	NSPubsubOwner  = "http://jabber.org/protocol/pubsub#owner"
	NSPubsubErrors = "http://jabber.org/protocol/pubsub#errors"

	// Legacy has a node for each bundle, with one item; the device's id follows.
	NodeLegacyDevices = NSLegacy + ".devicelist"
	NodeLegacyBundles = NSLegacy + ".bundles:"
	// OMEMO2 has one node for all bundles; the id of an item is the device's.
	NodeOMEMO2Devices = NSOMEMO2 + ":devices"
	NodeOMEMO2Bundles = NSOMEMO2 + ":bundles"
)
