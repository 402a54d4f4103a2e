package onionroute

import (
	"errors"
	"fmt"
	"hash/maphash"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/cretz/bine/torutil"
	"mellium.im/xmpp/jid"
)

// An AddressMap translates between addresses as the host writes them (host side) and
// as peers write them (onion side). With host.domains = example.org, example.net;
// gateway G = onion.example.org; service R = rooms.example.org; identity I; peer X:
//
//	host side                     onion side
//	alice@example.org/phone       alice@I.onion/phone
//	alice@example.net             alice\40example.net@I.onion
//	carol@jabber.org (a stranger) carol\40jabber.org@I.onion
//	room@R/nick, R                room@rooms.I.onion/nick, rooms.I.onion
//	bob\40X.onion@G/desk          bob@X.onion/desk
//	room\40rooms.X.onion@G/nick   room@rooms.X.onion/nick
//	X.onion@G                     X.onion
//	G                             I.onion
//	example.org                   \40example.org@I.onion
//
// The map is a bijection on the addresses that it accepts. It is safe for concurrent
// use; its fields do not change once it is in use.
type AddressMap struct {
	Identity string            // our onion name, I.onion
	Gateway  string            // G
	Domains  []string          // host.domains; the first is the primary one
	Services map[string]string // domain of a service → its label before I.onion
}

// ErrAddress is the error for an address that has no form on the other side.
var ErrAddress = errors.New("onionroute: address has no form on the other side")

// ToOnion gives the onion-side form of a host-side address. The error wraps
// ErrAddress, or is package jid's for an address that would be too long.
func (m *AddressMap) ToOnion(j jid.JID) (jid.JID, error) {
	local, domain, resource := j.Localpart(), j.Domainpart(), j.Resourcepart()
	switch label, isService := m.Services[domain]; {
	case domain == m.Gateway && local == "":
		return jid.New("", m.Identity, resource)
	case domain == m.Gateway:
		user, server, found := cutLast(local, `\40`)
		if !found {
			user, server = "", local
		}
		if IsOnion(server) && !m.own(server) && found == (user != "") && isEscaped(user) {
			return jid.New(unescape(user), server, resource)
		}
	case isService:
		return jid.New(local, label+"."+m.Identity, resource)
	case domain == m.Domains[0] && local != "":
		return jid.New(escape(local), m.Identity, resource)
	case !isOnionName(domain):
		return jid.New(escape(local)+`\40`+domain, m.Identity, resource)
	}
	return jid.JID{}, fmt.Errorf("%w: %s", ErrAddress, j)
}

// ToHost gives the host-side form of an onion-side address, with errors as ToOnion.
func (m *AddressMap) ToHost(j jid.JID) (jid.JID, error) {
	local, domain, resource := j.Localpart(), j.Domainpart(), j.Resourcepart()
	switch {
	case domain == m.Identity && local == "":
		return jid.New("", m.Gateway, resource)
	case domain == m.Identity:
		user, server, found := cutLast(local, `\40`)
		if !found {
			return jid.New(unescape(local), m.Domains[0], resource)
		}
		// Only the one form that ToOnion makes is accepted.
		d, err := jid.New("", server, "")
		if err != nil || d.Domainpart() != server || server == m.Gateway || isOnionName(server) ||
			m.Services[server] != "" || server == m.Domains[0] && user != "" || !isEscaped(user) {
			break
		}
		return jid.New(unescape(user), server, resource)
	case m.own(domain):
		for service, label := range m.Services {
			if domain == label+"."+m.Identity {
				return jid.New(local, service, resource)
			}
		}
	case IsOnion(domain) && local == "":
		return jid.New(domain, m.Gateway, resource)
	case IsOnion(domain):
		return jid.New(escape(local)+`\40`+domain, m.Gateway, resource)
	}
	return jid.JID{}, fmt.Errorf("%w: %s", ErrAddress, j)
}

// own tells if the onion-side domain is ours, or below ours.
func (m *AddressMap) own(domain string) bool { return Base(domain) == m.Identity }

// Serves tells if the onion-side domain is one that peers can reach here.
func (m *AddressMap) Serves(domain string) bool {
	if domain == m.Identity {
		return true
	}
	for _, label := range m.Services {
		if domain == label+"."+m.Identity {
			return true
		}
	}
	return false
}

// Canonical gives the form of a gateway address that the map accepts, for one that
// people also write: bob%X.onion@G. Other addresses stay as they are.
func (m *AddressMap) Canonical(j jid.JID) jid.JID {
	if j.Domainpart() != m.Gateway {
		return j
	}
	if _, server, _ := cutLast(j.Localpart(), `\40`); IsOnion(server) || IsOnion(j.Localpart()) {
		return j
	}
	user, server, found := cutLast(j.Localpart(), "%")
	if !found || user == "" || !IsOnion(server) {
		return j
	}
	c, err := jid.New(escape(user)+`\40`+server, m.Gateway, j.Resourcepart())
	if err != nil {
		return j
	}
	return c
}

// escaped is \40, escaped any number of times (XEP-0106).
var escaped = regexp.MustCompile(`\\((?:5c)*)40`)

// escape makes room for one \40 that means what it says: each one that is in the
// local part already is escaped once more (XEP-0106 §4.2), \40 to \5c40.
func escape(local string) string {
	if !strings.Contains(local, "40") {
		return local
	}
	return escaped.ReplaceAllString(local, `\5c${1}40`)
}

var escapedTwice = regexp.MustCompile(`\\5c((?:5c)*)40`)

// unescape undoes escape.
func unescape(local string) string {
	if !strings.Contains(local, "40") {
		return local
	}
	return escapedTwice.ReplaceAllString(local, `\${1}40`)
}

// isEscaped tells if escape could have made s.
func isEscaped(s string) bool { return escape(unescape(s)) == s }

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// isOnionName tells if the name ends in .onion (RFC 7686), right or wrong.
func isOnionName(domain string) bool {
	return domain == "onion" || strings.HasSuffix(domain, ".onion")
}

// IsOnion tells if the domain is the name of a v3 onion service, or a name below it:
// 56 characters with the right version and checksum (Tor rend-spec-v3 §6). Names
// below it are of ASCII letters, digits and hyphens, and not internationalised.
func IsOnion(domain string) bool {
	name, ok := strings.CutSuffix(domain, ".onion")
	if !ok {
		return false
	}
	below, id, found := cutLast(name, ".")
	if !found {
		below, id = "", name
	} else if !isHostname(below) {
		return false
	}
	if len(id) != 56 || strings.ContainsFunc(id, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '2' || c > '7') }) {
		return false
	}
	known := &rightNames[maphash.String(rightSeed, id)%uint64(len(rightNames))]
	if last := known.Load(); last != nil && *last == id {
		return true
	}
	if _, err := torutil.PublicKeyFromV3OnionServiceID(id); err != nil {
		return false
	}
	id = strings.Clone(id)
	known.Store(&id)
	return true
}

// rightNames are names that were found to be right lately: each stanza names the same few
// several times, and the checksum is a good part of what translating it costs.
var (
	rightNames [1024]atomic.Pointer[string]
	rightSeed  = maphash.MakeSeed()
)

// isHostname tells of labels of letters, digits and hyphens, in lower case.
func isHostname(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.HasPrefix(label, "xn--") ||
			strings.ContainsFunc(label, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' }) {
			return false
		}
	}
	return true
}

// Base is the name of the onion service that a domain is at: X.onion for X.onion and
// for rooms.X.onion. It is empty if the domain is not IsOnion.
func Base(domain string) string {
	if !IsOnion(domain) {
		return ""
	}
	return domain[len(domain)-len(".onion")-56:]
}
