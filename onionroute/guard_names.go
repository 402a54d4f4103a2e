package onionroute

import (
	"slices"
	"strconv"
	"strings"

	"mellium.im/xmpp/jid"
)

// maxEncodings is how often a value is decoded: an escaped address, in an xmpp: URI, in the
// query of another URI.
const maxEncodings = 3

// exposes tells if there is a name of the host in a value, as it is or encoded. In the
// address of a local user at one of the other domains of the host there is one, and that is
// how it is known to peers; see AddressMap.
func (gd *guard) exposes(v string) bool {
	v = strings.ToLower(v)
	for n := 0; v != ""; n++ {
		v = gd.known.Replace(v)
		if gd.names(v) {
			return true
		}
		plain := decoded(v)
		if plain == v || n == maxEncodings {
			return false
		}
		v = plain
	}
	return false
}

// knownForms takes the domain away from what peers know users of other domains of the host
// by, and, at jabber.org, from the namespaces of XMPP.
func knownForms(m *AddressMap) *strings.Replacer {
	var pairs []string
	for _, d := range m.Domains[1:] {
		pairs = append(pairs, `\40`+d+"@"+m.Identity, "@"+m.Identity)
	}
	if slices.Contains(m.Domains, "jabber.org") {
		for _, path := range []string{"protocol", "features", "network"} {
			pairs = append(pairs, "http://jabber.org/"+path+"/", "")
		}
	}
	return strings.NewReplacer(pairs...)
}

// names tells if there is a name of the host in a value.
func (gd *guard) names(v string) bool {
	return slices.ContainsFunc(gd.hidden, func(d string) bool {
		if !strings.Contains(d, ".") { // it could be any word
			j, err := jid.Parse(v)
			return err == nil && j.Domainpart() == d
		}
		for from := 0; ; {
			i := strings.Index(v[from:], d)
			if i < 0 {
				return false
			}
			end := from + i + len(d)
			if !endsWithLabel(v[:from+i]) && !beginsWithLabel(v[end:]) {
				return true
			}
			from = end
		}
	})
}

// decoded undoes one encoding of a value: that of URIs (RFC 3986 §2.1), or if there is none
// of it that of addresses (XEP-0106).
func decoded(v string) string {
	if plain := decodedFrom(v, '%'); plain != v {
		return plain
	}
	return decodedFrom(v, '\\')
}

func decodedFrom(v string, mark byte) string {
	if strings.IndexByte(v, mark) < 0 {
		return v
	}
	plain := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c == mark && i+2 < len(v) {
			if code, err := strconv.ParseUint(v[i+1:i+3], 16, 8); err == nil {
				c, i = byte(code), i+2
			}
		}
		plain = append(plain, c)
	}
	return strings.ToLower(string(plain))
}

// endsWithLabel tells if a name that follows s is a part of a longer label.
func endsWithLabel(s string) bool { return s != "" && isLabel(s[len(s)-1]) }

// beginsWithLabel tells if a name goes on in s, in its last label or with another one.
func beginsWithLabel(s string) bool {
	s = strings.TrimPrefix(s, ".")
	return s != "" && isLabel(s[0])
}

func isLabel(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
}
