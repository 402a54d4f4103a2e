package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/onionroute"
)

// speaksForOthers tests what a native host has to let Allium do: send for somebody at
// an onion service, and get the answer. The onion name is one that nobody has.
func (c *config) speaksForOthers(ctx context.Context, conn net.Conn, d *component.Decoder, id *onionroute.Identity) error {
	other, err := onionroute.NewName()
	if err != nil {
		return err
	}
	hint := "load mod_allium on the component, and give it validate_from_addresses = false"
	if c.Federation.Domain == "" {
		// Each domain is attached by itself.
		hint = "give ejabberd's listener a password, check_from: false and global_routes: false, and no hosts"
		if conn, err = component.Connect(ctx, c.Host.Server, other, c.Federation.Secret); err != nil {
			return fmt.Errorf("%w; %s; for Prosody, set federation.domain", err, hint)
		}
		defer conn.Close()
		defer io.WriteString(conn, "</stream:stream>")
		conn.SetDeadline(time.Now().Add(checkHostTimeout))
		d = component.NewContentDecoder(conn, component.NSAccept, component.Limits{})
	} else {
		conn.SetDeadline(time.Now().Add(checkNativeTimeout)) // the answer may go astray
	}
	if err := serves(conn, d, other, id.Name()); err != nil {
		return errors.Join(err, errors.New(hint))
	}
	return nil
}
