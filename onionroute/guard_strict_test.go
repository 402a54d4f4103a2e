package onionroute

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"mellium.im/xmpp/stanza"
)

const (
	olderKeys = "<items node='eu.siacs.conversations.axolotl.%s'><item id='current'/></items>"
	newerKeys = "<items node='urn:xmpp:omemo:2:%s'><item id='current'/></items>"
)

// strictPasses has something to show of each entry of the strict level's lists, and what
// passes without one, as "".
var strictPasses = []struct {
	table   []string
	out, in []func(string) string
	shown   map[string][]string
}{
	{strictMessage, []func(string) string{msg}, []func(string) string{inMsg}, map[string][]string{
		"": {"<subject>look</subject>", "<thread>1</thread>"},

		"urn:xmpp:message-correct:0":          {"<replace xmlns='urn:xmpp:message-correct:0' id='1'/>"},
		"urn:xmpp:message-retract:":           {"<retract xmlns='urn:xmpp:message-retract:0' id='1'/>", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>"},
		"urn:xmpp:message-moderate:":          {"<moderate xmlns='urn:xmpp:message-moderate:0'/>", "<moderated xmlns='urn:xmpp:message-moderate:1' by='{B}'/>"},
		"urn:xmpp:reactions:0":                {"<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>+</reaction></reactions>"},
		"urn:xmpp:reply:0":                    {"<reply xmlns='urn:xmpp:reply:0' to='{B}' id='1'/>"},
		"urn:xmpp:fallback:0":                 {"<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='1'/></fallback>"},
		"urn:xmpp:receipts":                   {"<request xmlns='urn:xmpp:receipts'/>", "<received xmlns='urn:xmpp:receipts' id='1'/>"},
		"eu.siacs.conversations.axolotl":      {"<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/><payload>AA==</payload></encrypted>"},
		"urn:xmpp:omemo:":                     {"<encrypted xmlns='urn:xmpp:omemo:1'><header sid='1'/></encrypted>", "<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'/></encrypted>"},
		"urn:xmpp:eme:0":                      {"<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/>"},
		"urn:xmpp:hints":                      {"<store xmlns='urn:xmpp:hints'/>"},
		"jabber:x:conference":                 {"<x xmlns='jabber:x:conference' jid='{B}'/>"},
		"urn:xmpp:occupant-id:0":              {"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='1'/>"},
		"urn:xmpp:sid:0":                      {"<origin-id xmlns='urn:xmpp:sid:0' id='1'/>", "<stanza-id xmlns='urn:xmpp:sid:0' by='{B}' id='1'/>"},
		"urn:xmpp:delay":                      {"<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"},
		"http://jabber.org/protocol/ibb":      {"<data xmlns='http://jabber.org/protocol/ibb' sid='1' seq='0'>AA==</data>"},
		"http://jabber.org/protocol/muc#user": {"<x xmlns='http://jabber.org/protocol/muc#user'><invite to='{B}'><reason>look</reason></invite></x>"},
		"http://jabber.org/protocol/pubsub#event": {
			"<event xmlns='http://jabber.org/protocol/pubsub#event'>" + strings.Replace(olderKeys, "%s", "devicelist", 1) + "</event>",
			"<event xmlns='http://jabber.org/protocol/pubsub#event'>" + strings.Replace(newerKeys, "%s", "devices", 1) + "</event>"},
	}},
	{strictPresence, []func(string) string{pres}, []func(string) string{inPres}, map[string][]string{
		"http://jabber.org/protocol/muc":      {"<x xmlns='http://jabber.org/protocol/muc'><password>a</password></x>"},
		"http://jabber.org/protocol/muc#user": {"<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' role='participant'/></x>"},
		"urn:xmpp:occupant-id:0":              {"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='1'/>"},
		"http://jabber.org/protocol/caps":     {commonCaps.String()},
	}},
	{strictIQ, []func(string) string{get, set, result}, []func(string) string{inAsk, inAnswer}, map[string][]string{
		"": {
			"<pubsub xmlns='http://jabber.org/protocol/pubsub'>" + strings.Replace(olderKeys, "%s", "bundles:1", 1) + "</pubsub>",
			"<pubsub xmlns='http://jabber.org/protocol/pubsub'>" + strings.Replace(newerKeys, "%s", "bundles", 1) + "</pubsub>"},

		"urn:xmpp:ping":                         {"<ping xmlns='urn:xmpp:ping'/>"},
		"http://jabber.org/protocol/ibb":        {"<open xmlns='http://jabber.org/protocol/ibb' sid='1' block-size='4096'/>", "<data xmlns='http://jabber.org/protocol/ibb' sid='1' seq='0'>AA==</data>", "<close xmlns='http://jabber.org/protocol/ibb' sid='1'/>"},
		"http://jabber.org/protocol/disco#info": {clientInfo("").String()},
		"http://jabber.org/protocol/muc#admin":  {"<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member'/></query>"},
		"http://jabber.org/protocol/muc#owner":  {"<query xmlns='http://jabber.org/protocol/muc#owner'/>"},
	}},
	// Errors and empty results.
	{nil, []func(string) string{failed, fault}, nil, map[string][]string{"": {noItem}}},
	{nil, []func(string) string{result}, []func(string) string{inAnswer}, map[string][]string{"": {""}}},
}

// What is on the strict level's list passes as it is, both ways; and there is nothing on the
// list but this.
func TestGuardStrict(t *testing.T) {
	for _, l := range strictPasses {
		want := slices.DeleteFunc(slices.Collect(maps.Keys(l.shown)), func(entry string) bool { return entry == "" })
		assert.ElementsMatch(t, want, l.table)
		for _, payload := range slices.Concat(slices.Collect(maps.Values(l.shown))...) {
			for _, w := range l.out {
				assertPasses(t, cross{rule: strictRule, in: w(payload)})
			}
			for _, w := range l.in {
				assertPasses(t, inward(cross{rule: strictRule, in: w(payload)}))
			}
		}
	}
}

// What is left of a request when the other rules are through can be nothing.
func TestGuardStrictEmpty(t *testing.T) {
	for _, payload := range []string{"<c xmlns='urn:xmpp:caps'/>", "<delay xmlns='urn:xmpp:delay' stamp='noon'/>"} {
		_, got, err := cross{in: get(payload)}.run(t, Privacy{Strict: true})
		assert.Empty(t, got)
		assert.ErrorIs(t, err, stanza.Error{Condition: stanza.ServiceUnavailable})
	}
}

// strictCrossings are of what passes at the standard level alone.
var strictCrossings = func() (all []cross) {
	const body, thread = "<body>look</body>", "<thread>1</thread>"
	const nick = "<items node='http://jabber.org/protocol/nick'/>"
	for _, payload := range []string{
		"<composing xmlns='http://jabber.org/protocol/chatstates'/>",
		"<markable xmlns='urn:xmpp:chat-markers:0'/>",
		"<attention xmlns='urn:xmpp:attention:0'/>",
		"<nick xmlns='http://jabber.org/protocol/nick'>ana</nick>",
		"<addresses xmlns='http://jabber.org/protocol/address'/>",
		"<forwarded xmlns='urn:xmpp:forward:0'/>",
		"<x xmlns='jabber:x:data' type='submit'/>",
		"<html xmlns='http://jabber.org/protocol/xhtml-im'/>",
		"<spoiler xmlns='urn:xmpp:spoiler:0'/>",
		"<hats xmlns='urn:xmpp:hats:0'/>",
		"<body xmlns='urn:x'>look</body>",
		"<status>here</status>",
		"beside",
		"<event xmlns='http://jabber.org/protocol/pubsub#event'>" + nick + "</event>",
		"<event xmlns='http://jabber.org/protocol/pubsub#event'>" + strings.Replace(olderKeys, "%s", "devicelist", 1) + nick + "</event>",
	} {
		all = append(all, part(msg, strictRule, body+payload+thread, body+thread), inward(part(inMsg, strictRule, body+payload+thread, body+thread)))
	}
	all = append(all, inward(part(inMsg, strictRule, body+"<event xmlns='http://jabber.org/protocol/pubsub#event'/>", body)))
	const muc = "<x xmlns='http://jabber.org/protocol/muc'/>"
	for _, payload := range []string{
		"<show>away</show>", "<status>here</status>", "<priority>1</priority>", body,
		"<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>",
		"<nick xmlns='http://jabber.org/protocol/nick'>ana</nick>",
		"<x xmlns='vcard-temp:x:update'/>",
		"<x xmlns='jabber:x:signed'>AA==</x>",
		"<hats xmlns='urn:xmpp:hats:0'/>",
	} {
		all = append(all, part(pres, strictRule, payload+muc, muc), inward(part(inPres, strictRule, payload+muc, muc)))
	}
	for _, payload := range []string{
		"<query xmlns='http://jabber.org/protocol/disco#items'/>",
		"<query xmlns='jabber:iq:search'/>",
		"<query xmlns='urn:xmpp:mam:2'/>",
		"<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>",
		"<data xmlns='urn:xmpp:bob' cid='1'/>",
		"<request xmlns='urn:xmpp:http:upload:0' filename='a' size='1'/>",
		"<pubsub xmlns='http://jabber.org/protocol/pubsub'>" + nick + "</pubsub>",
	} {
		all = append(all, stopped(get, strictRule, payload, stanza.ServiceUnavailable), inward(stopped(inAsk, strictRule, payload, stanza.ServiceUnavailable)))
	}
	for _, payload := range []string{
		"<pubsub xmlns='http://jabber.org/protocol/pubsub'/>",
		"<query xmlns='jabber:iq:version'/>",
		"<time xmlns='urn:xmpp:time'/>",
		"<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>" + strings.Replace(olderKeys, "%s", "devicelist", 1) + "</pubsub>",
	} {
		all = append(all, stopped(get, strictRule, payload, stanza.ServiceUnavailable))
	}
	for _, payload := range []string{"<query xmlns='urn:xmpp:mam:2'/>", "<pubsub xmlns='http://jabber.org/protocol/pubsub'>" + nick + "</pubsub>"} {
		all = append(all, cross{rule: strictRule, in: result(payload), out: failed(noService), off: result(payload)})
	}
	return all
}()
