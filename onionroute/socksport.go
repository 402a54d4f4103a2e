package onionroute

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/cretz/bine/control"
)

// errShared tells that Tor does not do what isolation asks of Dial.
var errShared = errors.New("onionroute: the running tor has NoIsolateSOCKSAuth at its SocksPort: what else goes through it " +
	"to a server that Allium connects to shares a circuit with that, which tells the server that both come from one place; " +
	"take NoIsolateSOCKSAuth out of torrc, or give tor one more SocksPort")

// Shared is why connections with different isolation can share a circuit, and nil if they
// do not, as far as tor tells: a tor of our own never lets them, and a running one as it
// is configured. It is about the last time that Tor was usable.
func (t *Tor) Shared() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shared
}

// findSocks gives the address of tor's SOCKS port. Of several it is the first that keeps
// connections apart; if there is none, shared says so.
func (t *Tor) findSocks(ctl *controlConn) (addr net.Addr, shared, err error) {
	if t.c.Control == "" {
		return &net.UnixAddr{Net: "unix", Name: t.path("socks")}, nil, nil
	}
	v, err := ctl.getInfo("net/listeners/socks")
	if err != nil {
		return nil, nil, err
	}
	var conf []*control.KeyVal
	if err := ctl.do(func(c *control.Conn) (err error) { conf, err = c.GetConf("SocksPort"); return err }); err != nil {
		t.log.Debug("tor does not tell how its SocksPort is configured", "error", err)
	}
	for _, l := range strings.Fields(v) {
		a := listener(strings.Trim(l, `"`))
		if a == nil {
			continue
		}
		if !slices.ContainsFunc(conf, func(kv *control.KeyVal) bool { return shares(kv.Val, a) }) {
			return a, nil, nil
		}
		if addr == nil {
			addr = a
		}
	}
	if addr == nil {
		return nil, nil, errors.New("onionroute: the running tor has no SocksPort: give it one")
	}
	return addr, errShared, nil
}

// listener is where tor says that it listens: unix:/path, or an address and a port, as
// nothing is looked up. It is nil for anything else.
func listener(s string) net.Addr {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return &net.UnixAddr{Net: "unix", Name: path}
	}
	host, port, err := net.SplitHostPort(s)
	if ip := net.ParseIP(host); err == nil && ip != nil {
		if n, err := strconv.Atoi(port); err == nil {
			return &net.TCPAddr{IP: ip, Port: n}
		}
	}
	return nil
}

// shares tells if a line SocksPort of tor's configuration is, or can be, about the
// listener, and lets streams with different user names share a circuit. In such a line is
// a place, unix:/path, unix:"/path" or the end of it a port or auto, and flags.
func shares(line string, at net.Addr) bool {
	place, flags, _ := strings.Cut(line, " ")
	if path, ok := strings.CutPrefix(line, `unix:"`); ok {
		path, flags, _ = strings.Cut(path, `"`)
		place = "unix:" + path
	}
	switch at := at.(type) {
	case *net.UnixAddr:
		if place != "unix:"+at.Name {
			return false
		}
	case *net.TCPAddr:
		if port := place[strings.LastIndexByte(place, ':')+1:]; port != "auto" && port != strconv.Itoa(at.Port) {
			return false
		}
	}
	isNo := func(flag string) bool { return strings.EqualFold(flag, "NoIsolateSOCKSAuth") }
	return slices.ContainsFunc(strings.Fields(flags), isNo)
}
