package onionroute

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/cretz/bine/control"
)

// An AuthKey is one half of the x25519 key pair of client authorisation: who has the
// secret half of a pair whose public half an onion service knows can find and reach it
// (Tor rend-spec-v3 §3.5.3 and appendix F).
type AuthKey []byte

var keyEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// ParseAuthKey reads a key as Tor's .auth and .auth_private files have it, with or
// without what stands before the key there: 52 characters of base32.
func ParseAuthKey(s string) (AuthKey, error) {
	s = strings.TrimSpace(s)
	key, err := keyEncoding.DecodeString(strings.ToUpper(s[strings.LastIndexByte(s, ':')+1:]))
	if err != nil || len(key) != 32 {
		return nil, errors.New("onionroute: a key of client authorisation is 52 letters and digits (base32), or such a line: descriptor:x25519:<key>")
	}
	return key, nil
}

// String is the key in base32.
func (k AuthKey) String() string { return keyEncoding.EncodeToString(k) }

// NewAuthKeys makes a pair of keys.
func NewAuthKeys() (public, secret AuthKey, err error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("onionroute: make a key: %w", err)
	}
	return k.PublicKey().Bytes(), k.Bytes(), nil
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
	if refused(err) {
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

// addAuth tells tor the secret key of a private onion service.
func (cc *controlConn) addAuth(onion string, k AuthKey) error {
	_, err := cc.command("ONION_CLIENT_AUTH_ADD " + strings.TrimSuffix(onion, ".onion") + " x25519:" + base64.StdEncoding.EncodeToString(k))
	return err
}

func (cc *controlConn) command(cmd string) (resp *control.Response, err error) {
	err = cc.do(func(c *control.Conn) error { resp, err = c.SendRequest("%s", cmd); return err })
	return resp, err
}

// refused tells if tor did not like a command, and is there all the same.
func refused(err error) bool {
	var reply *textproto.Error
	return errors.As(err, &reply) && reply.Code >= 510 && reply.Code < 520
}
