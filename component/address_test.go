package component

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// requireSameJID compares with package jid, but for what cannot be read again.
func requireSameJID(t *testing.T, s string) {
	t.Helper()
	want, wantErr := again(jid.Parse(s))
	got, err := ParseJID(s)
	require.Equal(t, wantErr, err, "%q", s)
	require.Equal(t, want, got, "%q", s)
	local, domain, resource, err := jid.SplitString(s)
	if err != nil {
		return
	}
	want, wantErr = again(jid.New(local, domain, resource))
	got, err = NewJID(local, domain, resource)
	require.Equal(t, wantErr, err, "%q", s)
	require.Equal(t, want, got, "%q", s)
}

// What cannot be read as it is written is no address: who has one would not be found again.
func TestAddressThatCannotBeReadAgain(t *testing.T) {
	for _, s := range []string{"a@j\u2135.c", "x\u2138.b/r"} {
		j, err := jid.Parse(s)
		require.NoError(t, err)
		_, err = jid.Parse(j.String())
		require.Error(t, err, "package jid could do without")
		_, err = ParseJID(s)
		require.Error(t, err)
	}
	_, err := NewJID("a", "j\u2135.c", "")
	require.Error(t, err)
	_, err = ParseJID("a@b..")
	require.Equal(t, errOtherAddress, err)
	requireSameJID(t, "a@\u2135.c") // which is a whole label
}

// An address is the one that package jid makes of it, and an error is its error.
func TestSameAddress(t *testing.T) {
	for _, s := range []string{"", "@", "/", "a", "a/", "@a", "a@", "a@/b", "/a", "a@b@c/d@e/f", "a/b@c", "1.2.3.4", "a@1.2.3.4", "[::1]", "a@[::1]/b", "[1.2.3.4]", "1.2.3.256", "a.", "a..b", ".a",
		"xn--mnchen-3ya.example", "a.xn--mnchen-3ya", "xn--a", "ab--c", "a-", "-a", "a.-b", "a-.b", "a--b", "münchen.example", "A@B/C", "ß@ß/ß", "a b@c", "a@b/ c ", "a@b\u3002c", "\uff21@b", "a@b/\u00a0", "א@a", "a@א", "1@אa"} {
		requireSameJID(t, s)
	}
	for _, n := range []int{62, 63, 64, 253, 254, 1022, 1023, 1024} {
		long := strings.Repeat("a", n)
		for _, s := range []string{long, long + "@a", "a@" + long, "a/" + long, strings.Repeat("a.", n/2) + long[:1+n%2]} {
			requireSameJID(t, s)
		}
	}
	// Each octet everywhere.
	for c := range 256 {
		c := string([]byte{byte(c)})
		for _, s := range []string{c, "a" + c, c + "a", "a" + c + "a"} {
			for _, s := range []string{s, s + "@a", "a@" + s, "a/" + s, "a@" + s + "/a", "1." + s + ".1"} {
				requireSameJID(t, s)
			}
		}
	}
	// All domains of what there is to say something about.
	var all func(s string, n int)
	all = func(s string, n int) {
		requireSameJID(t, s)
		for _, c := range "an1.-" {
			if n > 0 {
				all(s+string(c), n-1)
			}
		}
	}
	all("", 6)
	all("xn--", 3)
	all("a.x", 4)
	parts := []string{"a", "b.c", "-", "--", "xn--", ".", "1", "A", "@", "/", " ", "\\40", "é", "\u0301", "ß", "א", "\u200d", "\xff", "_", "'", "\x7f", "\t", "ab-cd.example.org"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var s strings.Builder
		for range 1 + random.IntN(8) {
			s.WriteString(parts[random.IntN(len(parts))])
		}
		requireSameJID(t, s.String())
	}
}

func FuzzAddress(f *testing.F) {
	f.Add(`bob\40example.org@onion.example.org/desk`)
	f.Add("xn--mnchen-3ya.example/é")
	f.Fuzz(requireSameJID)
}

func BenchmarkParseJID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ParseJID(`bob\40aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaam2dqd.onion@onion.example.org`)
	}
}
