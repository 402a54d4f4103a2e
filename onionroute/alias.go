package onionroute

import (
	"encoding/xml"
	"regexp"
	"slices"
	"strings"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// An Alias is a component domain that stands for one onion domain, so that people who
// have no Tor, and do not learn where it is, can reach what is there.
type Alias struct {
	Domain string // hidden.example.org
	Onion  string // rooms.O.onion
	Anyone bool   // users of third servers may use it too
}

// aliasAt is the alias that stands for an onion-side domain, nil if there is none.
func (g *Gateway) aliasAt(onion string) *Alias {
	if i := slices.IndexFunc(g.c.Aliases, func(a Alias) bool { return a.Onion == onion }); i >= 0 {
		return &g.c.Aliases[i]
	}
	return nil
}

// mayReach tells if a stanza of a user that the gateway is not for may go by an alias.
func (g *Gateway) mayReach(s *component.Stanza) bool {
	alias := g.aliasAt(g.m.Aliases[s.To.Domainpart()])
	return alias != nil && alias.Anyone && g.m.plain(s.From.Domainpart()) && s.From.Localpart() != ""
}

// relays tells if what a peer sent may go on to a stranger: from behind an alias that
// is open to strangers, and nothing but what people get.
func (alias *Alias) relays(s *component.Stanza) bool {
	return alias != nil && alias.Anyone && s.To.Localpart() != ""
}

// noSuchServer is the error for an address that has no form on the onion side. Where it
// has another form here, the text says which, and else what is wrong with it.
func (g *Gateway) noSuchServer(to jid.JID) error {
	meant := to.Bare()
	if to.Domainpart() == g.m.Gateway {
		if user, server, ok := g.m.remoteForm(to.Localpart()); ok {
			if onion, err := jid.New(user, server, ""); err == nil {
				if better, err := g.m.ToHost(onion); err == nil {
					return g.isHere(better)
				}
			}
		}
		if user, server, ok := cutLast(to.Localpart(), `\40`); ok {
			if other, err := jid.New(unescape(user), server, ""); err == nil {
				meant = other
			}
		}
	}
	if _, err := g.typed(meant.String()); err != nil {
		return component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, err.Error())
	}
	return errNoSuchServer()
}

// isHere is the error for an address that has another form here.
func (g *Gateway) isHere(better jid.JID) error {
	g.want(better)
	return component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, "The address of this contact here is "+better.Bare().String())
}

// onionIn finds names of onion services, as they are or escaped (XEP-0106, RFC 5122).
var onionIn = regexp.MustCompile(`(?i)[a-z2-7]{56}\.onion`)

// addressIn finds addresses with such names.
var addressIn = regexp.MustCompile(`(?i)[^\s<>"'()]*[a-z2-7]{56}\.onion[^\s<>"'()]*`)

// nameless are elements that are of use without the address in them.
var nameless = map[xml.Name]bool{
	{Space: component.NSClient, Local: "error"}:                       true,
	{Space: component.NSStanzas, Local: "gone"}:                       true,
	{Space: component.NSStanzas, Local: "redirect"}:                   true,
	{Space: nsMUCUser, Local: "item"}:                                 true,
	{Space: nsMUCUser, Local: "actor"}:                                true,
	{Space: nsMUCUser, Local: "invite"}:                               true,
	{Space: nsMUCUser, Local: "decline"}:                              true,
	{Space: nsMUCUser, Local: "destroy"}:                              true,
	{Space: "http://jabber.org/protocol/muc#admin", Local: "actor"}:   true,
	{Space: "urn:xmpp:delay", Local: "delay"}:                         true,
	{Space: "jabber:x:delay", Local: "x"}:                             true,
	{Space: "urn:xmpp:message-moderate:0", Local: "moderated"}:        true,
	{Space: "urn:xmpp:message-moderate:1", Local: "moderated"}:        true,
	{Space: "urn:xmpp:reply:0", Local: "reply"}:                       true,
	{Space: "http://jabber.org/protocol/pubsub", Local: "item"}:       true,
	{Space: "http://jabber.org/protocol/pubsub#event", Local: "item"}: true,
}

// written are elements that hold what a person wrote: it is not touched.
var written = map[xml.Name]bool{
	{Space: component.NSClient, Local: "body"}:    true,
	{Space: component.NSClient, Local: "subject"}: true,
	{Space: component.NSClient, Local: "status"}:  true,
	{Space: nsXHTMLIM, Local: "html"}:             true,
	{Space: nsMUCUser, Local: "reason"}:           true,
	{Space: "jabber:x:oob", Local: "x"}:           true,
}

// veil takes the names of onion services out of what came by an alias and was
// translated: what stands for the alias has its form by now, and the rest would tell
// people where others are. So would addresses at the gateway, also of peers that have an
// ordinary name.
func (alias *Alias) veil(s *component.Stanza, gateway string) {
	s.Nodes = alias.veilAll(s.Nodes, gateway)
	// The text of an invitation is made by the room (XEP-0045 §7.8.2).
	x := s.Child(nsMUCUser, "x")
	if b := s.Child(component.NSClient, "body"); b != nil && (x.Child(nsMUCUser, "invite") != nil || x.Child(nsMUCUser, "decline") != nil) {
		b.SetText(addressIn.ReplaceAllString(strings.ReplaceAll(b.Text(), alias.Onion, alias.Domain), "someone"))
	}
}

func (alias *Alias) veilAll(nodes []component.Node, gateway string) []component.Node {
	return slices.DeleteFunc(nodes, func(n component.Node) bool { return n.Element != nil && alias.veiled(n.Element, gateway) })
}

// veiled takes the names out of an element, and tells if nothing is left of it.
func (alias *Alias) veiled(e *component.Element, gateway string) bool {
	if written[e.Name] {
		return false
	}
	if e.Is(component.NSStanzas, "text") {
		return true // of an error, by which servers tell which software they are
	}
	if e.Is(nsData, "field") && e.AttrValue("var") == "onion-uri" { // of an invitation by link, of another Allium
		e.SetAttr("var", "link")
		e.SetAttr("label", "Link")
	}
	pointless := false
	if link := e.Text(); strings.HasPrefix(link, "xmpp:") { // to be passed on, as one by which people are invited
		e.SetText(strings.Replace(link, "@"+alias.Onion, "@"+alias.Domain, 1))
	}
	e.Attr = slices.DeleteFunc(e.Attr, func(a component.Attr) bool {
		named := namesOnion(a.Value, gateway)
		pointless = pointless || named && slices.Contains(places[e.Name].attrs, a.Name.Local)
		return named
	})
	if namesOnion(e.Text(), gateway) {
		pointless = true
		e.SetText("")
	}
	if pointless && !nameless[e.Name] && !(e.Is(nsMUC+"#admin", "item") && e.AttrValue("role") != "") {
		return true
	}
	wholeFields(e, func(value, _ *component.Element) bool { return namesOnion(value.Text(), gateway) })
	e.Nodes = alias.veilAll(e.Nodes, gateway)
	return false
}

// namesOnion tells if there is a name of an onion service in a value, or an address at the
// gateway.
func namesOnion(v, gateway string) bool {
	if onionIn.MatchString(v) || strings.Contains(v, "@"+gateway) {
		return true
	}
	j, err := jid.Parse(v)
	return err == nil && j.Domainpart() == gateway
}
