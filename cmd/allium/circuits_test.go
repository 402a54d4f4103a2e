package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/onionroute"
)

// Two servers that use the same tor, and write to the same two peers: all that they
// write goes by circuits of its own, as that tor tells. So no peer sees by a circuit that
// two of those who come to it are at one place. With a tor whose admin has it otherwise
// they share them, and that is told.
func TestCircuits(t *testing.T) {
	for _, c := range []struct {
		flags    []string
		circuits int
		shared   string
	}{
		{nil, 4, ""},
		{[]string{"NoIsolateSOCKSAuth"}, 2, "NoIsolateSOCKSAuth"},
	} {
		t.Run(fmt.Sprint(c.flags), func(t *testing.T) {
			dir, err := os.MkdirTemp("", "circ")
			require.NoError(t, err)
			defer os.RemoveAll(dir)
			n := &node{dir: dir}
			n.runTor(t, torNetwork(t), c.flags...)
			defer n.stopTor()
			log := new(lockedBuffer)
			tor := onionroute.NewTor(onionroute.TorConfig{Control: "unix:" + n.control, Log: slog.New(slog.NewTextHandler(log, nil))})
			var all []*bareGateway
			for _, name := range []string{"a", "b", "x", "y"} {
				all = append(all, startBareGateway(t, filepath.Join(dir, name), name+".example", tor))
			}
			runUp(t, tor)
			if c.shared == "" {
				assert.NoError(t, tor.Shared())
				assert.NotContains(t, log.String(), "level=WARN")
			} else {
				assert.ErrorContains(t, tor.Shared(), c.shared)
				assert.Regexp(t, "level=WARN .*"+c.shared, log.String())
			}
			for _, from := range all[:2] {
				for _, to := range all[2:] {
					require.NoError(t, from.write(to))
				}
			}
			for _, to := range all[2:] {
				for range all[:2] {
					to.receive(t)
				}
			}
			// Who is nowhere is not looked for any longer than tor does.
			nobody, err := onionroute.CreateIdentity(filepath.Join(dir, "nobody", "key"))
			require.NoError(t, err)
			assert.True(t, tor.Refresh(deadline(t, 8*time.Second), all[2].onion))
			ctx := deadline(t, 8*time.Second)
			assert.False(t, tor.Refresh(ctx, nobody.Name()))
			assert.NoError(t, ctx.Err())
			watch := watchTor(t, n.control, dir+"/tor/data/control_auth_cookie")
			circuits := map[string]bool{}
			streams := 0
			for _, m := range connected.FindAllStringSubmatch(watch.command("GETINFO stream-status"), -1) {
				assert.Contains(t, []string{all[2].onion, all[3].onion}, m[2])
				streams++
				circuits[m[1]] = true
			}
			assert.Equal(t, 4, streams)
			assert.Len(t, circuits, c.circuits)
		})
	}
}

// connected matches a stream of which tor tells that it is connected (control-spec §4.1.2):
// its circuit, and where it leads to.
var connected = regexp.MustCompile(`(?m)^(?:250.stream-status=)?\d+ SUCCEEDED (\d+) (\S+\.onion):\d+`)

// A bareGateway is a gateway without a host: what comes for its users is kept.
type bareGateway struct {
	*onionroute.Gateway
	domain, onion string
	got           chan *component.Stanza
}

// startBareGateway runs one until the end of the test, as an onion service of that tor.
func startBareGateway(t *testing.T, dir, domain string, tor *onionroute.Tor) *bareGateway {
	require.NoError(t, os.Mkdir(dir, 0o700))
	id, err := onionroute.CreateIdentity(filepath.Join(dir, "key"))
	require.NoError(t, err)
	b := &bareGateway{domain: domain, onion: id.Name(), got: make(chan *component.Stanza, 10)}
	b.Gateway, err = onionroute.NewGateway(onionroute.Config{Domain: "onion." + domain, Hosts: []string{domain}, Identity: id,
		SocketDir: dir, Spool: filepath.Join(dir, "spool.sqlite"), Log: quiet()}, tor, b)
	require.NoError(t, err)
	tor.Publish(id, b.Ports())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
		assert.NoError(t, b.Close())
	})
	return b
}

func (b *bareGateway) Send(_ context.Context, s *component.Stanza) error {
	b.got <- s
	if s.Taken != nil {
		s.Taken()
	}
	return nil
}

// write sends a message to a user at another.
func (b *bareGateway) write(to *bareGateway) error {
	s := &component.Stanza{Kind: component.Message, Type: "chat", From: jid.MustParse("alice@" + b.domain),
		To: jid.MustParse(`bob\40` + to.onion + "@onion." + b.domain)}
	return b.HandleStanza(context.Background(), s.Add(component.NewElement(component.NSClient, "body", component.Text("hi"))))
}

func (b *bareGateway) receive(t *testing.T) {
	select {
	case s := <-b.got:
		require.Equal(t, "hi", s.Body(), s)
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "nothing arrived")
	}
}
