package onionroute

import (
	"crypto/hmac"
	"crypto/sha256"
	"regexp"
	"slices"

	"github.com/allium-xmpp/allium/component"
)

// Rooms, and all that answers by itself, give back what they got. If the name of the host were
// taken out of that, or were the address of somebody here, a peer could find out by it if a name
// that it guesses is the right one, of hundreds with each message. So in what peers send there
// are stand-ins where it names the host, and it goes out again with what they wrote: who guesses
// right gets back what everybody does. A stand-in is as long as the name, or a limit would tell;
// is as unknown to peers; and is made of our key, since archives outlive us. Users of this
// server see it, in places that are not for people to read.

// standIns are made for names, with letters for letters and digits for digits.
func standIns(key []byte, names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = standIn(key, name)
	}
	return out
}

func standIn(key []byte, name string) string {
	out := []byte(name)
	for i, c := range out {
		mac := hmac.New(sha256.New, key)
		mac.Write(append([]byte{byte(i)}, name...))
		switch n := mac.Sum(nil)[0]; {
		case c >= 'a' && c <= 'z', c == '-':
			out[i] = 'a' + n%26
		case c >= '0' && c <= '9':
			out[i] = '0' + n%10
		}
	}
	return string(out)
}

// isBlind tells of stanzas from peers that something answers, or gives back, without a person
// who wants that: what is for rooms, and requests.
func (gd *guard) isBlind(s *component.Stanza) bool {
	return gd.on["guess"] && len(gd.hidden) > 0 && (gd.m.Services[s.To.Domainpart()] != "" || s.IsRequest())
}

// guessed puts stand-ins in the place of names of the host. What could be one in a form that
// nobody writes goes, whichever it is.
func guessed(gd *guard, s *component.Stanza) finding {
	if !gd.isBlind(s) {
		return finding{}
	}
	goes := func(v string) bool { return isOdd(v) || gd.finds(v, gd.standIns) } // or it would become the name
	hit := onlyElements(&s.Nodes)
	hit = wholeForms(&s.Nodes, goes) || hit
	return changed(gd.sift(&s.Attr, &s.Nodes, func(v string) (string, bool) {
		return gd.swap(v, gd.hidden, gd.standIns), !goes(v)
	}) || hit)
}

// given puts the names back that a peer has written.
func given(gd *guard, s *component.Stanza) finding {
	if len(gd.hidden) == 0 || s.From.Domainpart() == gd.m.Identity && (s.Kind != component.IQ || s.IsRequest()) {
		return finding{}
	}
	return changed(gd.sift(&s.Attr, &s.Nodes, func(v string) (string, bool) {
		return gd.swap(v, gd.standIns, gd.hidden), true
	}))
}

// onlyElements takes out text around elements, which means nothing but in what people write, and
// by which a name could be in two pieces.
func onlyElements(nodes *[]component.Node) (hit bool) {
	for _, n := range *nodes {
		if e := n.Element; e != nil && !isAuthored(e, nil) && slices.ContainsFunc(e.Nodes, isElement) {
			hit = onlyElements(&e.Nodes) || hit
		}
	}
	before := len(*nodes)
	*nodes = slices.DeleteFunc(*nodes, func(n component.Node) bool { return !isElement(n) })
	return hit || len(*nodes) < before
}

// isOdd tells of a value in which a name could be written so that it is one in some places
// alone: with letters, digits, hyphens or dots that are encoded, which need not be, or with
// others than those of ASCII, which can stand for these, or for nothing (RFC 5892).
func isOdd(v string) bool {
	v = lower(v)
	for range maxEncodings + 1 {
		if !isASCII(v) && (otherDot.MatchString(v) || slices.ContainsFunc(dotted.FindAllString(v, -1), func(name string) bool { return !isASCII(name) })) {
			return true
		}
		plain, at := decodedAt(v)
		if plain == v {
			return false
		}
		for i := range plain {
			if at[i+1]-at[i] > 1 && (isLabel(plain[i]) || plain[i] == '.') {
				return true
			}
		}
		v = plain
	}
	return false
}

// dotted matches what could be a domain, and otherDot one with another dot (RFC 3490 §3.1).
var otherDot = regexp.MustCompile("[a-z0-9-][\u3002\uff0e\uff61][a-z0-9-]")
var dotted = regexp.MustCompile(`(?:[a-z0-9-]|[^\x00-\x7f])+(?:\.(?:[a-z0-9-]|[^\x00-\x7f])+)+`)

// swap puts others, which are as long, in the place of names in a value, encoded or not. Of
// names that end alike the longest is last.
func (gd *guard) swap(v string, names, by []string) string {
	if !gd.finds(v, names) {
		return v
	}
	out, text := []byte(v), lower(v)
	at := make([]int, len(v)+1) // where each octet of text begins in v
	for i := range at {
		at[i] = i
	}
	for range maxEncodings + 1 {
		text = gd.known.Replace(text)
		for n, name := range names {
			for i := findName(text, name, 0); i >= 0; i = findName(text, name, i+len(name)) {
				for k := range len(name) {
					if p := at[i+k]; at[i+k+1]-p == 1 && name[k] != by[n][k] {
						out[p] = inCase(v[p], by[n][k])
					}
				}
			}
		}
		plain, from := decodedAt(text)
		if plain == text {
			break
		}
		text = plain
		for i := range from {
			from[i] = at[from[i]]
		}
		at = from
	}
	return string(out)
}

// inCase is a letter in lower case as another one is written.
func inCase(as, c byte) byte {
	if as >= 'A' && as <= 'Z' && c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}
