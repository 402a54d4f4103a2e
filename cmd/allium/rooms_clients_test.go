package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component/hosttest"
)

// A guest is a user of a server who comes to a room.
type guest struct {
	host          *hosttest.Host
	onion         string // its name for peers, if it has one
	account, pass string
	nick          string
	room          string                // the room's address, as the guest writes it
	address       func(of guest) string // of another guest, as this one writes it
}

// guest is somebody with an account at the node, in a room at a node.
func (n *node) guest(account, nick, name string, hall *node) guest {
	room := name + "@" + hall.rooms()
	if n != hall {
		room = name + `\40rooms.` + hall.onion + "@onion." + n.domain
	}
	return guest{host: n.host, onion: n.onion, account: account, pass: n.pass, nick: nick, room: room, address: func(of guest) string {
		if of.host == n.host || of.onion == "" && n == hall { // of an ordinary server
			return of.account
		}
		local, _, _ := strings.Cut(of.account, "@")
		return local + `\40` + of.onion + "@onion." + n.domain
	}}
}

// hall is a node with rooms. What clients do not configure is as in any room.
func hall(t testing.TB, name, kind string) *node {
	return alliumNode(t, name, kind, "[muc]", fmt.Sprintf("domain = %q", "rooms."+name+".example"), `default_kind = "open"`)
}

// Three people, each with another client, meet in a room. Two are users of the host, and
// one comes from another server, by Tor.
func TestClientsInRooms(t *testing.T) {
	a, b := hall(t, "hall", "prosody"), alliumNode(t, "beta", "prosody")
	meet(t, a.guest(a.second(), "ann", "den", a), b.guest(b.second(), "ben", "den", a), a.guest(a.third(), "pia", "den", a)).destroy()
}

// All of them at the host, which is an ejabberd.
func TestClientsInRoomsAtEjabberd(t *testing.T) {
	a := hall(t, "salon", "ejabberd")
	meet(t, a.guest(a.second(), "ann", "den", a), a.guest(a.account(), "ben", "den", a), a.guest(a.third(), "pia", "den", a)).destroy()
}

// The same in a room of Prosody itself, so that what is expected of a room here is not
// only our own idea.
func TestClientsAtProsodysRooms(t *testing.T) {
	dir, err := os.MkdirTemp("", "rooms")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	const domain = "delta.example"
	pass := rand.Text()
	host, err := hosttest.StartProsody(deadline(t, time.Minute), filepath.Join(dir, "host"), hosttest.Config{Domains: []string{domain},
		Users:     map[string]string{"ann@" + domain: pass, "ben@" + domain: pass, "pia@" + domain: pass},
		HostExtra: "Component \"rooms." + domain + "\" \"muc\"\nmodules_enabled = { \"muc_mam\" }\n"})
	require.NoError(t, err)
	t.Cleanup(func() { host.Stop() })
	of := func(nick string) guest {
		return guest{host: host, account: nick + "@" + domain, pass: pass, nick: nick, room: "den@rooms." + domain,
			address: func(of guest) string { return of.account }}
	}
	m := meet(t, of("ann"), of("ben"), of("pia"))
	m.destroy()
}
