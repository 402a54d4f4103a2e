package omemo

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// keyIn is the element with what is for the device in a message of OMEMO2.
func keyIn(e *component.Element) *component.Element {
	return e.Child(NSOMEMO2, "header").Child(NSOMEMO2, "keys").Child(NSOMEMO2, "key")
}

// state is all that is kept of pre-keys and sessions.
func (o *own) state() []string {
	o.t.Helper()
	tx, err := o.db.Begin()
	require.NoError(o.t, err)
	defer tx.Rollback()
	rows, err := column[string](tx, "SELECT id || hex(private) FROM prekey UNION ALL SELECT jid || device || hex(record) FROM session ORDER BY 1")
	require.NoError(o.t, err)
	return rows
}

// Whatever octet of a message is another, or of a key exchange, it is refused, and all stays
// as it is.
func TestReportFlipped(t *testing.T) {
	o := newOwn(t)
	k := o.begin(OMEMO2)
	for _, exchange := range []bool{true, false} {
		m := k.hello()
		key := keyIn(m)
		assert.Equal(t, exchange, key.AttrValue("kex") == "true")
		before, good := o.state(), key.Text()
		octets, err := base64.StdEncoding.DecodeString(good)
		require.NoError(t, err)
		for i := range octets {
			octets[i] ^= 1 << (i % 8)
			key.SetText(base64.StdEncoding.EncodeToString(octets))
			o.refuses(m, "octet %d", i)
			octets[i] ^= 1 << (i % 8)
		}
		assert.Equal(t, before, o.state())
		key.SetText(good)
		k.reports(o.tell(alice, m))
	}
}

// Messages are read in any order, each once, also those of an earlier turn of the ratchet; and
// so are the answers.
func TestReportOrder(t *testing.T) {
	o := newOwn(t)
	k := o.begin(OMEMO2)
	var late []*component.Element
	for turn := range 3 {
		var messages []*component.Element
		for range 5 {
			messages = append(messages, k.hello())
		}
		var answers []*component.Stanza
		for _, i := range []int{3, 1, 4, 2} {
			answers = append(answers, o.tell(alice, messages[i]))
			o.refuses(messages[i], "message %d of turn %d a second time", i, turn)
		}
		late = append(late, messages[0])
		for _, i := range []int{2, 0, 3, 1} {
			k.reports(answers[i])
		}
	}
	for _, m := range late {
		k.reports(o.tell(alice, m))
		o.refuses(m)
	}
}

// A new session replaces the old one of the same device, and what was of the old one is
// nothing any more. Another device has a session of its own.
func TestReportReplaced(t *testing.T) {
	o := newOwn(t)
	first := o.begin(OMEMO2)
	first.reports(o.tell(alice, first.hello()))
	other := o.begin(OMEMO2) // with another one-time pre-key
	other.reports(o.tell(alice, other.hello()))
	old := first.hello()
	second := o.begin(OMEMO2)
	m := second.hello()
	m.Child(NSOMEMO2, "header").SetAttr("sid", formatID(first.device))
	require.Equal(t, "chat", o.tell(alice, m).Type)
	o.refuses(old)
	other.reports(o.tell(alice, other.hello()))
}

// What the envelope says of the message must be true of it.
func TestReportEnvelope(t *testing.T) {
	o := newOwn(t)
	k := o.begin(OMEMO2)
	now := time.Now()
	stamp := func(at time.Time) string { return "<time stamp='" + at.Format(time.RFC3339) + "'/>" }
	for plain, good := range map[string]bool{
		envelope(""): true,
		envelope("<from jid='alice@example.org'/><to jid='" + gateway + "'/>"):                   true,
		envelope(stamp(now.UTC()) + stamp(now.In(time.FixedZone("", 7*3600)))):                   true,
		envelope("<time stamp='" + now.UTC().Format("2006-01-02T15:04:05.000Z") + "'/><other/>"): true,
		envelope("<from jid='bob@example.org'/>"):                                                false,
		envelope("<from jid='alice@example.org'/><from jid='bob@example.org'/>"):                 false,
		envelope("<from/>"):                      false,
		envelope("<to jid='example.org'/>"):      false,
		envelope(stamp(now.Add(-2 * time.Hour))): false,
		envelope(stamp(now.Add(2 * time.Hour))):  false,
		envelope("<time stamp='now'/>"):          false,
		envelope("") + envelope(""):              false,
		envelope("") + "x":                       false,
		envelope("")[:40]:                        false,
		"hello":                                  false,
		"<content xmlns='urn:xmpp:sce:1'/>":      false,
		"<envelope xmlns='urn:xmpp:sce:1'/>":     false,
		"<envelope xmlns='urn:xmpp:sce:0'><content><body xmlns='jabber:client'/></content></envelope>": false,
	} {
		m := k.message(plain)
		if !good {
			o.refuses(m, plain)
			continue
		}
		k.reports(o.tell(alice, m))
	}
	assert.Contains(t, o.tell(alice, k.message(envelope(stamp(now.Add(-2*time.Hour))))).String(), "clock")
}

// A message without a text is answered only when the device that wrote it has to know that its
// session has begun, or has to turn the ratchet.
func TestReportSilence(t *testing.T) {
	silent := "<envelope xmlns='urn:xmpp:sce:1'><content><composing xmlns='http://jabber.org/protocol/chatstates'/></content><rpad/></envelope>"
	for _, plain := range []string{"", silent} {
		o := newOwn(t)
		k := o.begin(OMEMO2)
		assert.Nil(t, k.reads(o.tell(alice, k.message(plain))))
		for range 53 {
			assert.Nil(t, o.tell(alice, k.message(plain)))
		}
		answer := o.tell(alice, k.message(plain))
		assert.Nil(t, k.reads(answer))
		assert.Nil(t, answer.Child(NSOMEMO2, "encrypted").Child(NSOMEMO2, "payload"))
		assert.Nil(t, o.tell(alice, k.message(plain)), "it has turned")
		k.reports(o.tell(alice, k.hello()))
	}
}

// A payload is read only with the key and the HMAC that are of it.
func TestReportPayload(t *testing.T) {
	c := &channel2{o: newOwn(t).OwnDevice, us: jid.MustParse(gateway), them: jid.MustParse(alice)}
	key := make([]byte, 32)
	k, err := newCBC(key, "OMEMO Payload")
	require.NoError(t, err)
	sealed, err := k.seal([]byte(envelope("")))
	require.NoError(t, err)
	payload := OMEMO2.text("payload", sealed)
	mac := k.mac(sealed)
	said, err := c.read(append(key, mac...), payload)
	require.NoError(t, err)
	assert.True(t, said)
	for i := range mac {
		mac[i] ^= 1
		_, err = c.read(append(key, mac...), payload)
		assert.ErrorContains(t, err, "not authentic")
		mac[i] ^= 1
	}
	_, err = c.read(append(key, mac[1:]...), payload)
	assert.ErrorContains(t, err, "length")
	_, err = c.read(key, payload)
	assert.ErrorContains(t, err, "length")
}
