package onionroute

import (
	"errors"
	"fmt"
	"hash/maphash"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cretz/bine/torutil"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// An AddressMap translates between addresses as the host writes them (host side) and
// as peers write them (onion side). With host.domains = example.org, example.net;
// gateway G = onion.example.org; service R = rooms.example.org; identity I; peer X; a
// peer friends.example that is at Y.onion; and an alias hidden.example.org for
// rooms.O.onion:
//
//	host side                     onion side
//	alice@example.org/phone       alice@I.onion/phone
//	alice@example.net             alice\40example.net@I.onion
//	carol@jabber.org (a stranger) carol\40jabber.org@I.onion
//	room@R/nick, R                room@rooms.I.onion/nick, rooms.I.onion
//	bob\40X.onion@G/desk          bob@X.onion/desk
//	room\40rooms.X.onion@G/nick   room@rooms.X.onion/nick
//	X.onion@G                     X.onion
//	bob\40friends.example@G       bob@friends.example
//	talk@hidden.example.org/nick  talk@rooms.O.onion/nick
//	G                             I.onion
//	example.org                   \40example.org@I.onion
//
// A native host has I.onion as a domain of its own. It writes the addresses of peers as
// they are, and its first domain is I.onion:
//
//	alice@I.onion/phone           alice@I.onion/phone
//	room@rooms.I.onion/nick       room@rooms.I.onion/nick, if it is one of host.domains
//	bob@X.onion/desk              bob@X.onion/desk
//	bob@friends.example           bob@friends.example
//	G                             none
//
// The map is a bijection on the addresses that it accepts: an address has one form on
// each side, so what an alias stands for has no form of the gateway. It is safe for
// concurrent use; its fields do not change once it is in use.
type AddressMap struct {
	Identity string            // our onion name, I.onion
	Gateway  string            // G
	Domains  []string          // host.domains; the first is the primary one
	Services map[string]string // domain of a service → its label before I.onion
	Native   bool              // the primary domain is I.onion
	Aliases  map[string]string // domain of an alias → the onion domain that it stands for
	Peers    map[string]string // ordinary domain of a peer → the onion service that it is at
}

// ErrAddress is the error for an address that has no form on the other side.
var ErrAddress = errors.New("onionroute: address has no form on the other side")

// ToOnion gives the onion-side form of a host-side address. The error wraps
// ErrAddress, or is package jid's for an address that would be too long.
func (m *AddressMap) ToOnion(j jid.JID) (jid.JID, error) {
	local, domain, resource := j.Localpart(), j.Domainpart(), j.Resourcepart()
	label, isService := m.Services[domain]
	switch onion := m.Aliases[domain]; {
	case onion != "":
		return component.NewJID(local, onion, resource)
	case isService:
		return component.NewJID(local, label+"."+m.Identity, resource)
	case domain == m.Gateway && m.Native: // peers have nothing to do with it
	case domain == m.Gateway && local == "":
		return component.NewJID("", m.Identity, resource)
	case domain == m.Gateway:
		if user, server, ok := m.remoteForm(local); ok && m.alias(server) == "" {
			return component.NewJID(user, server, resource)
		}
	case domain == m.Domains[0] && (local != "" || m.Native):
		return component.NewJID(escape(local), m.Identity, resource)
	case m.Native && (m.remote(domain) && m.alias(domain) == "" || m.ofHost(domain)):
		return j, nil
	case m.plain(domain):
		return component.NewJID(escape(local)+`\40`+domain, m.Identity, resource)
	}
	return jid.JID{}, fmt.Errorf("%w: %s", ErrAddress, j)
}

// ToHost gives the host-side form of an onion-side address, with errors as ToOnion.
func (m *AddressMap) ToHost(j jid.JID) (jid.JID, error) {
	local, domain, resource := j.Localpart(), j.Domainpart(), j.Resourcepart()
	switch alias := m.alias(domain); {
	case domain == m.Identity && local == "" && !m.Native:
		return component.NewJID("", m.Gateway, resource)
	case domain == m.Identity:
		user, server, found := cutLast(local, `\40`)
		if !found {
			return component.NewJID(unescape(local), m.Domains[0], resource)
		}
		// Only the one form that ToOnion makes is accepted.
		d, err := component.NewJID("", server, "")
		if err == nil && d.Domainpart() == server && m.plain(server) && (server != m.Domains[0] || user == "") && isEscaped(user) {
			return component.NewJID(unescape(user), server, resource)
		}
	case m.own(domain):
		if service := m.service(domain); service != "" {
			return component.NewJID(local, service, resource)
		}
		if m.ofHost(domain) {
			return j, nil
		}
	case alias != "":
		return component.NewJID(local, alias, resource)
	case m.remote(domain) && m.Native:
		return j, nil
	case m.remote(domain) && local == "":
		return component.NewJID(domain, m.Gateway, resource)
	case m.remote(domain):
		return component.NewJID(escape(local)+`\40`+domain, m.Gateway, resource)
	}
	return jid.JID{}, fmt.Errorf("%w: %s", ErrAddress, j)
}

// remoteForm reads the local part of a gateway address, in the one form that ToHost
// makes.
func (m *AddressMap) remoteForm(local string) (user, server string, ok bool) {
	user, server, found := cutLast(local, `\40`)
	if !found {
		user, server = "", local
	}
	return unescape(user), server, m.remote(server) && found == (user != "") && isEscaped(user)
}

// IsPeers tells if the host-side address is one at a peer.
func (m *AddressMap) IsPeers(j jid.JID) bool {
	o, err := m.ToOnion(j)
	return err == nil && m.remote(o.Domainpart())
}

// own tells if the onion-side domain is ours, or below ours.
func (m *AddressMap) own(domain string) bool { return Base(domain) == m.Identity }

// remote tells if the onion-side domain is one of a peer.
func (m *AddressMap) remote(domain string) bool { return m.At(domain) != "" && !m.own(domain) }

// ofHost tells if the onion-side domain is one that a native host has below ours.
func (m *AddressMap) ofHost(domain string) bool {
	return m.Native && m.own(domain) && m.service(domain) == "" && domain != m.Gateway && slices.Contains(m.Domains, domain)
}

// plain tells if the host-side domain is one whose addresses are written as strangers'.
func (m *AddressMap) plain(domain string) bool {
	return !isOnionName(domain) && domain != m.Gateway && m.Services[domain] == "" && m.Aliases[domain] == "" &&
		!(m.Native && m.Peers[domain] != "")
}

// alias is the domain that stands for an onion-side domain, "" if there is none.
func (m *AddressMap) alias(domain string) string { return keyOf(m.Aliases, domain) }

// service is the domain of the service that has an onion-side domain, "" if none has.
func (m *AddressMap) service(domain string) string {
	label, ok := strings.CutSuffix(domain, "."+m.Identity)
	if !ok {
		return ""
	}
	return keyOf(m.Services, label)
}

// keyOf is the first key that has the value, "" if none has.
func keyOf(of map[string]string, value string) (key string) {
	for k, v := range of {
		if v == value && (key == "" || k < key) {
			key = k
		}
	}
	return key
}

// Serves tells if the onion-side domain is one that peers can reach here.
func (m *AddressMap) Serves(domain string) bool {
	return domain == m.Identity || m.service(domain) != "" || m.ofHost(domain)
}

// At is the onion service that an onion-side domain is at: X.onion for X.onion and what
// is below it, and the one that is configured for an ordinary domain. It is empty if
// there is none.
func (m *AddressMap) At(domain string) string {
	if onion := m.Peers[domain]; onion != "" {
		return onion
	}
	return Base(domain)
}

// Name is what the server at an onion service calls itself: as the service, if no
// ordinary domain is configured for it.
func (m *AddressMap) Name(onion string) string {
	if domain := keyOf(m.Peers, onion); domain != "" {
		return domain
	}
	return onion
}

// Canonical gives the form of a gateway address that the map accepts, for one that
// people also write: bob%X.onion@G. Other addresses stay as they are.
func (m *AddressMap) Canonical(j jid.JID) jid.JID {
	if j.Domainpart() != m.Gateway {
		return j
	}
	if _, server, _ := cutLast(j.Localpart(), `\40`); m.remote(server) || m.remote(j.Localpart()) {
		return j
	}
	user, server, found := cutLast(j.Localpart(), "%")
	if !found || user == "" || !m.remote(server) {
		return j
	}
	c, err := component.NewJID(escape(user)+`\40`+server, m.Gateway, j.Resourcepart())
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
	if len(id) != 56 {
		return false
	}
	known := &rightNames[maphash.String(rightSeed, id)%uint64(len(rightNames))]
	if last := known.Load(); last != nil && *last == id {
		return true
	}
	if strings.ContainsFunc(id, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '2' || c > '7') }) {
		return false
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
