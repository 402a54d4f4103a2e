package muc

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

const (
	getVCard = "<vCard xmlns='vcard-temp'/>"
	// The SHA-1 hashes of "picture one" and "picture two", by sha1sum.
	hashOne = "62ae73c50371eb4b22136d38017f46a5cc9d4bf8"
	hashTwo = "396d2a31e215fcc04a8ddcebfc1df2ccc3f1568b"
)

func photo(data string) string {
	return "<PHOTO><TYPE>image/png</TYPE><BINVAL>" + base64.StdEncoding.EncodeToString([]byte(data)) + "</BINVAL></PHOTO>"
}

// avatarHashes are what a room tells of its pictures (XEP-0486 §3.3); nil if it tells nothing.
func avatarHashes(w *world) []string {
	w.t.Helper()
	q := w.get(macbeth, "coven", "<query xmlns='"+component.NSDiscoInfo+"'/>").Payload()
	form := component.ParseForm(q.Child(component.NSData, "x"))
	require.Equal(w.t, NSRoomInfo, form.FormType)
	v, _ := form.Values("muc#roominfo_avatarhash")
	return v
}

// XEP-0486 §3: owners set the picture, everybody gets it, the room tells its hash.
func TestAvatar(t *testing.T) {
	w := newCoven(t)
	require.Nil(t, avatarHashes(w))
	require.Equal(t, "cancel/item-not-found", condition(w.get(macbeth, "coven", getVCard)), "never set")
	card := "<vCard xmlns='vcard-temp'>" + photo("picture one") + "</vCard>"
	out := w.set(crone1, "coven", card)
	require.Equal(t, "result", out[0].Type)
	require.Equal(t, []string{"104"}, notices(out, crone1))
	require.Equal(t, []string{"104"}, notices(out, hag))
	require.Equal(t, []string{hashOne}, avatarHashes(w))
	require.Equal(t, card, w.get(macbeth, "coven", getVCard).Payload().String(), "also from outside")
	w.restart()
	require.Equal(t, []string{hashOne}, avatarHashes(w))
	require.Equal(t, card, w.get(hag, "coven", getVCard).Payload().String())
}

// XEP-0486 §5.1: of several pictures all hashes.
func TestSeveralAvatars(t *testing.T) {
	w := newCoven(t)
	w.did(w.set(crone1, "coven", "<vCard xmlns='vcard-temp'><FN>Coven</FN>"+photo("picture one")+"<PHOTO/>"+photo("picture two")+"</vCard>"), crone1)
	require.Equal(t, []string{hashOne, hashTwo}, avatarHashes(w))
}

// XEP-0486 §3.2: an empty vCard takes the picture away, and is one.
func TestNoAvatarAnyMore(t *testing.T) {
	w := newCoven(t)
	w.did(w.set(crone1, "coven", "<vCard xmlns='vcard-temp'>"+photo("picture one")+"</vCard>"), crone1)
	w.did(w.set(crone1, "coven", getVCard), crone1)
	require.Nil(t, avatarHashes(w))
	s := w.get(hag, "coven", getVCard)
	require.Equal(t, "result", s.Type)
	require.Empty(t, s.Payload().Nodes)
}

// XEP-0486 §3.2: who is no owner sets none, and what is no picture is none.
func TestAvatarRefused(t *testing.T) {
	w := newCoven(t)
	w.grant(bare(crone2), "admin")
	for _, who := range []string{crone2, hag, macbeth} {
		w.refused(w.set(who, "coven", getVCard), who, "auth/forbidden")
	}
	w.refused(w.set(crone1, "coven", "<vCard xmlns='vcard-temp'><PHOTO><BINVAL>?</BINVAL></PHOTO></vCard>"), crone1, "modify/bad-request")
	require.Equal(t, "cancel/item-not-found", condition(w.get(hag, "coven", getVCard)))
}

// XEP-0486 §3.1: the service and the room say that they can.
func TestAvatarIsAnnounced(t *testing.T) {
	w := newCoven(t)
	for _, at := range []string{domain, "coven@" + domain} {
		s := w.only(w.send("<iq type='get' id='1' from='"+hag+"' to='"+at+"'><query xmlns='"+component.NSDiscoInfo+"'/></iq>"), hag)
		require.Contains(t, s.String(), "<feature var='vcard-temp'/>")
	}
	s := w.only(w.send("<iq type='get' id='1' from='"+hag+"' to='"+domain+"'>"+getVCard+"</iq>"), hag)
	require.Equal(t, "result", s.Type, "the service has one too")
	require.NotNil(t, s.Payload().Child(NSVCard, "FN"))
}
