package main

import (
	"fmt"

	"github.com/allium-xmpp/allium/onionroute"
)

type onionCmd struct {
	Key onionKeyCmd `cmd:"" help:"Make a key pair for a private onion service, and show what to do with its halves."`
}

type onionKeyCmd struct{}

// Run prints a new pair of keys. It keeps nothing.
func (onionKeyCmd) Run(out output) error {
	public, secret, err := onionroute.NewAuthKeys()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out.stdout, `public  %s
secret  %s

An onion service that has public halves is found by those alone who have a secret half.
The server that is private gets the public half:

    [federation]
    clients = ["%[1]s"]

and the server that may come to it gets the secret half:

    [[peer]]
    onion = "<the onion name of the private server>"
    auth_key = "%[2]s"

Send the secret half by a way that others cannot read. Better still: who is to come runs
this command, and sends the public half.
`, public, secret)
	return err
}

// useKeys gives tor the keys of private onion services, and publishes ours.
func (c *config) useKeys(tor *onionroute.Tor, id *onionroute.Identity, ports map[int]string, more ...onionroute.AuthKey) {
	var clients []onionroute.AuthKey
	for _, s := range c.Federation.Clients {
		k, _ := onionroute.ParseAuthKey(s) // checked by checkAddresses
		clients = append(clients, k)
	}
	if len(clients) > 0 {
		clients = append(clients, more...)
	}
	tor.Publish(id, ports, clients...)
	c.unlock(tor)
}

// unlock gives tor the keys of peers that are private onion services.
func (c *config) unlock(tor *onionroute.Tor) {
	for _, p := range c.Peer {
		if k, err := onionroute.ParseAuthKey(p.AuthKey); err == nil {
			tor.Unlock(p.Onion, k)
		}
	}
}
