package onionroute

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is in the stanza itself is left, and what a person opens or not; and with a client
// that goes through Tor, what is at an onion service.
func TestLinksThatStay(t *testing.T) {
	const (
		always = "always"
		byTor  = "with a client that goes through Tor"
		never  = "never" // a name that only looks like an onion service's

		avatar = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:avatar:metadata'><item id='1'><metadata xmlns='urn:xmpp:avatar:metadata'><info id='1' type='image/png'%s/></metadata></item></items></event>"
		html   = "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml' xml:lang='en'>%s</body></html>"
		slot   = "<slot xmlns='urn:xmpp:http:upload%s</slot>"
		vcard  = "<vCard xmlns='vcard-temp'><PHOTO>%s</PHOTO></vCard>"
	)
	fill := func(s, with string) string { return strings.Replace(s, "%s", with, 1) }
	hidden := "http://" + testX + "/a"
	for xml, stays := range map[string]string{
		inMsg("<body>see http://files.example/a</body>"):                                         always,
		inMsg(fill(avatar, "")):                                                                  always,
		inMsg(fill(html, "<p style='color:rgb(1,2,3)'><strong>a</strong><br/></p>")):             always,
		inMsg(fill(html, "<p class='x'><a href='http://files.example/a' title='b'>c</a></p>")):   always,
		inMsg(fill(html, "<img src='data:image/png;base64,AA==' alt='a'/>")):                     always,
		inAnswer(fill(vcard, "<TYPE>image/png</TYPE><BINVAL>AA==</BINVAL>")):                     always,
		inAnswer("<data xmlns='urn:xmpp:bob' cid='1' type='image/png'>AA==</data>"):              always,
		inMsg(fill(avatar, " url='"+hidden+"'")):                                                 byTor,
		inMsg(fill(html, "<img src='"+hidden+"'/>")):                                             byTor,
		inAnswer(fill(vcard, "<EXTVAL>"+hidden+"</EXTVAL>")):                                     byTor,
		inAnswer(fill(slot, ":0'><put url='"+hidden+"'/><get url='"+hidden+"'/>")):               byTor,
		inAnswer(fill(slot, "'><put>"+hidden+"</put><get>"+hidden+"</get>")):                     byTor,
		inMsg("<url-data xmlns='http://jabber.org/protocol/url-data' target='" + hidden + "'/>"): byTor,
		inMsg(fill(avatar, " url='http://"+testX+".files.example/a'")):                           never,
		inMsg(fill(avatar, " url='http://"+testX+"@files.example/a'")):                           never,
		inAnswer(fill(slot, ":0'><put url='"+hidden+"'/><get url='http://files.example/a'/>")):   never,
	} {
		for _, onionLinks := range []bool{false, true} {
			b := newBorder(t, Privacy{OnionLinks: onionLinks, Off: []string{"resource"}})
			got, err := b.in(readStanza(t, onionSide.Replace(xml)))
			require.NoError(t, err)
			same := stays == always || stays == byTor && onionLinks
			assert.Equal(t, same, b.counts["uploads-in"].Load() == 0, xml)
			if same {
				assert.Equal(t, strings.ReplaceAll(hostSide.Replace(xml), hostSide.Replace("{A}"), hostSide.Replace("{ALICE}")+"/RANDOM"), got)
			}
		}
	}
}
