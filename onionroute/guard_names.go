package onionroute

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mellium.im/xmpp/jid"
)

// maxEncodings is how often a value is decoded: an escaped address, in an xmpp: URI, in the
// query of another URI.
const maxEncodings = 3

// exposes tells if there is a name of the host in a value, as it is or encoded. In the
// address of a local user at one of the other domains of the host there is one, and that is
// how it is known to peers; see AddressMap.
func (gd *guard) exposes(v string) bool { return gd.finds(v, gd.hidden) }

// finds tells if there is one of those names, which are in lower case, in a value.
func (gd *guard) finds(v string, names []string) bool {
	v = lower(v)
	for n := 0; v != ""; n++ {
		v = gd.known.Replace(v)
		if slices.ContainsFunc(names, func(d string) bool { return findName(v, d, 0) >= 0 }) {
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

// knownForms overwrites the domain in what peers know users of other domains of the host
// by, and, at jabber.org, the namespaces of XMPP.
func knownForms(m *AddressMap) *strings.Replacer {
	var pairs []string
	known := func(form, rest string) { pairs = append(pairs, form+rest, strings.Repeat("\x00", len(form))+rest) }
	for _, d := range m.Domains[1:] {
		known(`\40`+d, "@"+m.Identity)
	}
	if slices.Contains(m.Domains, "jabber.org") {
		for _, path := range []string{"protocol", "features", "network"} {
			known("http://jabber.org/"+path+"/", "")
		}
	}
	return strings.NewReplacer(pairs...)
}

// findName is where a name is in a value, from an index on, and -1 if it is not.
func findName(v, d string, from int) int {
	if !strings.Contains(d, ".") { // it could be any word
		j, err := jid.Parse(v)
		if from > 0 || err != nil || j.Domainpart() != d {
			return -1
		}
		account, _, _ := strings.Cut(v, "/")
		return strings.IndexByte(account, '@') + 1
	}
	for {
		i := strings.Index(v[from:], d)
		if i < 0 {
			return -1
		}
		end := from + i + len(d)
		if !endsWithLabel(v[:from+i]) && !beginsWithLabel(v[end:]) {
			return from + i
		}
		from = end
	}
}

// decoded undoes one encoding of a value: that of URIs (RFC 3986 §2.1), or if there is none
// of it that of addresses (XEP-0106).
func decoded(v string) string {
	plain, _ := decodedAt(v)
	return plain
}

// decodedAt tells also where in v each octet begins; it has one more, the end.
func decodedAt(v string) (plain string, at []int) {
	if plain, at = decodedFrom(v, '%'); plain != v {
		return plain, at
	}
	return decodedFrom(v, '\\')
}

func decodedFrom(v string, mark byte) (string, []int) {
	if strings.IndexByte(v, mark) < 0 {
		return v, nil
	}
	plain, at := make([]byte, 0, len(v)), make([]int, 0, len(v)+1)
	for i := 0; i < len(v); i++ {
		at = append(at, i)
		c := v[i]
		if c == mark && i+2 < len(v) {
			if code, err := strconv.ParseUint(v[i+1:i+3], 16, 8); err == nil {
				c, i = byte(code), i+2
			}
		}
		plain = append(plain, c)
	}
	return lower(string(plain)), append(at, len(v))
}

// lower is a value in lower case. It has as many octets, and may be no UTF-8.
func lower(v string) string {
	if isASCII(v) {
		return strings.ToLower(v)
	}
	out := make([]byte, 0, len(v))
	for i, n := 0, 0; i < len(v); i += n {
		var r rune
		r, n = utf8.DecodeRuneInString(v[i:])
		if low := unicode.ToLower(r); r != utf8.RuneError && utf8.RuneLen(low) == n {
			out = utf8.AppendRune(out, low)
		} else {
			out = append(out, v[i:i+n]...)
		}
	}
	return string(out)
}

func isASCII(v string) bool {
	for i := range len(v) {
		if v[i] > unicode.MaxASCII {
			return false
		}
	}
	return true
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
