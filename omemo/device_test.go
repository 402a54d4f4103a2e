package omemo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// devices makes a list with devices as they are written.
func devices(f *Format, written string) string {
	return "<" + f.list + " xmlns='" + f.namespace + "'>" + written + "</" + f.list + ">"
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("<device id='" + formatID(uint32(i+1)) + "'/>")
	}
	return b.String()
}

// Every way for a device list to be bad.
func TestBadDevices(t *testing.T) {
	const outOfRange = "device has an id that is not a number from 1 to 2147483647"
	for _, c := range []struct{ name, devices, fault string }{
		{"device 0", "<device id='0'/>", outOfRange},
		{"device -1", "<device id='-1'/>", outOfRange},
		{"device 2^31", "<device id='2147483648'/>", outOfRange},
		{"device 2^32+1", "<device id='4294967297'/>", outOfRange},
		{"no id", "<device/>", outOfRange},
		{"markup as id", "<device id='&lt;b>'/>", outOfRange},
		{"one device twice", "<device id='5'/><device id='3'/><device id='5'/>", "more than one device with the id 5"},
		{"a device too many", many(MaxDevices + 1), "more than 256 devices"},
		{"thousands of devices", many(9000), "more than 256 devices"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, f := range formats {
				l, err := f.ParseDevices(parse(t, devices(f, c.devices)))
				assert.Nil(t, l, name)
				assert.EqualError(t, err, "omemo: "+c.fault, name)
			}
		})
	}
	for _, c := range []struct{ name, label, fault string }{
		{"markup", "&lt;img src=x>", "has markup in it"},
		{"markup in CDATA's manner", "a&#60;/b", "has markup in it"},
		{"line feed", "a&#10;b", "has control characters in it"},
		{"C1 control", "a&#x9b;31m", "has control characters in it"},
		{"length", strings.Repeat("ü", MaxLabelLen+1), "is too long"},
	} {
		t.Run("label: "+c.name, func(t *testing.T) {
			_, err := OMEMO2.ParseDevices(parse(t, devices(OMEMO2, "<device id='5' label='"+c.label+"'/>")))
			assert.EqualError(t, err, "omemo: the label of device 5 "+c.fault)
		})
	}
	for _, in := range []string{
		"<devices xmlns='urn:xmpp:omemo:1'/>", "<list xmlns='urn:xmpp:omemo:2'/>",
		"<devices xmlns='eu.siacs.conversations.axolotl'/>", "<bundle xmlns='urn:xmpp:omemo:2'/>",
	} {
		for _, f := range formats {
			_, err := f.ParseDevices(parse(t, in))
			assert.EqualError(t, err, "omemo: not a device list of "+f.namespace, in)
		}
	}
	_, err := Legacy.ParseDevices(nil)
	assert.Error(t, err)
}

func TestDevices(t *testing.T) {
	for name, f := range formats {
		for _, n := range []int{0, 1, MaxDevices} {
			l, err := f.ParseDevices(parse(t, devices(f, "\n<x xmlns='urn:x' id='1'/>"+many(n))))
			require.NoError(t, err, name)
			require.Len(t, l.Devices, n, name)
			again, err := f.ParseDevices(l.Element())
			require.NoError(t, err, name)
			assert.Equal(t, l, again, name)
		}
		l := &DeviceList{f, []Device{{ID: maxID + 1}}}
		assert.ErrorContains(t, l.Verify(), "device has an id", name)
		l = &DeviceList{f, make([]Device, MaxDevices+1)}
		assert.ErrorContains(t, l.Verify(), "more than 256 devices", name)
		l = &DeviceList{f, []Device{{ID: 1, Label: "\xff"}}}
		assert.ErrorContains(t, l.Verify(), "label", name)
	}
	l := &DeviceList{Legacy, []Device{{ID: 1, Label: "phone"}}}
	assert.EqualError(t, l.Verify(), "omemo: the label of device 1 is not of eu.siacs.conversations.axolotl")
}

// Only a label that its device has signed stays.
func TestLabels(t *testing.T) {
	identity, other := newSigner(t, OMEMO2), newSigner(t, OMEMO2)
	const label = "Jülia's \"phone\" & 👩‍💻"
	by := func(s signer) Signature { return s.sign([]byte(label)) }
	l := &DeviceList{OMEMO2, []Device{
		{1, label, by(identity)},
		{2, label, by(other)},
		{3, label + " ", by(identity)},
		{4, label, by(identity)}, // whose bundle is not known
		{ID: 5},
	}}
	require.NoError(t, l.Verify())
	again, err := OMEMO2.ParseDevices(l.Element())
	require.NoError(t, err)
	require.Equal(t, l, again)
	again.VerifyLabels(func(id uint32) (Key, bool) { return identity.public, id != 4 })
	assert.Equal(t, &DeviceList{OMEMO2, []Device{l.Devices[0], {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}}}, again)

	// A label that cannot have been signed is not read at all.
	sig := strings.Repeat("A", 86) + "=="
	for _, f := range formats {
		l, err := f.ParseDevices(parse(t, devices(f, `<device id="1" label="a"/><device id="2" label="a" labelsig="AAAA"/><device id="3" labelsig="`+sig+`"/>`)))
		require.NoError(t, err)
		assert.Equal(t, &DeviceList{f, []Device{{ID: 1}, {ID: 2}, {ID: 3}}}, l)
	}
	// Legacy has no labels.
	l, err = Legacy.ParseDevices(parse(t, devices(Legacy, `<device id="1" label="&lt;b>" labelsig="`+sig+`"/>`)))
	require.NoError(t, err)
	assert.Equal(t, &DeviceList{Legacy, []Device{{ID: 1}}}, l)
}

// The publisher gets the error that fits, and the reason.
func TestAnswer(t *testing.T) {
	publish := func(kind string) *component.Stanza {
		s, err := component.ParseStanza(parse(t, `<iq type='`+kind+`' id='1' from='a@b/c' to='d@e'><pubsub xmlns='http://jabber.org/protocol/pubsub'/></iq>`))
		require.NoError(t, err)
		return s
	}
	for _, c := range []struct{ devices, want string }{
		{"<device id='0'/>", `<error type='modify'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>` +
			`<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>device has an id that is not a number from 1 to 2147483647</text>` +
			`<invalid-payload xmlns='http://jabber.org/protocol/pubsub#errors'/></error>`},
		{many(MaxDevices + 1), `<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>` +
			`<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>more than 256 devices</text>` +
			`<payload-too-big xmlns='http://jabber.org/protocol/pubsub#errors'/></error>`},
	} {
		_, err := Legacy.ParseDevices(parse(t, devices(Legacy, c.devices)))
		var bad *Error
		require.ErrorAs(t, err, &bad)
		assert.Equal(t, c.want, bad.Answer(publish("set")).Child(component.NSClient, "error").String())
		assert.Nil(t, bad.Answer(publish("result")))
	}
}
