package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/onionroute"
)

// modOnionsNode is a server as people have it today: a Prosody with the community
// module mod_onions, whose VirtualHost is the onion name itself, beside a tor; or, if one
// is given, an ordinary domain.
func modOnionsNode(t testing.TB, name string, domain ...string) *node {
	return modOnionsNodeWith(t, name, func(*hosttest.Config) {}, domain...)
}

// modOnionsNodeWith is the same with changes to how Prosody is configured.
func modOnionsNodeWith(t testing.TB, name string, change func(*hosttest.Config), domain ...string) *node {
	if n := shared.nodes[name]; n != nil {
		return n
	}
	network := torNetwork(t)
	dir, err := os.MkdirTemp("", name)
	require.NoError(t, err)
	atEnd(func() { os.RemoveAll(dir) })
	service := filepath.Join(dir, "service")
	id, err := onionroute.CreateIdentity(filepath.Join(service, "hs_ed25519_secret_key"))
	require.NoError(t, err)
	n := &node{dir: dir, domain: id.Name(), onion: id.Name(), known: id.Name(), user: "user-" + name, pass: rand.Text(), log: filepath.Join(dir, "tor.log")}
	for _, d := range domain {
		n.domain, n.known = d, d
	}
	n.contacts = func(of *node) string { return of.user + "@" + of.known }
	cert, key := certificate(t, dir, n.onion, "rooms."+n.onion)
	n.control = filepath.Join(dir, "control")
	socks := freePort(t)
	onions := fmt.Sprintf("    modules_enabled = { \"onions\" }\n    ssl = { certificate = %q; key = %q }\n", cert, key)
	config := hosttest.Config{
		Domains: []string{n.domain}, Users: map[string]string{n.account(): n.pass, n.second(): n.pass, n.third(): n.pass}, S2S: true, Modules: []string{"tls"},
		HostExtra: onions + fmt.Sprintf("Component %q \"muc\"\n%s", "rooms."+n.domain, onions),
		Extra:     fmt.Sprintf("onions_socks5_host = \"127.0.0.1\"\nonions_socks5_port = %s\ns2s_secure_auth = true\nmuc_room_locking = false\n", socks),
	}
	change(&config)
	n.host, err = hosttest.StartProsody(deadline(t, time.Minute), filepath.Join(dir, "host"), config)
	require.NoError(t, err)
	atEnd(func() { n.host.Stop() })

	log, err := os.Create(n.log)
	require.NoError(t, err)
	atEnd(func() { log.Close() })
	n.tor = exec.Command("tor", "-f", network.Torrc(), "--DataDirectory", filepath.Join(dir, "tor"), "--SocksPort", "127.0.0.1:"+socks,
		"--ControlSocket", n.control, "--CookieAuthentication", "1",
		"--HiddenServiceDir", service, "--HiddenServicePort", "5269 "+n.host.S2SAddr(), "--Log", "notice stdout",
		"--__OwningControllerProcess", fmt.Sprint(os.Getpid()))
	n.tor.Stdout, n.tor.Stderr = log, log
	n.startTor(t)
	n.exited = n.torEnded
	atEnd(n.stopTor)
	n.logs(t, 0, "Bootstrapped 100%", time.Minute)
	n.login(t)
	if shared.nodes == nil {
		shared.nodes = map[string]*node{}
	}
	shared.nodes[name] = n
	// Its descriptor is uploaded a moment later.
	visitor := visitorTor(t)
	if n.known == n.onion {
		require.NoError(t, reach(deadline(t, time.Minute), visitor, n.onion))
	}
	return n
}

// visitorTor is a tor for the test itself.
func visitorTor(t testing.TB) *onionroute.Tor {
	dir, err := os.MkdirTemp("", "visitor")
	require.NoError(t, err)
	tor := onionroute.NewTor(onionroute.TorConfig{Dir: dir, Torrc: torNetwork(t).Torrc(), Log: quiet()})
	t.Cleanup(func() { os.RemoveAll(dir) })
	runUp(t, tor)
	return tor
}

// runUp runs a tor until the end of the test, and waits until it is up.
func runUp(t testing.TB, tor *onionroute.Tor) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); tor.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case <-tor.Up():
	case <-time.After(time.Minute):
		require.NoError(t, tor.Err())
	}
}

// Many peers that are looked for at the same time do not get in each other's way, and
// a tor that hangs does not hang what uses it.
func TestTorControl(t *testing.T) {
	dir, err := os.MkdirTemp("", "hang")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	tor := onionroute.NewTor(onionroute.TorConfig{Dir: dir, Torrc: torNetwork(t).Torrc(), Log: quiet()})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); tor.Run(ctx) }()
	select {
	case <-tor.Up():
	case <-time.After(time.Minute):
		require.NoError(t, tor.Err())
	}
	refresh := func() chan struct{} {
		done := make(chan struct{})
		var wg sync.WaitGroup
		for range 8 {
			name, err := onionrouteName()
			require.NoError(t, err)
			wg.Go(func() { tor.Refresh(ctx, name) })
		}
		go func() { wg.Wait(); close(done) }()
		return done
	}
	wait := func(what string, done chan struct{}) {
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal(what)
		}
	}
	wait("Refresh does not return", refresh())
	pid := processWith(t, dir+"/data")
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	done := refresh()
	time.Sleep(100 * time.Millisecond)
	cancel()
	wait("Refresh does not return when tor hangs", done)
	wait("Run does not return when tor hangs", ended)
}

// onionrouteName is the name of an onion service that nobody runs.
func onionrouteName() (string, error) {
	dir, err := os.MkdirTemp("", "key")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	id, err := onionroute.CreateIdentity(filepath.Join(dir, "key"))
	if err != nil {
		return "", err
	}
	return id.Name(), nil
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// certificate makes a self-signed certificate, as mod_onions' users have it.
func certificate(t testing.TB, dir string, names ...string) (certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return certFile, keyFile
}

// A tor that is told nothing more than where it is starts as well. It finds no network
// here.
func TestTorWithoutTorrc(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	log := new(lockedBuffer)
	dir, err := os.MkdirTemp("", "tor") // tor wants it closed to others
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	tor := onionroute.NewTor(onionroute.TorConfig{Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
	done := make(chan error, 1)
	go func() { done <- tor.Run(ctx) }()
	assert.Eventually(t, func() bool { return strings.Contains(log.String(), "Tor starts") }, 30*time.Second, 20*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	assert.NotContains(t, log.String(), "no Tor", log)
}
