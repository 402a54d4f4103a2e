package onionroute

import (
	"net/url"
	"slices"
	"strings"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	nsJingle     = "urn:xmpp:jingle:1" // XEP-0166
	nsTransports = "urn:xmpp:jingle:transports:"
	nsIBB        = "http://jabber.org/protocol/ibb" // XEP-0047
	nsOOB        = "jabber:x:oob"                   // XEP-0066
	nsOOBQuery   = "jabber:iq:oob"
	nsReference  = "urn:xmpp:reference:0" // XEP-0372
	nsXHTML      = "http://www.w3.org/1999/xhtml"
	nsMeeting    = "urn:xmpp:http:online-meetings:invite:" // XEP-0483, before version 0.2
)

const (
	textCalls = "Calls, and files that clients send to each other directly, would show your network address. They do not work with contacts at onion servers."
	textFiles = "Files that clients send to each other directly would show your network address. This does not work with contacts at onion servers."
	textLinks = "Your message to %s had the link to an uploaded file attached. Contacts at onion servers get what is in the text of a message, and no attached links, since opening these would connect them to other servers than yours and theirs."
)

// callSpaces are of what leads to a call: XEP-0353, XEP-0482, XEP-0483, XEP-0272.
var callSpaces = []string{"urn:xmpp:jingle-message:", "urn:xmpp:call-invites:", "urn:xmpp:call-message:", "urn:xmpp:http:online-meetings:",
	"urn:xmpp:jingle:muji:"}

// olderCalls are what some clients call by that are older than Jingle, or than its last
// version, and have network addresses in other places.
var olderCalls = []string{"http://www.google.com/session", "urn:xmpp:jingle:0", "urn:xmpp:tmp:jingle", "http://jabber.org/protocol/jingle", "google:jingleinfo"}

// calls refuses sessions that would tell where on the network somebody is. What goes by
// the servers alone, in-band bytestreams, passes.
func calls(_ *guard, s *component.Stanza) finding {
	if s.Kind == component.IQ {
		if asks(s, callSpaces...) || asks(s, olderCalls...) || asks(s, nsJingle) && isDirect(s.Payload()) {
			return refused(stanza.Cancel, stanza.NotAcceptable, textCalls)
		}
		return finding{}
	}
	invites := has(s.Nodes, func(e *component.Element) bool {
		return isIn(e.Name.Space, callSpaces) && (e.Name.Local == "propose" || e.Name.Local == "invite" || isIn(e.Name.Space, []string{nsMeeting}))
	})
	hit := strip(&s.Nodes, in(callSpaces...))
	if invites && isHusk(s) && s.Type != "error" {
		return refused(stanza.Cancel, stanza.NotAcceptable, textCalls)
	}
	return changed(hit)
}

// isDirect tells of a Jingle session with another transport than in-band bytestreams
// (XEP-0261).
func isDirect(jingle *component.Element) bool {
	inBand := false
	direct := has(jingle.Nodes, func(e *component.Element) bool {
		t, ok := strings.CutPrefix(e.Name.Space, nsTransports)
		ibb := ok && strings.HasPrefix(t, "ibb:")
		inBand = inBand || ibb
		return ok && !ibb || e.Name.Local == "transport" && !ok
	})
	return direct || !inBand && jingle.AttrValue("action") == "session-initiate"
}

// bytestreams refuses what XEP-0065, XEP-0095 and XEP-0066 transfer files with.
func bytestreams(_ *guard, s *component.Stanza) finding {
	if asks(s, "http://jabber.org/protocol/bytestreams", "http://jabber.org/protocol/si", nsOOBQuery) {
		return refused(stanza.Cancel, stanza.NotAcceptable, textFiles)
	}
	return finding{}
}

// attached matches links to files: XEP-0066, XEP-0103, XEP-0447, XEP-0385, XEP-0264,
// XEP-0511, and images in XHTML (XEP-0071).
func attached(isFine func(link string) bool) func(*component.Element) bool {
	return func(e *component.Element) bool {
		switch {
		case e.Is(nsOOB, "x"):
			return !hasFine(e, "url", isFine)
		case e.Is(nsReference, "reference"):
			return !isFine(e.AttrValue("uri"))
		case e.Is(nsXHTML, "img"):
			return !isFine(e.AttrValue("src"))
		case e.Is("http://jabber.org/protocol/url-data", "url-data"):
			return !isFine(e.AttrValue("target"))
		}
		return isIn(e.Name.Space, []string{"urn:xmpp:sfs:", "urn:xmpp:sims:", "urn:xmpp:thumbs:"}) ||
			e.Is("http://www.w3.org/1999/02/22-rdf-syntax-ns#", "Description")
	}
}

// hasFine tells if an element has links, in children of that name, and all are fine.
func hasFine(e *component.Element, local string, isFine func(link string) bool) bool {
	n := 0
	bad := slices.ContainsFunc(e.Nodes, func(c component.Node) bool {
		if c.Element == nil || !c.Element.Is(e.Name.Space, local) {
			return false
		}
		n++
		return !isFine(c.Element.Text())
	})
	return n > 0 && !bad
}

// isInside tells of links that lead to an address, or to data in the stanza itself.
func isInside(link string) bool {
	u, err := url.Parse(strings.TrimSpace(link))
	return err == nil && slices.Contains([]string{"xmpp", "cid", "data"}, u.Scheme)
}

// uploadsOut removes links to files, which are at the host. Their sender is told so, once
// for each contact; and of each message that was nothing but a link.
func uploadsOut(gd *guard, s *component.Stanza) finding {
	if s.Kind != component.Message || !strip(&s.Nodes, attached(isInside)) {
		return finding{}
	}
	found, text := changed(true), strings.Replace(textLinks, "%s", s.To.Bare().String(), 1)
	switch {
	case !gd.isLocal(s.From):
	case isHusk(s): // there was nothing else in it
		return refused(stanza.Cancel, stanza.NotAcceptable, text)
	case gd.told.first(s.From, s.To):
		gateway, _ := jid.New("", gd.m.Gateway, "")
		found.say = (&component.Stanza{Kind: component.Message, Type: string(stanza.NormalMessage), From: gateway, To: s.From}).Add(
			component.NewElement(component.NSClient, "body", component.Text(text)))
	}
	return found
}

// A told remembers who was told something about a contact.
type told struct{ *lru.Cache[string, bool] }

func newTold() *told {
	c, _ := lru.New[string, bool](10_000) // fails for no size alone
	return &told{c}
}

// first tells if it is the first time for the two.
func (t *told) first(user, contact jid.JID) bool {
	before, _ := t.ContainsOrAdd(user.Bare().String()+" "+contact.Bare().String(), true)
	return !before
}
