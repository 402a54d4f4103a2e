package onionroute

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// XEP-0203 §3: a message that waited says since when and where; in a room not where, since
// who reads it may not know where its author is.
func TestLateItem(t *testing.T) {
	for typ, want := range map[string]string{
		"chat":      "<message><body>hi</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-02T03:04:05Z' from='i.onion'/></message>",
		"groupchat": "<message><body>hi</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-02T03:04:05Z'/></message>",
	} {
		it := newItem(&component.Stanza{Kind: component.Message, Type: typ, From: jid.MustParse("alice@a.example"), To: jid.MustParse("bob@b.example")},
			testX, pair{}, []byte("<message><body>hi</body></message>"))
		assert.Equal(t, "<message><body>hi</body></message>", string(it.appendXML(nil, "i.onion", &times{late: time.Minute})))
		it.since = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		assert.Equal(t, want, string(it.appendXML(nil, "i.onion", &times{late: time.Minute})))
	}
}
