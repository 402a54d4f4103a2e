package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// tellsAll makes the guest of a room say what has names of their server, device and client
// in it, to all in the room and to its owner.
func (n *node) tellsAll(t *testing.T, ctx context.Context, room string, owner *node) {
	const late = "<delay xmlns='urn:xmpp:delay' from='third.example' stamp='2026-01-01T00:00:00Z'>Offline Storage</delay>"
	full := n.client.JID().String()
	require.NoError(t, n.client.SendXML("<presence to='"+room+"/"+n.user+"'><show>dnd</show><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://gajim.org' ver='x'/>"+
		"<idle xmlns='urn:xmpp:idle:1' since='2026-01-01T00:00:00+02:00'/></presence>"))
	for to, typ := range map[string]string{room: "groupchat", room + "/" + owner.user: "chat"} {
		require.NoError(t, n.client.SendXML("<message type='"+typ+"' to='"+to+"'><body>to "+typ+"</body>"+late+
			"<x xmlns='jabber:x:oob'><url>https://upload.third.example/a</url></x><reply xmlns='urn:xmpp:reply:0' to='"+full+"' id='1'/>"+
			"<addresses xmlns='http://jabber.org/protocol/address'><address type='replyto' jid='"+full+"'/></addresses></message>"))
		_, err := owner.client.Expect(ctx, typ, func(s *component.Stanza) bool { return s.Body() == "to "+typ })
		require.NoError(t, err)
	}
	require.NoError(t, n.client.SendXML("<iq type='get' id='version' to='"+room+"/"+owner.user+"'><query xmlns='jabber:iq:version'/></iq>"))
	asked, err := owner.client.Expect(ctx, "question", func(s *component.Stanza) bool { return s.Type == "get" && s.Child("jabber:iq:version", "query") != nil })
	require.NoError(t, err)
	owner.send(t, asked.Result(component.NewElement("jabber:iq:version", "query")))
	n.inRoom(t, ctx, "version", room+"/"+owner.user, func(s *component.Stanza) bool { return s.ID == "version" })
}

// asksAll asks at these addresses for all that tells of clients and servers.
func (n *node) asksAll(t *testing.T, ctx context.Context, addresses ...string) {
	for i, to := range addresses {
		for k, q := range []string{"<query xmlns='jabber:iq:version'/>", "<query xmlns='jabber:iq:last'/>", "<time xmlns='urn:xmpp:time'/>", "<vCard xmlns='vcard-temp'/>",
			"<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#items'/>"} {
			id := fmt.Sprint("ask-", i, "-", k)
			require.NoError(t, n.client.SendXML("<iq type='get' id='"+id+"' to='"+to+"'>"+q+"</iq>"))
			_, err := n.client.Expect(ctx, "answer to "+q+" at "+to, func(s *component.Stanza) bool { return s.ID == id && (s.Type == "result" || s.Type == "error") })
			require.NoError(t, err)
		}
	}
}

var logged = regexp.MustCompile(`(?m) (?:s2s(?:in|out)[0-9a-f]+\tdebug\tRECV|c2s[0-9a-f]+\tdebug\tSEND): (.*)$`)

// heard is all that the node's server got from other servers, and its users got from it.
func (n *node) heard(t *testing.T) (all []string) {
	log, err := os.ReadFile(n.host.LogFile())
	require.NoError(t, err)
	for _, m := range logged.FindAllStringSubmatch(string(log), -1) {
		all = append(all, m[1])
	}
	return all
}

var encoded = regexp.MustCompile(`[A-Za-z0-9+/]{20,}`)

// decoded is what is written in base64 in it, as Prosody's rooms do in ids.
func decoded(stanza string) (text string) {
	for _, e := range encoded.FindAllString(stanza, -1) {
		for start := range 4 {
			data, _ := base64.RawStdEncoding.DecodeString(e[start : start+(len(e)-start)/4*4])
			text += " " + string(data)
		}
	}
	return text
}

// unveils asserts that the hidden server, with its room and its user, has heard of the
// guest and the public server nothing but the guest's address at that, and the guest and
// their server nothing of an onion service, or of the device at it.
func unveils(t *testing.T, guest, public, hidden *node) {
	guests := `\40` + guest.domain + "@" + public.onion
	for who, c := range map[*node]struct {
		has     string
		secrets []string
	}{
		hidden: {guest.user + guests, []string{guest.domain, "public.example", guest.client.JID().Resourcepart(), "gajim", "Offline Storage"}},
		guest:  {"secret@hidden.public.example/" + hidden.user, []string{".onion", strings.TrimSuffix(hidden.onion, ".onion"), strings.TrimSuffix(public.onion, ".onion"), "onion.public.example", hidden.client.JID().Resourcepart()}},
	} {
		all := who.heard(t)
		t.Logf("%s heard %d stanzas", who.domain, len(all))
		assert.Contains(t, strings.Join(all, "\n"), c.has)
		for _, stanza := range all {
			stanza += decoded(stanza)
			if who == hidden {
				stanza = strings.ReplaceAll(stanza, guests, "")
			}
			for _, secret := range c.secrets {
				assert.NotContains(t, stanza, secret)
			}
		}
	}
}
