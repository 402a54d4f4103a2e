package onionroute

// A rule is one thing that a peer could learn of a person here, or do to one: a user of
// the host, a stranger who is known to peers by our name, or who is in a room here.
type rule struct {
	name  string
	what  string // what it is about
	where string // which way stanzas go, or the part of Allium that sees to it

	// The test that shows a rule that is not one for stanzas. Of the others, TestGuard
	// has one of the rule's name.
	test string

	optional bool // off, unless it is switched on

	egress  check // of what goes to peers
	leaving check // of the same, after the addresses were translated
	ingress check // of what comes from peers
}

// strictRule is the rule of the strict level, which is switched by the level alone.
const strictRule = "strict"

// rules is the table of all that peers could learn. Rules are asked in this order. Those
// without a check are seen to where the streams are made, and are here to make the table
// whole.
var rules []rule

func init() { // the checks refer to the table
	rules = []rule{
		{name: "stream-names", what: "the host's domain in stream headers and dialback", where: "stream", test: "TestBadStreams"},
		{name: "redirect", what: "being sent elsewhere by see-other-host", where: "stream", test: "TestRedirect"},
		{name: "fingerprint", what: "the software, by the form of the stream header, the features and their order", where: "stream", test: "TestStreamForm"},
		{name: "tls-names", what: "names in certificates, and keys that two identities share", where: "tls", test: "TestTLS"},
		{name: "dns", what: "looking up .onion names (RFC 7686)", where: "socks", test: "TestZConnections"},
		{name: "circuits", what: "peers that find out together that they talk to the same server", where: "socks", test: "TestCircuits"},
		{name: "nested-jids", what: "addresses at the host's own name, anywhere in a stanza", where: "egress", egress: hostAsSender, leaving: hostNames, ingress: hostAsReceiver},
		{name: "guess", what: "if a name of the host that somebody guesses is the right one", where: "both", ingress: guessed, leaving: given},
		{name: "resource", what: "names of clients and machines in resources", where: "both", egress: maskSender, ingress: unmask},
		{name: "version", what: "name, version and system of a client", where: "both", egress: softwareInfo, ingress: refuses(nsVersion)},
		{name: "clock", what: "the time, time zone, idle time", where: "both", egress: clocks, leaving: hideID, ingress: clocksIn},
		{name: "disco", what: "the features, items and contact addresses of the host", where: "both", egress: discoOut, ingress: discoIn},
		{name: "caps", what: "which client it is, by its features", where: "both", egress: capsOut, ingress: capsIn},
		{name: "vcard", what: "mail, phone, address, links and avatar hash of a vCard", where: "egress", egress: vcardOut},
		{name: "pep", what: "location, mood, tune, activity, blog, avatar links", where: "both", egress: pepOut, ingress: pepIn},
		{name: "omemo-label", what: "names of devices", where: "egress", egress: omemoLabels},
		{name: "calls", what: "network addresses of those who call", where: "both", egress: calls, ingress: calls},
		{name: "bytestreams", what: "network addresses of those who transfer files", where: "both", egress: bytestreams, ingress: bytestreams},
		{name: "uploads-out", what: "the host's address in links to uploaded files", where: "egress", egress: uploadsOut},
		{name: "uploads-in", what: "links that a local user's client would follow outside of Tor", where: "ingress", ingress: uploadsIn},
		{name: "delay", what: "the host's name and exact clock in stamps", where: "egress", egress: delays},
		{name: "online", what: "who is on-line, by what hosts answer in the place of who is not", where: "both", egress: notThere, ingress: asksIfThere},
		{name: "presence-hints", what: "what has been delivered and read, and who is typing", where: "egress", optional: true, egress: presenceHints},
		{name: "error-text", what: "names and reasons of the host in errors", where: "egress", egress: errorText},
		{name: "room-info", what: "contact addresses, logs and web pages of rooms", where: "egress", egress: roomInfo},
		// Whoever makes occupant ids sees to that; they pass here.
		{name: "occupant-id", what: "one person in several rooms", where: "rooms", test: "TestOccupantID"},
		{name: "misc-iq", what: "commands, registration, push, private data", where: "ingress", ingress: miscIQ},
		{name: strictRule, what: "all that is not on the list of what passes", where: "both", egress: strictOut, ingress: strictIn},
	}
}
