package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/omemo"
)

// A keyholder is somebody with Profanity and keys for OMEMO, which everybody can get.
type keyholder struct {
	*profanity
	device string
}

// firstDevice is of an account that has had no OMEMO so far.
func firstDevice(t testing.TB, g guest) *keyholder {
	t.Helper()
	p := makeKeys(t, g)
	// It does not understand Prosody's word for that there is no list of devices.
	p.types(t, "/omemo clear_device_list")
	p.shows(t, "Cleared OMEMO device list")
	p.openKeys(t)
	return p
}

// anotherDevice is of the same account, and knows nothing yet.
func anotherDevice(t testing.TB, g guest) *keyholder {
	t.Helper()
	p := makeKeys(t, g)
	p.openKeys(t)
	return p
}

var keysMade = regexp.MustCompile(`Your Device ID is (\d+)\.`)

func makeKeys(t testing.TB, g guest) *keyholder {
	t.Helper()
	p := startProfanity(t, g)
	p.types(t, "/omemo trustmode blind") // nobody here compares fingerprints
	// What it has asked the server for at the start must be there. The answer to this
	// question comes behind that.
	p.types(t, "/disco info")
	p.shows(t, "Features:")
	p.types(t, "/omemo gen")
	p.shows(t, "Your Device ID is")
	return &keyholder{p, keysMade.FindStringSubmatch(p.screen(t))[1]}
}

// openKeys lets everybody read the device's keys, as soon as they are published. Profanity
// does that itself where the server announces publish-options, which Prosody does not.
func (p *keyholder) openKeys(t testing.TB) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	client, err := hosttest.Login(ctx, p.host.ClientAddr(), p.account, p.pass)
	require.NoError(t, err)
	defer client.Close()
	for _, node := range []string{omemo.NodeLegacyDevices, omemo.NodeLegacyBundles + p.device} {
		for published := false; !published; time.Sleep(20 * time.Millisecond) {
			id := rand.Text()
			require.NoError(t, client.SendXML("<iq type='set' id='"+id+"'><pubsub xmlns='"+nsPubsub+"#owner'><configure node='"+node+"'><x xmlns='jabber:x:data' type='submit'>"+
				"<field var='FORM_TYPE'><value>"+nsPubsub+"#node_config</value></field><field var='pubsub#access_model'><value>open</value></field></x></configure></pubsub></iq>"))
			got, err := client.Expect(ctx, "node "+node, func(s *component.Stanza) bool { return s.ID == id })
			require.NoError(t, err)
			published = got.Type == "result"
		}
	}
}

// encrypts what is said from now on in the window that it looks at, to all of these, whose
// keys it gets.
func (p *keyholder) encrypts(t testing.TB, to ...*keyholder) {
	t.Helper()
	// In a room, Profanity refuses that until it has heard how the room is configured.
	on := func() bool { return strings.Contains(p.screen(t), "[OMEMO]") }
	for end := time.Now().Add(time.Minute); !on(); {
		require.True(t, time.Now().Before(end), "%s:\n%s", p.nick, p.screen(t))
		p.types(t, "/omemo start")
		for soon := time.Now().Add(2 * time.Second); !on() && time.Now().Before(soon); {
			time.Sleep(50 * time.Millisecond)
		}
	}
	for _, other := range to {
		address := regexp.QuoteMeta(p.address(other.guest))
		list, session := regexp.MustCompile(`Setting device list for `+address), regexp.MustCompile(`session with `+address+` device `+other.device)
		require.Eventually(t, func() bool {
			log, err := os.ReadFile(filepath.Join(p.dir, "log"))
			return err == nil && list.Match(log) && session.Match(log) // a session can come of what was read, too
		}, time.Minute, 50*time.Millisecond, "%s: %s", p.nick, session)
	}
}

// preKey is the key of the other's device that the first message to it was encrypted with
// (preKeyId, the first field of a PreKeySignalMessage, behind an octet with the version).
func (p *keyholder) preKey(t testing.TB, other *keyholder) uint64 {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(p.dir, "log"))
	require.NoError(t, err)
	found := regexp.MustCompile(`SENT: <message .*<key rid="` + other.device + `" prekey="true">([^<]+)<`).FindSubmatch(log)
	require.NotNil(t, found)
	message, err := base64.StdEncoding.DecodeString(string(found[1]))
	require.NoError(t, err)
	require.Greater(t, len(message), 2)
	require.Equal(t, byte(1<<3), message[1])
	id, n := binary.Uvarint(message[2:])
	require.Positive(t, n)
	return id
}
