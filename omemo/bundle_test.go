package omemo

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"filippo.io/edwards25519"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// An edit makes a good bundle, or what else, a bad one.
type edit func(f *Format, e *component.Element)

// in finds an element of a bundle: ik, spk, sig, prekeys, or pk, which is the first.
func in(f *Format, e *component.Element, part string) *component.Element {
	if part == "pk" {
		return e.Child(f.namespace, "prekeys").Child(f.namespace, f.preKey)
	}
	name := map[string]string{"ik": f.identityKey, "spk": f.signedPreKey, "sig": f.signature, "prekeys": "prekeys"}[part]
	return e.Child(f.namespace, name)
}

// octets changes what is in a part.
func octets(part string, change func(b []byte) []byte) edit {
	return func(f *Format, e *component.Element) {
		e = in(f, e, part)
		b, err := base64.StdEncoding.DecodeString(e.Text())
		if err != nil {
			panic(err)
		}
		e.SetText(base64.StdEncoding.EncodeToString(change(b)))
	}
}

func truncated(part string) edit {
	return octets(part, func(b []byte) []byte { return b[:len(b)-1] })
}

func longer(part string) edit { return octets(part, func(b []byte) []byte { return append(b, 1) }) }

func flip(part string, i int, bits byte) edit {
	return octets(part, func(b []byte) []byte { b[(i+len(b))%len(b)] ^= bits; return b })
}

func key(part string, k Key) edit {
	return func(f *Format, e *component.Element) {
		in(f, e, part).SetText(base64.StdEncoding.EncodeToString(f.encode(&k)))
	}
}

func id(part, value string) edit {
	return func(f *Format, e *component.Element) {
		attr := f.preKeyID
		if part == "spk" {
			attr = f.signedPreKeyID
		}
		in(f, e, part).SetAttr(attr, value)
	}
}

func text(part string, change func(s string) string) edit {
	return func(f *Format, e *component.Element) { e = in(f, e, part); e.SetText(change(e.Text())) }
}

func remove(part string) edit {
	return func(f *Format, e *component.Element) {
		c := in(f, e, part)
		e.Nodes = slices.DeleteFunc(e.Nodes, func(n component.Node) bool { return n.Element == c })
	}
}

func double(part string) edit {
	return func(f *Format, e *component.Element) { e.Add(in(f, e, part)) }
}

func preKeys(n int) edit {
	return func(f *Format, e *component.Element) {
		list := in(f, e, "prekeys")
		k := in(f, e, "pk").Text()
		list.Nodes = nil
		for i := range n {
			list.Add(component.NewElement(f.namespace, f.preKey, component.Text(k)).With(f.preKeyID, formatID(uint32(i+1))))
		}
	}
}

func rename(space, local string) edit {
	return func(f *Format, e *component.Element) { e.Name = xml.Name{Space: space, Local: local} }
}

// Every way for a bundle to be bad, in both formats: {ik} and so on are the names of its
// elements.
func TestBadBundles(t *testing.T) {
	noncanonical := lowOrder[4] // -1, to which 2 is added: the 1 above the prime
	noncanonical[0] += 2
	for _, c := range []struct {
		name  string
		edit  edit
		fault string
	}{
		{"wrong signature", flip("sig", 0, 1), "{sig} is not by {ik}"},
		{"signature of another key", key("spk", Key{9}), "{sig} is not by {ik}"},
		{"identity of somebody else", key("ik", func() (k Key) { copy(k[:], edwards25519.NewGeneratorPoint().Bytes()); return }()), "{sig} is not by {ik}"},
		{"truncated signature", truncated("sig"), "{sig} has 63 octets instead of 64"},
		{"longer signature", longer("sig"), "{sig} has 65 octets instead of 64"},
		{"truncated identity key", truncated("ik"), "{ik} has {len-1} octets instead of {len}"},
		{"truncated signed pre-key", truncated("spk"), "{spk} has {len-1} octets instead of {len}"},
		{"truncated pre-key", truncated("pk"), "{pk} has {len-1} octets instead of {len}"},
		{"longer pre-key", longer("pk"), "{pk} has "},
		{"a megabyte of pre-key", text("pk", func(string) string { return strings.Repeat("A", 1<<20) }), "{pk} has more than {len} octets"},
		{"no octets", text("pk", func(string) string { return "" }), "{pk} has 0 octets instead of {len}"},
		{"zero identity key", key("ik", Key{}), "{ik} is a key of low order"},
		{"low-order identity key", key("ik", Key{1}), "{ik} is a key of low order"},
		{"zero signed pre-key", key("spk", Key{}), "{spk} is a key of low order"},
		{"low-order signed pre-key", key("spk", lowOrder[2]), "{spk} is a key of low order"},
		{"zero pre-key", key("pk", Key{}), "{pk} {id} is a key of low order"},
		{"low-order pre-key", key("pk", lowOrder[3]), "{pk} {id} is a key of low order"},
		{"pre-key with another name", key("pk", noncanonical), "{pk} {id} is not in canonical form"},
		{"pre-key with an unused bit", flip("pk", -1, 0x80), "{pk} {id} is not in canonical form"},
		{"two pre-keys of one id", func(f *Format, e *component.Element) {
			list := in(f, e, "prekeys")
			list.Add(list.Child(f.namespace, f.preKey))
		}, "more than one {pk} with the id {id}"},
		{"pre-key 0", id("pk", "0"), "{pk} has an id that is not a number from 1 to 2147483647"},
		{"pre-key -1", id("pk", "-1"), "{pk} has an id that is not a number"},
		{"pre-key 2^31", id("pk", "2147483648"), "{pk} has an id that is not a number"},
		{"pre-key 2^64", id("pk", "18446744073709551617"), "{pk} has an id that is not a number"},
		{"pre-key one", id("pk", "one"), "{pk} has an id that is not a number"},
		{"pre-key 0x1", id("pk", "0x1"), "{pk} has an id that is not a number"},
		{"pre-key without id", func(f *Format, e *component.Element) { in(f, e, "pk").RemoveAttr(f.preKeyID) }, "{pk} has an id that is not a number"},
		{"signed pre-key -1", id("spk", "-1"), "{spk} has an id that is not a number"},
		{"signed pre-key 2^31", id("spk", "2147483648"), "{spk} has an id that is not a number"},
		{"no pre-keys", preKeys(0), "no one-time pre-keys"},
		{"a pre-key too many", preKeys(MaxPreKeys + 1), "more than 500 one-time pre-keys"},
		{"thousands of pre-keys", preKeys(9000), "more than 500 one-time pre-keys"},
		{"no identity key", remove("ik"), "there is no {ik}"},
		{"no signed pre-key", remove("spk"), "there is no {spk}"},
		{"no signature", remove("sig"), "there is no {sig}"},
		{"no list of pre-keys", remove("prekeys"), "there is no prekeys"},
		{"two identity keys", double("ik"), "more than one {ik}"},
		{"two signed pre-keys", double("spk"), "more than one {spk}"},
		{"two signatures", double("sig"), "more than one {sig}"},
		{"two lists of pre-keys", double("prekeys"), "more than one prekeys"},
		{"bad base64", text("ik", func(s string) string { return "-" + s[1:] }), "{ik} is not base64"},
		{"base64 without its end", text("sig", func(s string) string { return s[:len(s)-1] }), "{sig} is not base64"},
		{"base64 with bits to spare", text("sig", func(s string) string { return s[:len(s)-3] + "/==" }), "{sig} is not base64"},
		{"elements in a key", func(f *Format, e *component.Element) { in(f, e, "ik").Add(component.NewElement("urn:x", "x")) }, "{ik} has elements in it"},
		{"other namespace version", rename("urn:xmpp:omemo:1", "bundle"), "not a bundle of {ns}"},
		{"other element", rename(component.NSClient, "bundle"), "not a bundle of {ns}"},
		{"parts of another namespace", func(f *Format, e *component.Element) { in(f, e, "ik").Name.Space = "urn:xmpp:omemo:1" }, "there is no {ik}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, f := range formats {
				e := load(t, "testdata", name+"-bundle")
				pk := in(f, e, "pk").AttrValue(f.preKeyID)
				n := len(f.prefix) + 32
				fault := strings.NewReplacer("{ik}", f.identityKey, "{spk}", f.signedPreKey, "{sig}", f.signature, "{pk}", f.preKey,
					"{id}", pk, "{ns}", f.namespace, "{len}", formatID(uint32(n)), "{len-1}", formatID(uint32(n-1))).Replace(c.fault)
				c.edit(f, e)
				b, err := f.ParseBundle(e)
				assert.Nil(t, b, name)
				assert.ErrorContains(t, err, "omemo: "+fault, name)
			}
		})
	}
}

func TestBadBundlesOfOneFormat(t *testing.T) {
	for _, c := range []struct {
		name  string
		f     *Format
		edit  edit
		fault string
	}{
		{"identity key without prefix", Legacy, flip("ik", 0, 1), "identityKey does not begin with 05"},
		{"signed pre-key without prefix", Legacy, flip("spk", 0, 1), "signedPreKeyPublic does not begin with 05"},
		{"pre-key without prefix", Legacy, flip("pk", 0, 0x80), "preKeyPublic does not begin with 05"},
		{"sign of the identity key", Legacy, flip("sig", -1, 0x80), "signedPreKeySignature is not by identityKey"},
		{"sign of the identity key", OMEMO2, flip("sig", -1, 0x80), "spks is not by ik"},
		{"identity key off the curve", Legacy, key("ik", Key{2}), "signedPreKeySignature is not by identityKey"},
		{"identity key off the curve", OMEMO2, key("ik", Key{2}), "ik is not a key of Ed25519"},
		{"identity key with another name", OMEMO2, key("ik", Key{1, 31: 0x80}), "ik is not in canonical form"},
		{"signed pre-key 0", OMEMO2, id("spk", "0"), "spk has an id that is not a number from 1 to"},
		{"prefix", OMEMO2, octets("pk", func(b []byte) []byte { return append([]byte{5}, b...) }), "pk has 33 octets instead of 32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := map[*Format]string{Legacy: "legacy", OMEMO2: "omemo2"}[c.f]
			e := load(t, "testdata", name+"-bundle")
			c.edit(c.f, e)
			_, err := c.f.ParseBundle(e)
			assert.ErrorContains(t, err, "omemo: "+c.fault)
		})
	}
	_, err := Legacy.ParseBundle(load(t, "testdata", "omemo2-bundle"))
	assert.EqualError(t, err, "omemo: not a bundle of eu.siacs.conversations.axolotl")
	_, err = OMEMO2.ParseBundle(nil)
	assert.EqualError(t, err, "omemo: not a bundle of urn:xmpp:omemo:2")
}

// A program cannot make a bad bundle either: Verify knows what the wire cannot carry.
func TestVerify(t *testing.T) {
	for name, f := range formats {
		identity := newSigner(t, f)
		require.NoError(t, newBundle(t, f, identity, MaxPreKeys).Verify(), name)
		for _, c := range []struct {
			preKeys int
			change  func(b *Bundle)
			fault   string
		}{
			{1, func(b *Bundle) { b.SignedPreKey.ID = maxID + 1 }, f.signedPreKey + " has an id"},
			{1, func(b *Bundle) { b.PreKeys[0].ID = maxID + 1 }, f.preKey + " has an id"},
			{0, func(b *Bundle) {}, "no one-time pre-keys"},
			{MaxPreKeys + 1, func(b *Bundle) {}, "more than 500 one-time pre-keys"},
		} {
			b := newBundle(t, f, identity, c.preKeys)
			c.change(b)
			assert.ErrorContains(t, b.Verify(), "omemo: "+c.fault, name)
		}
	}
}

// Both signs of an XEdDSA key are taken, and 0 as the id of a signed pre-key.
func TestLegacySigns(t *testing.T) {
	for signs := map[byte]bool{}; len(signs) < 2; {
		b := newBundle(t, Legacy, newSigner(t, Legacy), 1)
		b.SignedPreKey.ID = 0
		again, err := Legacy.ParseBundle(b.Element())
		require.NoError(t, err)
		assert.Equal(t, b, again)
		signs[b.Signature[63]>>7] = true
	}
}

// With an identity key of low order anybody can sign anything, so the signature is right,
// but the bundle is not.
func TestForgery(t *testing.T) {
	b := newBundle(t, OMEMO2, newSigner(t, OMEMO2), 1)
	b.IdentityKey = Key{1}
	b.Signature = Signature{32: 1}
	copy(b.Signature[:], edwards25519.NewGeneratorPoint().Bytes())
	require.True(t, OMEMO2.signed(&b.IdentityKey, b.SignedPreKey.Key[:], &b.Signature))
	assert.EqualError(t, b.Verify(), "omemo: ik is a key of low order")
}

// The table of keys of low order is right: X25519 has the same result with all of them.
// Their other forms are refused as well.
func TestLowOrder(t *testing.T) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	other := []Key{lowOrder[4], lowOrder[4]} // the prime, which is 0, and the 1 above
	other[0][0]++
	other[1][0] += 2
	for i, k := range append(lowOrder[:], other...) {
		public, err := ecdh.X25519().NewPublicKey(k[:])
		require.NoError(t, err)
		_, err = private.ECDH(public)
		assert.ErrorContains(t, err, "low order", i)
		assert.NotEmpty(t, curve25519Fault(&k), i)
		k[31] |= 0x80
		assert.Equal(t, notCanonical, curve25519Fault(&k), i)
	}
	good := newKey(t)
	assert.Empty(t, curve25519Fault(&good))
}

// What clients write in other ways is read, and what is unknown is left out.
func TestTolerance(t *testing.T) {
	for name, f := range formats {
		e := load(t, "testdata", name+"-bundle")
		want, err := f.ParseBundle(e)
		require.NoError(t, err)
		for _, part := range []string{"ik", "spk", "sig", "pk"} {
			text(part, func(s string) string { return "\r\n\t " + s[:20] + "\n  " + s[20:] + " " })(f, e)
		}
		in(f, e, "pk").SetAttr("x", "y")
		in(f, e, "prekeys").Add(component.NewElement("urn:x", f.preKey))
		e.Add(component.NewElement("urn:x", f.identityKey))
		e.Nodes = append(e.Nodes, component.Text("?"))
		slices.Reverse(e.Nodes)
		got, err := f.ParseBundle(e)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
}

func TestWarnings(t *testing.T) {
	for name, f := range formats {
		b := newBundle(t, f, newSigner(t, f), f.fewPreKeys)
		assert.Empty(t, b.Warnings(), name)
		b.PreKeys = b.PreKeys[1:]
		require.NoError(t, b.Verify())
		require.Len(t, b.Warnings(), 1, name)
		assert.Contains(t, b.Warnings()[0], "few one-time pre-keys")
	}
}
