package muc

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// typesOf are types of all kinds of stanzas, and one of none, which a stranger can put on any.
var typesOf = []string{"", "get", "set", "result", "error", "normal", "chat", "groupchat", "headline", "available", "unavailable",
	"subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "invisible"}

// XEP-0045 §6.4, §10.1.1, RFC 6120 §8.3.1: no type, on whatever kind of stanza it stands, tells
// a stranger if there is a room. A result is one of an IQ alone.
func TestHiddenWhateverTheType(t *testing.T) {
	for _, kind := range []string{"encrypted", "hidden"} {
		w := newWorld(t, func(o *Options) {
			o.DefaultKind = kind
			o.MayCreate = func(bare jid.JID) bool { return bare.Domainpart() == "shakespeare.lit" }
		})
		w.open(crone1, "hidden", "firstwitch")
		w.enter(crone1, "locked", "firstwitch")
		for _, stanza := range []string{"message", "presence", "iq"} {
			for _, typ := range typesOf {
				for _, to := range []string{"%s", "%s/firstwitch", "%s/nobody"} {
					for _, id := range []string{"", " id='1.1'"} {
						for _, payload := range []string{"", "<ping xmlns='urn:xmpp:ping'/>"} {
							xml := fmt.Sprintf("<%s type='%s'%s from='stranger@x.lit/a' to='%s'>%s</%s>", stanza, typ, id, to, payload, stanza)
							nothing := answered(w, xml, "nothing")
							require.Equal(t, nothing, answered(w, xml, "hidden"), "%s: %s", kind, xml)
							require.Equal(t, nothing, answered(w, xml, "locked"), "%s: %s", kind, xml)
						}
					}
				}
			}
		}
	}
}
