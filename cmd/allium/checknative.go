package main

import (
	"context"
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
	err = serves(conn, d, other, id.Name())
	if err == nil && c.Federation.Domain != "" {
		err = handsOver(conn, d, other, id.Name())
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, hint)
	}
	return nil
}

// handsOver tells if what the host itself has for an onion service comes here. Allium may
// speak for everybody, so it sends a message in the host's own name and waits for it. An
// answer of the host proves nothing: it comes by the connection that the request took.
func handsOver(conn io.Writer, d *component.Decoder, to, from string) error {
	fmt.Fprintf(conn, "<message type='headline' from='%s' to='check@%s'/>", from, to)
	for {
		e, err := d.Next()
		if err != nil {
			return fmt.Errorf("the host does not hand over what is for onion services: %w", err)
		}
		if s, err := component.ParseStanza(e); err == nil && s.Kind == component.Message && s.To.Domainpart() == to {
			return nil
		}
	}
}
