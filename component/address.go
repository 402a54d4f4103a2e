package component

import (
	"errors"
	"strings"

	"mellium.im/xmpp/jid"
)

// ParseJID is jid.Parse, in a tenth of the time for most addresses. It also refuses what could
// not be read again: package idna takes a domain with a symbol such as U+2135 in it for one with
// the letter, in a place where it does not take the letter itself.
func ParseJID(s string) (jid.JID, error) {
	rest, resource, hasResource := strings.Cut(s, "/")
	local, domain, hasLocal := strings.Cut(rest, "@")
	if !hasLocal {
		local, domain = "", rest
	}
	// That an empty part has no separator is for jid.Parse to say.
	if hasLocal != (local != "") || hasResource != (resource != "") || !prepared(local, domain, resource) {
		return again(jid.Parse(s))
	}
	return jid.NewUnsafe(local, domain, resource).JID, nil
}

// NewJID is jid.New as ParseJID is jid.Parse.
func NewJID(local, domain, resource string) (jid.JID, error) {
	if !prepared(local, domain, resource) {
		return again(jid.New(local, domain, resource))
	}
	return jid.NewUnsafe(local, domain, resource).JID, nil
}

// again gives an address if it can be read as it is written.
func again(j jid.JID, err error) (jid.JID, error) {
	if err != nil {
		return j, err
	}
	switch same, err := jid.Parse(j.String()); {
	case err != nil:
		return jid.JID{}, err
	case !same.Equal(j):
		return jid.JID{}, errOtherAddress
	}
	return j, nil
}

var errOtherAddress = errors.New("component: an address that reads as another one")

const maxPart = 1023 // octets, RFC 7622 §3.2 to §3.4

// prepared tells if the parts are ASCII, and of a kind that the rules of RFC 7622 (PRECIS,
// IDNA2008) allow and leave as it is: they need not be applied then. It may say no to more
// than has to be changed.
func prepared(local, domain, resource string) bool {
	if len(local) > maxPart || len(resource) > maxPart {
		return false
	}
	for i := range len(local) {
		if !inLocal[local[i]] {
			return false
		}
	}
	for i := range len(resource) {
		if c := resource[i]; c < ' ' || c >= 0x7F {
			return false
		}
	}
	return isHostname(domain)
}

// inLocal are the ASCII characters that a localpart may have and keeps (RFC 7622 §3.3).
var inLocal = func() (in [256]bool) {
	for c := '!'; c <= '~'; c++ {
		in[c] = (c < 'A' || c > 'Z') && !strings.ContainsRune(`"&'/:<>@`, c)
	}
	return in
}()

// isHostname tells if s is one or more labels of lower-case letters and digits, with single
// hyphens between them; two side by side could be the beginning of an A-label.
func isHostname(s string) bool {
	if len(s) > maxPart {
		return false
	}
	inLabel := false
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			inLabel = true
		case (c == '.' || c == '-') && inLabel:
			inLabel = false
		default:
			return false
		}
	}
	return inLabel
}
