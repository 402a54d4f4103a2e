package onionroute

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A fuzzSeed is a stanza as it comes to the border from one side.
type fuzzSeed struct {
	xml    string
	inward bool
}

// guardSeeds are where FuzzGuard begins.
func guardSeeds() (seeds []fuzzSeed) {
	for _, c := range allCrossings() {
		side := hostSide
		if c.inward {
			side = onionSide
		}
		seeds = append(seeds, fuzzSeed{side.Replace(strings.TrimSpace(c.in)), c.inward})
	}
	return append(seeds, fuzzSeed{onionSide.Replace("<message to='{I}/RANDOM' from='{B}'><body>x</body></message>"), true})
}

// fuzzed reads a stanza; nil if it is none.
func fuzzed(xml string) *component.Stanza {
	e, err := component.NewContentDecoder(strings.NewReader(xml), component.NSClient, component.Limits{}).Next()
	if err != nil {
		return nil
	}
	s, err := component.ParseStanza(e)
	if err != nil || s.Exceeds(component.Limits{}) || s.Check() != nil {
		return nil
	}
	return s
}

// peoplesTexts are the texts of a message that people wrote.
func peoplesTexts(s *component.Stanza) (all []string) {
	if s.Kind != component.Message {
		return nil
	}
	for _, n := range s.Nodes {
		if n.Element != nil && (n.Element.Is(component.NSClient, "body") || n.Element.Is(component.NSClient, "subject")) {
			all = append(all, n.Element.Text())
		}
	}
	return all
}

// hostName is the host's name in what is no text of people.
var hostName = regexp.MustCompile(`(?i)(^|[^a-z0-9-])example\.org($|[^a-z0-9.-]|\.$|\.[^a-z0-9-])`)

// FuzzGuard: whatever comes from either side, there is no panic, and the texts of people are
// the same on the other one. Nowhere else is a name of the host in what goes out, and what
// comes in is from who sent it, for somebody here.
func FuzzGuard(f *testing.F) {
	for _, seed := range guardSeeds() {
		f.Add(seed.xml, seed.inward, false)
		f.Add(seed.xml, seed.inward, true)
	}
	f.Fuzz(func(t *testing.T, xml string, inward, strict bool) {
		s := fuzzed(xml)
		if s == nil {
			return
		}
		b := newBorder(t, Privacy{Strict: strict})
		if inward {
			b.fuzzIn(t, s)
		} else {
			b.fuzzOut(t, s)
		}
	})
}

// fuzzIn takes a stanza of a peer, who is bob if it says nobody who can be one.
func (b *border) fuzzIn(t *testing.T, s *component.Stanza) {
	if _, err := b.m.ToHost(s.From); err != nil || Base(s.From.Domainpart()) != testX {
		s.From = jid.MustParse("bob@" + testX + "/phone")
	}
	if _, err := b.m.ToHost(s.To); err != nil || Base(s.To.Domainpart()) != testI {
		s.To = jid.MustParse("alice@" + testI)
	}
	for _, known := range []string{hostSide.Replace("{A}"), hostSide.Replace("{C}"), "example.org"} { // by other names
		shown, err := b.sender(testX)(jid.MustParse(known))
		require.NoError(t, err)
		if s.To.Resourcepart() == "RANDOM" && s.To.Bare().Equal(shown.Bare()) {
			s.To = shown
		}
	}
	from, err := b.m.ToHost(s.From)
	require.NoError(t, err)
	before, isError := peoplesTexts(s), s.Type == "error"
	out, err := b.in(s)
	if err != nil || out == "" {
		return
	}
	after := readStanza(t, out)
	require.True(t, from.Equal(after.From), out)
	require.NotContains(t, after.To.Domainpart(), testI, out)
	if !isError {
		require.Equal(t, before, peoplesTexts(after), out)
	}
}

var fuzzSenders = strings.Fields(hostSide.Replace("{A} {ALICE} {ANA} {C} {CAROL} r@rooms.example.org example.org"))

// fuzzOut takes a stanza for bob, of alice's if it says nobody who can be one.
func (b *border) fuzzOut(t *testing.T, s *component.Stanza) {
	s.To = jid.MustParse(hostSide.Replace("{B}"))
	if !slices.Contains(fuzzSenders, s.From.String()) {
		s.From = jid.MustParse(fuzzSenders[0])
	}
	before, isError := peoplesTexts(s), s.Type == "error"
	s.ID, s.Lang = "", ""
	if s.Kind == component.IQ {
		s.ID = "1"
	}
	guessed := b.finds(s.String(), b.standIns)
	out, err := b.out(s)
	if err != nil || out == "" || guessed { // then the name is in it, as a peer wrote it
		return
	}
	after := readStanza(t, out)
	if !isError {
		require.Equal(t, before, peoplesTexts(after), out)
	}
	var look func(e, in *component.Element)
	look = func(e, in *component.Element) {
		for _, a := range e.Attr {
			require.False(t, !isAuthoredAttr(e, a, in) && (hostName.MatchString(a.Value) || hostName.MatchString(decoded(a.Value))), "%s: %s", a.Value, out)
		}
		if !isAuthored(e, in) {
			require.False(t, hostName.MatchString(e.Text()), "%s: %s", e.Text(), out)
		}
		for _, n := range e.Nodes {
			if n.Element != nil {
				look(n.Element, e)
			}
		}
	}
	look(after.Element(), nil)
}

// FuzzGuard begins with something for each rule, whichever way it is for.
func TestFuzzGuardSeeds(t *testing.T) {
	hit := map[bool]map[string]bool{false: {}, true: {}}
	for _, seed := range guardSeeds() {
		b := newBorder(t, Privacy{Strict: true, On: PrivacyRules()})
		s := fuzzed(seed.xml)
		require.NotNil(t, s, seed.xml)
		if seed.inward {
			b.fuzzIn(t, s)
		} else {
			b.fuzzOut(t, s)
		}
		for name, n := range b.counts {
			if n.Load() > 0 {
				hit[seed.inward][name] = true
			}
		}
	}
	for _, r := range rules {
		if r.egress != nil || r.leaving != nil {
			assert.True(t, hit[false][r.name], "out: %s", r.name)
		}
		if r.ingress != nil {
			assert.True(t, hit[true][r.name], "in: %s", r.name)
		}
	}
}
