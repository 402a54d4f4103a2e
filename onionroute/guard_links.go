package onionroute

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const (
	nsAvatar  = "urn:xmpp:avatar:metadata"            // XEP-0084
	nsMedia   = "urn:xmpp:media-element"              // XEP-0221
	nsAtom    = "http://www.w3.org/2005/Atom"         // RFC 4287, for XEP-0277 and XEP-0472
	nsUpload  = "urn:xmpp:http:upload"                // XEP-0363, and with :0
	nsXHTMLIM = "http://jabber.org/protocol/xhtml-im" // XEP-0071
)

// uploadsIn removes links from what peers send that a client opens by itself, which it does
// outside of Tor. A link that a person has to choose, in a text, stays.
func uploadsIn(gd *guard, s *component.Stanza) finding {
	isFine := func(link string) bool {
		u, err := url.Parse(strings.TrimSpace(link))
		return isInside(link) || gd.onionLinks && err == nil && IsOnion(strings.ToLower(u.Hostname()))
	}
	if answers(s, nsUpload, nsUpload+":") && has(s.Nodes, leadsUpload(isFine)) {
		return withheld(s, stanza.ServiceUnavailable)
	}
	isFile, isLoaded, tidied := attached(isFine), loaded(isFine), false
	hit := strip(&s.Nodes, func(e *component.Element) bool {
		tidied = tidy(e) || tidied
		return isFile(e) || isLoaded(e)
	})
	return changed(hit || tidied)
}

// leadsUpload matches where a file is to be uploaded to, and got from.
func leadsUpload(isFine func(link string) bool) func(*component.Element) bool {
	return func(e *component.Element) bool {
		if e.Name.Local != "put" && e.Name.Local != "get" {
			return false
		}
		link, ok := e.LookupAttr("url")
		if !ok { // before version 0.3 of XEP-0363
			link = e.Text()
		}
		return !isFine(link)
	}
}

// loaded matches what clients load to show a person or a form: avatars, the pictures and
// sounds of vCards, media; and what belongs to a post.
func loaded(isFine func(link string) bool) func(*component.Element) bool {
	return func(e *component.Element) bool {
		switch e.Name.Space {
		case nsAvatar:
			link, ok := e.LookupAttr("url")
			return ok && !isFine(link)
		case nsVCard:
			return e.Name.Local == "EXTVAL" && !isFine(e.Text())
		case nsVCard4:
			return slices.Contains([]string{"photo", "logo", "sound"}, e.Name.Local) && !hasFine(e, "uri", isFine)
		case nsMedia:
			return e.Name.Local == "uri" && !isFine(e.Text())
		case nsAtom:
			return loadedOfPost(e, isFine)
		}
		return false
	}
}

// chosen are the relations of links that readers of a post follow if they like.
var chosen = []string{"", "alternate", "self", "related", "replies", "via", "start"}

func loadedOfPost(e *component.Element, isFine func(link string) bool) bool {
	if e.Name.Local == "link" {
		return !slices.Contains(chosen, e.AttrValue("rel")) && !isFine(e.AttrValue("href"))
	}
	if !slices.Contains([]string{"", "text", "xhtml"}, e.AttrValue("type")) { // such as html that is not XML
		return true
	}
	switch e.Name.Local {
	case "icon", "logo":
		return !isFine(e.Text())
	case "content":
		link, ok := e.LookupAttr("src")
		return ok && !isFine(link)
	}
	return false
}

// What of XHTML shows text (XEP-0071 §6), with what many clients have beside that, and
// images, which are looked at by themselves.
var (
	textElements = strings.Fields(`html head title body abbr acronym address blockquote br cite code dfn div em h1 h2 h3 h4 h5 h6
		kbd p pre q samp span strong var a dl dt dd ol ul li img b i u s del ins sub sup small big tt hr`)
	textAttrs = strings.Fields("class id title style href hreflang rel rev type charset accesskey tabindex cite alt height width src")
)

// tidy leaves of an element of XHTML what cannot load anything. Its text stays: an element
// that could do more than show it becomes one that does not. What is in it of other
// languages, such as SVG, goes.
func tidy(e *component.Element) (hit bool) {
	if e.Name.Space != nsXHTML && e.Name.Space != nsXHTMLIM {
		return false
	}
	attrs, nodes := len(e.Attr), len(e.Nodes)
	e.Nodes = slices.DeleteFunc(e.Nodes, func(n component.Node) bool { return n.Element != nil && n.Element.Name.Space != nsXHTML })
	e.Attr = slices.DeleteFunc(e.Attr, func(a component.Attr) bool {
		switch {
		case a.Name.Space == component.NSXMLNS || a.Name.Space == component.NSXML && a.Name.Local == "lang":
			return false
		case a.Name.Space != "" || !slices.Contains(textAttrs, a.Name.Local):
			return true
		}
		return a.Name.Local == "style" && !isPlainStyle(a.Value)
	})
	hit = len(e.Attr) < attrs || len(e.Nodes) < nodes
	if !slices.Contains(textElements, e.Name.Local) {
		e.Name.Local, hit = "span", true
	}
	return hit
}

var colour = regexp.MustCompile(`(?i)\b(rgb|hsl)a?\(`)

// isPlainStyle tells of a style without functions, such as url(), that are not of colours.
func isPlainStyle(css string) bool { return !strings.Contains(colour.ReplaceAllString(css, ""), "(") }
