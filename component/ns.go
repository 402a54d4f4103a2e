package component

// Namespaces that this package reads or writes.
const (
	NSXML       = "http://www.w3.org/XML/1998/namespace"
	NSXMLNS     = "http://www.w3.org/2000/xmlns/"
	NSStream    = "http://etherx.jabber.org/streams"
	NSClient    = "jabber:client"
	NSServer    = "jabber:server"
	NSAccept    = "jabber:component:accept"
	NSStanzas   = "urn:ietf:params:xml:ns:xmpp-stanzas"
	NSStreams   = "urn:ietf:params:xml:ns:xmpp-streams"
	NSDiscoInfo = "http://jabber.org/protocol/disco#info"
	NSDiscoItem = "http://jabber.org/protocol/disco#items"
	NSPing      = "urn:xmpp:ping"
	NSMUC       = "http://jabber.org/protocol/muc"
)
