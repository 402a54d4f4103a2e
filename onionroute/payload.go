package onionroute

import (
	"cmp"
	"encoding/xml"
	"net/url"
	"strings"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A place is where a JID stands in an element.
type place struct {
	attrs []string // attributes that are JIDs or xmpp: URIs
	text  bool     // the character data is a JID or an xmpp: URI
}

// places is the table of where JIDs live in payloads, but for two rules: the header of
// a stanza within a stanza (see isStanza), and the fields of data forms (see field).
var places = map[xml.Name]place{
	// RFC 6120: who made an error, and where somebody went
	{Space: component.NSClient, Local: "error"}:     {attrs: []string{"by"}},
	{Space: component.NSStanzas, Local: "gone"}:     {text: true},
	{Space: component.NSStanzas, Local: "redirect"}: {text: true},
	// XEP-0030
	{Space: component.NSDiscoItem, Local: "item"}: {attrs: []string{"jid"}},
	// XEP-0033
	{Space: "http://jabber.org/protocol/address", Local: "address"}: {attrs: []string{"jid", "uri"}},
	// XEP-0045
	{Space: nsMUCUser, Local: "item"}:                                     {attrs: []string{"jid"}},
	{Space: nsMUCUser, Local: "actor"}:                                    {attrs: []string{"jid"}},
	{Space: nsMUCUser, Local: "invite"}:                                   {attrs: []string{"to", "from"}},
	{Space: nsMUCUser, Local: "decline"}:                                  {attrs: []string{"to", "from"}},
	{Space: nsMUCUser, Local: "destroy"}:                                  {attrs: []string{"jid"}},
	{Space: "http://jabber.org/protocol/muc#admin", Local: "item"}:        {attrs: []string{"jid"}},
	{Space: "http://jabber.org/protocol/muc#admin", Local: "actor"}:       {attrs: []string{"jid"}},
	{Space: "http://jabber.org/protocol/muc#owner", Local: "destroy"}:     {attrs: []string{"jid"}},
	{Space: "jabber:x:conference", Local: "x"}:                            {attrs: []string{"jid"}}, // XEP-0249
	{Space: "urn:xmpp:message-moderate:0", Local: "moderated"}:            {attrs: []string{"by"}},  // XEP-0425
	{Space: "urn:xmpp:message-moderate:1", Local: "moderated"}:            {attrs: []string{"by"}},
	{Space: "urn:xmpp:muc:affiliations:1", Local: "affiliation"}:          {attrs: []string{"jid"}}, // XEP-0463
	{Space: "http://jabber.org/protocol/pubsub", Local: "subscribe"}:      {attrs: []string{"jid"}}, // XEP-0060
	{Space: "http://jabber.org/protocol/pubsub", Local: "unsubscribe"}:    {attrs: []string{"jid"}},
	{Space: "http://jabber.org/protocol/pubsub", Local: "options"}:        {attrs: []string{"jid"}},
	{Space: "http://jabber.org/protocol/pubsub", Local: "subscription"}:   {attrs: []string{"jid"}},
	{Space: "http://jabber.org/protocol/pubsub", Local: "affiliation"}:    {attrs: []string{"jid"}},
	{Space: "http://jabber.org/protocol/pubsub", Local: "item"}:           {attrs: []string{"publisher"}},
	{Space: "http://jabber.org/protocol/pubsub#event", Local: "item"}:     {attrs: []string{"publisher"}},
	{Space: "http://jabber.org/protocol/pubsub#event", Local: "redirect"}: {attrs: []string{"uri"}},
	{Space: "http://jabber.org/protocol/pubsub#event", Local: "subscription"}: {
		attrs: []string{"jid"}},
	{Space: "http://jabber.org/protocol/bytestreams", Local: "streamhost"}:      {attrs: []string{"jid"}}, // XEP-0065
	{Space: "http://jabber.org/protocol/bytestreams", Local: "streamhost-used"}: {attrs: []string{"jid"}},
	{Space: "http://jabber.org/protocol/rosterx", Local: "item"}:                {attrs: []string{"jid"}}, // XEP-0144
	{Space: "vcard-temp", Local: "JABBERID"}:                                    {text: true},             // XEP-0054
	{Space: "jabber:iq:search", Local: "item"}:                                  {attrs: []string{"jid"}}, // XEP-0055
	{Space: "jabber:x:oob", Local: "url"}:                                       {text: true},             // XEP-0066
	{Space: "jabber:iq:oob", Local: "url"}:                                      {text: true},
	{Space: "jabber:x:delay", Local: "x"}:                                       {attrs: []string{"from"}},                   // XEP-0091
	{Space: "urn:xmpp:delay", Local: "delay"}:                                   {attrs: []string{"from"}},                   // XEP-0203
	{Space: "urn:xmpp:jingle:1", Local: "jingle"}:                               {attrs: []string{"initiator", "responder"}}, // XEP-0166
	{Space: "urn:xmpp:mam:2", Local: "jid"}:                                     {text: true},                                // XEP-0313 and XEP-0441
	{Space: "urn:xmpp:sid:0", Local: "stanza-id"}:                               {attrs: []string{"by"}},                     // XEP-0359
	{Space: "urn:xmpp:reference:0", Local: "reference"}:                         {attrs: []string{"uri", "anchor"}},          // XEP-0372
	{Space: "urn:xmpp:reply:0", Local: "reply"}:                                 {attrs: []string{"to"}},                     // XEP-0461
	{Space: "urn:ietf:params:xml:ns:vcard-4.0", Local: "uri"}:                   {text: true},                                // XEP-0292
	{Space: "urn:xmpp:blocking", Local: "item"}:                                 {attrs: []string{"jid"}},                    // XEP-0191
	{Space: "urn:xmpp:omemo:2", Local: "keys"}:                                  {attrs: []string{"jid"}},                    // XEP-0384
}

const (
	nsMUC     = component.NSMUC // XEP-0045
	nsMUCUser = "http://jabber.org/protocol/muc#user"
	nsData    = "jabber:x:data"
)

// A translation is one way through the AddressMap.
type translation func(jid.JID) (jid.JID, error)

// payload translates the addresses in nodes, in place. What is not an address, or has
// no form on the other side, stays as it is.
func (t translation) payload(nodes []component.Node) {
	for _, n := range nodes {
		if n.Element != nil {
			t.element(n.Element)
		}
	}
}

func (t translation) element(e *component.Element) {
	if isStanza(e) {
		t.attr(e, "to")
		t.attr(e, "from")
	}
	if p, ok := places[e.Name]; ok {
		for _, a := range p.attrs {
			t.attr(e, a)
		}
		if p.text {
			if s := e.Text(); s != "" {
				e.SetText(t.value(s))
			}
		}
	}
	if e.Is(nsData, "field") {
		t.field(e, e.AttrValue("type"))
		return
	}
	if head := e.Child(nsData, "reported"); head != nil && e.Is(nsData, "x") {
		t.table(e, head)
		return
	}
	t.payload(e.Nodes)
}

// isStanza tells of a stanza within a stanza: forwarded (XEP-0297), of an archive
// (XEP-0313), a copy (XEP-0280).
func isStanza(e *component.Element) bool {
	if e.Name.Space != component.NSClient && e.Name.Space != component.NSServer {
		return false
	}
	return e.Name.Local == "message" || e.Name.Local == "presence" || e.Name.Local == "iq"
}

// table translates a form with rows, of which the head tells what is in a column (XEP-0004 §3.4).
func (t translation) table(x, head *component.Element) {
	types := map[string]string{}
	for _, n := range head.Nodes {
		types[n.Element.AttrValue("var")] = n.Element.AttrValue("type")
	}
	for _, n := range x.Nodes {
		if n.Element == nil || !n.Element.Is(nsData, "item") {
			t.payload([]component.Node{n})
			continue
		}
		for _, n := range n.Element.Nodes {
			if n.Element != nil {
				t.field(n.Element, cmp.Or(n.Element.AttrValue("type"), types[n.Element.AttrValue("var")]))
			}
		}
	}
}

// field translates a field of a data form that holds JIDs (XEP-0004 §3.3), or that is
// known to although forms of type submit need not say so.
func (t translation) field(e *component.Element, typ string) {
	switch typ {
	case "jid-single", "jid-multi":
	default:
		switch e.AttrValue("var") {
		case "with", // XEP-0313
			"muc#roomconfig_roomadmins", "muc#roomconfig_roomowners", "muc#jid", "muc#register_jid", "hats#jid", "jid", "accountjids", "accountjid":
		default:
			return
		}
	}
	for _, n := range e.Nodes {
		if n.Element == nil {
			continue
		}
		if n.Element.Name.Local == "option" {
			t.payload(n.Element.Nodes)
			n = component.Node{Element: n.Element.Child(nsData, "value")}
		}
		if n.Element != nil && n.Element.Name.Local == "value" {
			n.Element.SetText(t.value(n.Element.Text()))
		}
	}
}

func (t translation) attr(e *component.Element, name string) {
	if v, ok := e.LookupAttr(name); ok {
		e.SetAttr(name, t.value(v))
	}
}

// value translates a JID, or the JID in an xmpp: URI (RFC 5122).
func (t translation) value(v string) string {
	if rest, ok := strings.CutPrefix(v, "xmpp:"); ok {
		return "xmpp:" + t.uri(rest)
	}
	if v == "" {
		return v
	}
	j, err := component.ParseJID(v)
	if err != nil {
		return v
	}
	if j, err = t(j); err != nil {
		return v
	}
	return j.String()
}

// uri translates what follows xmpp: in a URI without authority. The query and the
// fragment stay.
func (t translation) uri(rest string) string {
	path, tail := rest, ""
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		path, tail = rest[:i], rest[i:]
	}
	plain, err := url.PathUnescape(path)
	if err != nil || plain == "" || plain[0] == '/' {
		return rest
	}
	j, err := component.ParseJID(plain)
	if err != nil {
		return rest
	}
	if j, err = t(j); err != nil {
		return rest
	}
	out := j.Domainpart()
	if j.Localpart() != "" {
		out = url.PathEscape(j.Localpart()) + "@" + out
	}
	if j.Resourcepart() != "" {
		out += "/" + url.PathEscape(j.Resourcepart())
	}
	return out + tail
}
