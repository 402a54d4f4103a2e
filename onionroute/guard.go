package onionroute

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/idna"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Privacy says what peers may learn. The zero value is the standard level: all rules
// that PrivacyRules names, but for those that are off by default.
type Privacy struct {
	Strict bool     // in addition, only what is on a short list passes
	Off    []string // rules that are switched off
	On     []string // rules that are off by default, and switched on

	// OnionLinks tells that the clients of local users can open addresses of onion
	// services, so that these need not be taken out of what peers send.
	OnionLinks bool
}

// A guard decides what of a stanza crosses between the host and a peer, by the table in
// guard_rules.go. It is safe for concurrent use. What it sees is on the host side.
type guard struct {
	m      *AddressMap
	out    component.Sender
	log    *slog.Logger
	on     map[string]bool
	counts map[string]*atomic.Uint64

	// The checks of the rules that are on, in the order of the table.
	goingOut, goneOut, comingIn []activeCheck

	hidden     []string          // domains of the host that peers do not know it by, shorter ones first
	standIns   []string          // of the same; see guessed
	known      *strings.Replacer // takes away what peers know by a domain of the host
	onionLinks bool
	masks      *masks
	ids        hiddenIDs // of requests to peers
	aliasIDs   hiddenIDs // of peers' requests by an alias
	told       *told
	warned     sync.Once
}

// A check is what a rule does with a stanza, which it may change.
type check func(*guard, *component.Stanza) finding

type activeCheck struct {
	check
	count *atomic.Uint64
}

// A finding is what a check found. The zero finding is nothing: the stanza passes.
type finding struct {
	hit  bool              // there was something, and it was taken out
	drop bool              // the stanza goes no further, and nobody is told
	err  error             // the stanza goes no further, and its sender is told
	say  *component.Stanza // is sent beside the stanza, or in the place of it
}

// newGuard makes a guard with a secret key, that sends its own words by out. The error names the rule in p
// that does not exist, or cannot be switched.
func newGuard(p Privacy, m *AddressMap, key []byte, out component.Sender, log *slog.Logger) (*guard, error) {
	gd := &guard{m: m, out: out, log: log, on: map[string]bool{}, counts: map[string]*atomic.Uint64{},
		onionLinks: p.OnionLinks, known: knownForms(m), masks: newMasks(), told: newTold(), ids: newHiddenIDs(), aliasIDs: newHiddenIDs()}
	for _, r := range rules {
		if r.where != "rooms" { // which is not to be counted here
			gd.counts[r.name] = &atomic.Uint64{}
		}
		gd.on[r.name] = !r.optional
	}
	gd.on[strictRule] = p.Strict
	for on, names := range map[bool][]string{false: p.Off, true: p.On} {
		for _, name := range names {
			if !slices.Contains(PrivacyRules(), name) {
				return nil, fmt.Errorf("onionroute: there is no privacy rule %q that can be switched", name)
			}
			gd.on[name] = on
		}
	}
	for _, r := range rules {
		for list, f := range map[*[]activeCheck]check{&gd.goingOut: r.egress, &gd.goneOut: r.leaving, &gd.comingIn: r.ingress} {
			if f != nil && gd.on[r.name] {
				*list = append(*list, activeCheck{f, gd.counts[r.name]})
			}
		}
	}
	// Where the host is known by its onion name alone there is nothing to hide.
	names := slices.Concat(slices.Sorted(maps.Keys(m.Services)), slices.Sorted(maps.Keys(m.Aliases)), []string{m.Gateway}, m.Domains)
	for _, d := range names {
		if isOnionName(d) {
			continue
		}
		gd.hidden = append(gd.hidden, d)
		if a, err := idna.ToASCII(d); err == nil && a != d { // as in the links to files
			gd.hidden = append(gd.hidden, a)
		}
	}
	slices.SortStableFunc(gd.hidden, func(a, b string) int { return len(a) - len(b) })
	gd.standIns = standIns(key, gd.hidden)
	return gd, nil
}

// PrivacyRules are the names of the rules that can be switched.
func PrivacyRules() (names []string) {
	for _, r := range rules {
		if r.name != strictRule && (r.egress != nil || r.ingress != nil || r.leaving != nil) {
			names = append(names, r.name)
		}
	}
	return names
}

// did counts that a rule which is not one for stanzas was at work: by a stream, or by a
// connection.
func (gd *guard) did(rule string) { gd.counts[rule].Add(1) }

// PrivacyCounts tells how many stanzas each rule changed or stopped, and how many streams or
// connections had to do with those that are not for stanzas. It is safe for concurrent use.
func (g *Gateway) PrivacyCounts() map[string]uint64 {
	counts := make(map[string]uint64, len(rules))
	for name, n := range g.guard.counts {
		counts[name] = n.Load()
	}
	return counts
}

// egress looks at a stanza that is on its way to a peer. If pass is false it goes no
// further, and err, if there is one, is for its sender.
func (gd *guard) egress(ctx context.Context, s *component.Stanza) (pass bool, err error) {
	gd.warn(s)
	return gd.look(ctx, s, gd.goingOut)
}

// leaving looks once more, after the addresses in the nodes were translated.
func (gd *guard) leaving(ctx context.Context, s *component.Stanza) (pass bool, err error) {
	return gd.look(ctx, s, gd.goneOut)
}

// ingress looks at a stanza that came from a peer, as egress does.
func (gd *guard) ingress(ctx context.Context, s *component.Stanza) (pass bool, err error) {
	gd.warn(s)
	return gd.look(ctx, s, gd.comingIn)
}

func (gd *guard) look(ctx context.Context, s *component.Stanza, checks []activeCheck) (bool, error) {
	husk, changed := isHusk(s), false
	for _, c := range checks {
		found := c.check(gd, s)
		if !found.hit {
			continue
		}
		changed = true
		c.count.Add(1)
		if found.say != nil {
			if err := gd.out.Send(ctx, found.say); err != nil {
				tell(gd.log, slog.LevelWarn, "an answer could not be sent", err)
			}
		}
		if found.err == nil && s.IsRequest() && s.Payload() == nil { // what it asks for was taken out
			found = unavailable()
		}
		if found.drop || found.err != nil {
			return false, found.err
		}
	}
	return !changed || husk || !isHusk(s), nil
}

// warn tells the admin, once, of encrypted content that readers will refuse.
func (gd *guard) warn(s *component.Stanza) {
	e := s.Child("urn:xmpp:omemo:2", "encrypted")
	if e.Child("urn:xmpp:omemo:2", "payload") == nil || len(gd.hidden) == 0 {
		return
	}
	gd.warned.Do(func() {
		gd.log.Warn("somebody uses OMEMO 2 (urn:xmpp:omemo:2) with an onion contact: it has addresses inside the encryption (XEP-0420), " +
			"which are not as the reader knows them, so the reader's client may refuse the message; the older OMEMO (0.3) has none")
	})
}

// base is the onion service that a host-side address is at, "" if it is none.
func (gd *guard) base(j jid.JID) string {
	o, err := gd.m.ToOnion(j)
	if err != nil {
		return ""
	}
	return gd.m.At(o.Domainpart())
}

// Findings that many checks have.

func changed(hit bool) finding { return finding{hit: hit} }

func refused(t stanza.ErrorType, c stanza.Condition, text string) finding {
	return finding{hit: true, err: component.NewError(t, c, text)}
}

func unavailable() finding { return refused(stanza.Cancel, stanza.ServiceUnavailable, "") }

func notFound() finding { return refused(stanza.Cancel, stanza.ItemNotFound, "") }

// withheld makes an error of a result that is on its way out.
func withheld(s *component.Stanza, c stanza.Condition) finding {
	s.Type, s.Nodes = "error", errorNodes(stanza.Cancel, c)
	return changed(true)
}

func errorNodes(t stanza.ErrorType, c stanza.Condition) []component.Node {
	e := component.NewElement(component.NSClient, "error").With("type", string(t))
	return []component.Node{e.Add(component.NewElement(component.NSStanzas, string(c))).Node()}
}
