package omemo

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

var refusal = component.NewError(stanza.Auth, stanza.Forbidden, "")

// A host that does not let peers read is no reason not to serve what is fresh, and the admin
// is told once how to mend it.
func TestHostRefuses(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Fresh = time.Hour })
	w.tellsError(w.asks(bobAt, "alice@example.org", NodeLegacyDevices), refusal)
	assert.Equal(t, stanza.Forbidden, w.gets(peerSide).StanzaError().Condition)
	refused := func() error { w.sync(); return Refused(w.file) }
	require.NoError(t, refused(), "there may be none")
	require.NoError(t, w.says(hostSide, event("alice@example.org", bobAt, "items", NodeLegacyDevices, item("current", list(Legacy, 1)))))
	w.gets(peerSide)
	w.tellsError(w.asks(bobAt, "alice@example.org", NodeLegacyBundles+"2"), refusal)
	w.gets(peerSide)
	require.NoError(t, refused(), "there is no such device")
	w.tellsError(w.asks(bobAt, "alice@example.org", NodeLegacyDevices), refusal)
	assert.Equal(t, list(Legacy, 1).String(), payload(t, w.gets(peerSide)).String())
	assert.ErrorContains(t, refused(), "those of 1 of its users")
	w.tells(w.asks(bobAt, "alice@example.org", NodeLegacyDevices), items(NodeLegacyDevices, "current", list(Legacy, 1)))
	w.gets(peerSide)
	require.NoError(t, refused(), "it lets peers read now")
	w.tellsError(w.asks(bobAt, "alice@example.org", NodeLegacyBundles+"1"), refusal)
	w.gets(peerSide)
	assert.ErrorContains(t, refused(), "those of 1 of its users")
	require.NoError(t, w.says(hostSide, event("alice@example.org", bobAt, "items", NodeLegacyDevices, item("current", list(Legacy, 1, 3)))))
	w.gets(peerSide)
	require.NoError(t, refused(), "with another list it is to be seen")
	require.NoError(t, w.says(hostSide, event("alice@example.org", bobAt, "items", NodeLegacyDevices, item("current", list(Legacy, 1)))))
	w.gets(peerSide)
	for range 3 {
		w.tellsError(w.asks(bobAt, "alice@example.org", NodeLegacyDevices), refusal)
		w.gets(peerSide)
	}
	assert.Equal(t, 1, strings.Count(w.log.String(), "level=WARN"))
	assert.Equal(t, 2, strings.Count(w.log.String(), "force_node_config"))
	assert.Contains(t, w.log.String(), "mod_privilege")
	w.close()
	w.open(func(o *Options) { o.Fresh = time.Nanosecond })
	time.Sleep(time.Second) // what is kept has the time in seconds
	w.tellsError(w.asks(bobAt, "alice@example.org", NodeLegacyDevices), refusal)
	assert.Equal(t, stanza.Forbidden, w.gets(peerSide).StanzaError().Condition, "that is too old")
}

// Where the host grants it, what it refuses is read in the user's own name.
func TestPrivilege(t *testing.T) {
	for _, space := range privileges {
		w := newWorld(t)
		grant := func(from, perm string) {
			require.NoError(t, w.says(hostSide, "<message xmlns='jabber:client' from='"+from+"' to='onion.example.org'><privilege xmlns='"+space+"'>"+perm+"</privilege></message>"))
		}
		const right = "<perm access='roster' type='get'/><perm access='iq'><namespace ns='jabber:iq:roster' type='get'/><namespace ns='" + NSPubsub + "' type='get'/></perm>"
		ask := func() *component.Stanza {
			w.tellsError(w.asks(bobAt, "alice@example.org", NodeLegacyBundles+"7", "current"), refusal)
			w.sync()
			select {
			case s := <-w.out[hostSide]:
				return s
			default:
				assert.Equal(t, stanza.Forbidden, w.gets(peerSide).StanzaError().Condition)
				return nil
			}
		}
		assert.Nil(t, ask())
		grant("example.org", "<perm access='roster' type='get'/>")
		grant("example.org", strings.Replace(right, "type='get'/></perm>", "type='set'/></perm>", 1))
		w.nothing()
		assert.Nil(t, ask(), "not with other rights")
		grant("jabber.org", right)
		w.gets(peerSide) // not by who is not the host
		assert.Nil(t, ask())

		grant("example.org", right)
		s := ask()
		require.NotNil(t, s)
		assert.Equal(t, "onion.example.org", s.From.String())
		assert.Equal(t, "alice@example.org", s.To.String())
		inner := s.Child(space, "privileged_iq").Child(component.NSClient, "iq")
		assert.Equal(t, "get", inner.AttrValue("type"))
		assert.NotEmpty(t, inner.AttrValue("id"))
		assert.Equal(t, "alice@example.org", inner.AttrValue("to"))
		b := newBundle(t, Legacy, newSigner(t, Legacy), 30)
		result := component.NewElement(component.NSClient, "iq").With("type", "result").Add(items(NodeLegacyBundles+"7", "current", b.Element()))
		require.NoError(t, w.send(hostSide, s.Result(component.NewElement(space, "privilege").Add(component.NewElement(nsForward, "forwarded").Add(result)))))
		a := w.gets(peerSide)
		assert.Equal(t, "1", a.ID)
		assert.Equal(t, b.Element().String(), payload(t, a).String())
		w.nothing()

		// An error inside, no answer inside, and a right that is none any more.
		s = ask()
		result = component.NewElement(component.NSClient, "iq").With("type", "error").Add(s.Error(component.NewError(stanza.Cancel, stanza.ItemNotFound, "")).Payload())
		require.NoError(t, w.send(hostSide, s.Result(component.NewElement(space, "privilege").Add(component.NewElement(nsForward, "forwarded").Add(result)))))
		assert.Equal(t, stanza.ItemNotFound, w.gets(peerSide).StanzaError().Condition)
		s = ask()
		require.NoError(t, w.send(hostSide, s.Result()))
		assert.Equal(t, stanza.NotAcceptable, w.gets(peerSide).StanzaError().Condition)
		w.tellsError(ask(), refusal)
		assert.Equal(t, stanza.Forbidden, w.gets(peerSide).StanzaError().Condition)
		assert.Nil(t, ask())
		w.nothing()
	}
}
