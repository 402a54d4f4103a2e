package onionroute

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cretz/bine/control"
)

// A service is an onion service of ours.
type service struct {
	id    *Identity
	ports map[int]string // port → path of a Unix socket

	clients []AuthKey // public keys of those that may find it; none: everybody
}

// Publish makes the identity an onion service: ports are its ports, and the paths of
// the Unix sockets that connections to them go to. With the public keys of clients it is
// a private one, which only those find that have the secret halves. Call it before Run.
func (t *Tor) Publish(id *Identity, ports map[int]string, clients ...AuthKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.services = append(t.services, service{id, ports, clients})
}

// Unlock gives the secret key for a private onion service. Call it before Run.
func (t *Tor) Unlock(onion string, k AuthKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys[onion] = k
}

// publish gives tor our keys, and makes the onion services.
func (t *Tor) publish(ctl *controlConn) error {
	t.mu.Lock()
	services := t.services
	t.mu.Unlock()
	for onion, k := range t.keys {
		if err := ctl.addAuth(onion, k); err != nil {
			return fmt.Errorf("onionroute: give tor the key for a private onion service: %w", err)
		}
	}
	for _, s := range services {
		if err := s.addOnion(ctl); err != nil {
			return fmt.Errorf("onionroute: publish %s: %w", s.id.Name(), err)
		}
	}
	return nil
}

// awaitPublished waits a while for the descriptors of the onion services to be uploaded:
// peers that look for us before would do it in vain, or where we were before.
func (t *Tor) awaitPublished(ctx context.Context) error {
	t.mu.Lock()
	services := t.services
	t.mu.Unlock()
	for end := time.Now().Add(publishTimeout); time.Now().Before(end) && ctx.Err() == nil; {
		if !slices.ContainsFunc(services, func(s service) bool { return !t.Published(s.id.Name()) }) {
			break
		}
		time.Sleep(torPollInterval / 3)
	}
	return context.Cause(ctx)
}

// addOnion makes an onion service. bine has no words for client authorisation by x25519,
// and for the defence by proof of work (Tor's proposal 327), so they are written here.
func (s *service) addOnion(ctl *controlConn) error {
	cmd := "ADD_ONION ED25519-V3:" + (&control.ED25519Key{KeyPair: s.id.key}).Blob() + " Flags=DiscardPK"
	if len(s.clients) > 0 {
		cmd += ",V3Auth"
	}
	for port, path := range s.ports {
		cmd += " Port=" + strconv.Itoa(port) + ",unix:" + path
	}
	for _, k := range s.clients {
		cmd += " ClientAuthV3=" + k.String()
	}
	resp, err := ctl.command(cmd + " PoWDefensesEnabled=1")
	if unknown(err) {
		resp, err = ctl.command(cmd) // a tor before 0.4.9, or one without it
	}
	if err != nil {
		return err
	}
	if want := "ServiceID=" + strings.TrimSuffix(s.id.Name(), ".onion"); !slices.Contains(resp.Data, want) {
		return fmt.Errorf("onionroute: tor published something else: %s", resp.Data)
	}
	return nil
}

// keyOfUse is tor's answer when the new key opens a descriptor that it has already
// (Tor's control-spec, ONION_CLIENT_AUTH_ADD). It is no error, though bine takes it for one.
const keyOfUse = 252

// addAuth tells tor the secret key of a private onion service.
func (cc *controlConn) addAuth(onion string, k AuthKey) error {
	_, err := cc.command("ONION_CLIENT_AUTH_ADD " + strings.TrimSuffix(onion, ".onion") + " x25519:" + base64.StdEncoding.EncodeToString(k))
	if reply := new(textproto.Error); errors.As(err, &reply) && reply.Code == keyOfUse {
		return nil
	}
	return err
}

func (cc *controlConn) command(cmd string) (resp *control.Response, err error) {
	err = cc.do(func(c *control.Conn) error { resp, err = c.SendRequest("%s", cmd); return err })
	return resp, err
}

// unknown tells if tor did not like a command, and is there all the same.
func unknown(err error) bool {
	var reply *textproto.Error
	return errors.As(err, &reply) && reply.Code >= 510 && reply.Code < 520
}
