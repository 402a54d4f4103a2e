package onionroute

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const (
	nsCaps      = "http://jabber.org/protocol/caps"      // XEP-0115
	nsCaps2     = "urn:xmpp:caps"                        // XEP-0390
	nsVersion   = "jabber:iq:version"                    // XEP-0092
	nsSoftware  = "urn:xmpp:dataforms:softwareinfo"      // XEP-0232
	nsLast      = "jabber:iq:last"                       // XEP-0012 and XEP-0256
	nsIdle      = "urn:xmpp:idle:1"                      // XEP-0319
	nsExternal  = "urn:xmpp:extdisco:"                   // XEP-0215
	nsServer157 = "http://jabber.org/network/serverinfo" // XEP-0157
	nsCommands  = "http://jabber.org/protocol/commands"  // XEP-0050
)

var clockSpaces = []string{"urn:xmpp:time", "jabber:iq:time", nsLast} // XEP-0202, XEP-0090

// To peers every client is this one: a client of a person with what most have, and with
// the interest in OMEMO devices that servers look for before they tell of them.
var (
	commonFeatures = slices.Sorted(slices.Values([]string{
		component.NSDiscoInfo, nsCaps, component.NSPing, nsNick, nsNick + "+notify",
		"eu.siacs.conversations.axolotl.devicelist+notify", "urn:xmpp:omemo:2:devices+notify",
		"http://jabber.org/protocol/chatstates", nsMUC, "jabber:x:conference",
		"urn:xmpp:chat-markers:0", "urn:xmpp:message-correct:0", "urn:xmpp:receipts",
	}))
	commonCaps = component.NewElement(nsCaps, "c").With("hash", "sha-1").With("node", capsNode).With("ver", capsOf("client/pc//<", commonFeatures...))
)

const capsNode = "http://jabber.org/protocol/caps" // of no client in particular

// capsOf is the verification string of XEP-0115 §5.1 for an identity and features, which
// are sorted.
func capsOf(identity string, features ...string) string {
	h := sha1.Sum([]byte(identity + strings.Join(features, "<") + "<"))
	return base64.StdEncoding.EncodeToString(h[:])
}

// clientInfo is what disco#info tells of every client.
func clientInfo(node string) *component.Element { return info("client", "pc", node, commonFeatures) }

// accountInfo is what it tells of every account, as far as the host tells the peer.
func accountInfo(node string) *component.Element {
	q := info("account", "registered", node, []string{component.NSDiscoInfo, component.NSDiscoItem, nsPubsub, nsVCard})
	pep := component.NewElement(component.NSDiscoInfo, "identity").With("category", "pubsub").With("type", "pep")
	q.Nodes = slices.Insert(q.Nodes, 1, pep.Node())
	return q
}

func info(category, typ, node string, features []string) *component.Element {
	q := component.NewElement(component.NSDiscoInfo, "query")
	if node != "" {
		q.SetAttr("node", node)
	}
	q.Add(component.NewElement(component.NSDiscoInfo, "identity").With("category", category).With("type", typ))
	for _, f := range features {
		q.Add(component.NewElement(component.NSDiscoInfo, "feature").With("var", f))
	}
	return q
}

// capsOut puts the common features in the place of a client's own. What is no person has none.
func capsOut(gd *guard, s *component.Stanza) finding {
	switch {
	case gd.isPart(s.From):
		return changed(strip(&s.Nodes, in(nsCaps, nsCaps2)))
	case !gd.isPerson(s.From):
		return finding{}
	}
	if answers(s, component.NSDiscoInfo) && s.From.Resourcepart() != "" {
		q := clientInfo(s.Payload().AttrValue("node"))
		if s.Payload().String() == q.String() {
			return finding{}
		}
		s.Nodes = []component.Node{q.Node()}
		return changed(true)
	}
	hit := strip(&s.Nodes, in(nsCaps, nsCaps2))
	if hit && s.Kind == component.Presence {
		c := *commonCaps
		s.Add(&c)
	}
	return changed(hit)
}

// capsIn answers for the clients, so that the answer is what the hash says.
func capsIn(gd *guard, s *component.Stanza) finding {
	if !gd.isPerson(s.To) || !asks(s, component.NSDiscoInfo) {
		return finding{}
	}
	node := s.Payload().AttrValue("node")
	switch common := node == capsNode+"#"+commonCaps.AttrValue("ver"); {
	case common, s.To.Resourcepart() != "" && node == "":
		return finding{hit: true, drop: true, say: s.Result(clientInfo(node))}
	case s.To.Resourcepart() != "":
		return notFound()
	}
	return finding{}
}

// softwareInfo removes the form with name, version and system.
func softwareInfo(_ *guard, s *component.Stanza) finding {
	if answers(s, nsVersion) {
		return withheld(s, stanza.ServiceUnavailable)
	}
	return changed(strip(&s.Nodes, form(nsSoftware)))
}

// form matches data forms of that type (XEP-0068).
func form(typ string) func(*component.Element) bool {
	return func(e *component.Element) bool {
		return e.Is(nsData, "x") && slices.ContainsFunc(e.Nodes, func(n component.Node) bool {
			return n.Element != nil && n.Element.AttrValue("var") == "FORM_TYPE" && n.Element.Child(nsData, "value").Text() == typ
		})
	}
}
