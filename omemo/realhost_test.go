package omemo

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
)

// attach puts the directory between a real host and a peer.
func (w *world) attach(start func(context.Context, string, hosttest.Config) (*hosttest.Host, error), c hosttest.Config) (*hosttest.Host, *hosttest.Client) {
	t := w.t
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	secret := rand.Text()
	c.Domains, c.Users = []string{"example.org"}, map[string]string{"alice@example.org": "password"}
	c.Components = map[string]string{"onion.example.org": secret}
	h, err := start(ctx, t.TempDir(), c)
	require.NoError(t, err)
	t.Cleanup(func() { h.Stop() })
	r := component.NewRouter()
	r.Handle("onion.example.org", w.host)
	w.peer = w.Sender(r)
	link, err := component.NewLink(component.LinkConfig{Server: h.ComponentAddr(), Domain: "onion.example.org", Secret: secret, PingTo: "example.org", SendTimeout: 100 * time.Millisecond}, r)
	require.NoError(t, err)
	r.Attach("onion.example.org", link)
	running, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); link.Run(running) }()
	t.Cleanup(func() { stop(); <-ended })
	select {
	case <-link.Up():
	case <-ctx.Done():
		t.Fatal("not attached")
	}
	client, err := hosttest.Login(ctx, h.ClientAddr(), "alice@example.org", "password")
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return h, client
}

var hosts = map[string]func(context.Context, string, hosttest.Config) (*hosttest.Host, error){
	"prosody": hosttest.StartProsody, "ejabberd": hosttest.StartEjabberd}

func publish(t *testing.T, c *hosttest.Client, node, id string, payload *component.Element, options string) {
	t.Helper()
	iq := rand.Text()
	if options != "" {
		options = "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>" +
			"<field var='pubsub#access_model'><value>" + options + "</value></field></x></publish-options>"
	}
	require.NoError(t, c.SendXML("<iq type='set' id='"+iq+"'><pubsub xmlns='"+NSPubsub+"'><publish node='"+node+"'><item id='"+id+"'>"+payload.String()+"</item></publish>"+options+"</pubsub></iq>"))
	got, err := c.Expect(t.Context(), "published", func(s *component.Stanza) bool { return s.ID == iq })
	require.NoError(t, err)
	require.Equal(t, "result", got.Type, got)
}

// What a peer reads of a user's keys is what the host has, when it is open; when it is not,
// that is said to the peer, and once to the admin.
func TestRealHosts(t *testing.T) {
	for name, start := range hosts {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.Patience = 2 * time.Second })
			h, c := w.attach(start, hosttest.Config{})
			for _, f := range formats {
				b := newBundle(t, f, newSigner(t, f), 100)
				publish(t, c, f.nodeFor(0), current, list(f, 7), "open")
				publish(t, c, f.nodeFor(7), itemID(f), b.Element(), "open")
				require.NoError(t, w.says(peerSide, read(bobAt, "alice@example.org", f.nodeFor(0))))
				assert.Equal(t, list(f, 7).String(), payload(t, w.gets(peerSide)).String())
				require.NoError(t, w.says(peerSide, read(bobAt, "alice@example.org", f.nodeFor(7), itemID(f))))
				assert.Equal(t, b.Element().String(), payload(t, w.gets(peerSide)).String())
			}
			b := newBundle(t, Legacy, newSigner(t, Legacy), 100)
			publish(t, c, Legacy.nodeFor(8), current, b.Element(), "")
			require.NoError(t, w.says(peerSide, read(bobAt, "alice@example.org", Legacy.nodeFor(8))))
			refused := w.gets(peerSide).StanzaError()
			assert.True(t, refuses(refused.Condition), refused)
			assert.Contains(t, w.log.String(), "does not let peers read")

			require.NoError(t, h.Stop())
			require.NoError(t, w.says(peerSide, read(bobAt, "alice@example.org", Legacy.nodeFor(0))))
			assert.Equal(t, list(Legacy, 7).String(), payload(t, w.gets(peerSide)).String())
		})
	}
}

// With the privilege that Prosody's module gives, what it refuses is read all the same.
func TestRealPrivilege(t *testing.T) {
	w := newWorld(t)
	_, c := w.attach(hosttest.StartProsody, hosttest.Config{Modules: []string{"privilege"},
		Extra: `privileged_entities = { ["onion.example.org"] = { iq = { ["` + NSPubsub + `"] = "get" } } }
Component "onion.example.org"
	modules_enabled = { "privilege" }
`})
	b := newBundle(t, Legacy, newSigner(t, Legacy), 100)
	publish(t, c, Legacy.nodeFor(8), current, b.Element(), "")
	require.NoError(t, w.says(peerSide, read(bobAt, "alice@example.org", Legacy.nodeFor(8))))
	assert.Equal(t, b.Element().String(), payload(t, w.gets(peerSide)).String())
	assert.Contains(t, w.log.String(), "the host lets Allium read")
	assert.NotContains(t, w.log.String(), "does not let")
}
