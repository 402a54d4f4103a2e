package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
	"github.com/allium-xmpp/allium/onionroute"
	"github.com/allium-xmpp/allium/onionroute/tornet"
)

// What the end-to-end tests share, because it takes long to start: one Tor network,
// and the nodes that tests ask for by name.
var shared struct {
	once  sync.Once
	delay time.Duration // of the network
	net   *tornet.Network
	err   error
	nodes map[string]*node
	stop  []func()
}

func stopShared() {
	for _, n := range shared.nodes { // at the same time: each has patience with its peers
		if n.allium != nil {
			n.allium.Process.Signal(syscall.SIGTERM)
		}
	}
	for i := len(shared.stop) - 1; i >= 0; i-- {
		shared.stop[i]()
	}
}

// newNetwork ends all that is shared, and makes the next that is asked for belong to a
// new network with that delay.
func newNetwork(delay time.Duration) {
	stopShared()
	shared.once, shared.delay, shared.nodes, shared.stop = sync.Once{}, delay, nil, nil
}

func atEnd(f func()) { shared.stop = append(shared.stop, f) }

// deadline is the time that one test may take.
func deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func torNetwork(t testing.TB) *tornet.Network {
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "tornet")
		require.NoError(t, err)
		atEnd(func() { os.RemoveAll(dir) })
		began := time.Now()
		if shared.net, shared.err = tornet.Start(deadline(t, 3*time.Minute), dir, tornet.Options{Delay: shared.delay}); shared.err == nil {
			t.Logf("Tor network up after %v", time.Since(began).Round(time.Second))
			atEnd(func() { shared.net.Close() })
		}
	})
	require.NoError(t, shared.err)
	return shared.net
}

// A node is a server with one user who is logged in.
type node struct {
	dir, domain string
	user, pass  string
	host        *hosttest.Host
	onion       string
	known       string    // what peers know it by: the onion name, or an ordinary one
	allium      *exec.Cmd // nil where the server needs none
	exited      chan struct{}
	server      string // where Allium attaches to the host
	log, trace  string
	flush       time.Duration // how long the disk takes for Allium to flush, where it is traced
	veiled      bool          // its user must not see the name of an onion service
	client      *hosttest.Client
	config, web string
	control     string    // socket of the tor, if that is not Allium's own
	tor         *exec.Cmd // that tor
	torEnded    chan struct{}
	contacts    func(of *node) string // how this node's user writes another's address
}

// alliumNode is the node of that name: a host of that kind with an Allium, which runs
// under strace in tests. What is given is added to its section federation, and behind it.
func alliumNode(t testing.TB, name, kind string, federation ...string) *node {
	if n := shared.nodes[name]; n != nil {
		return n
	}
	net := torNetwork(t)
	dir, err := os.MkdirTemp("", name)
	require.NoError(t, err)
	atEnd(func() { os.RemoveAll(dir) })
	n := &node{dir: dir, domain: name + ".example", user: "user-" + name, pass: rand.Text()}
	gateway, secret := "onion."+n.domain, rand.Text()
	start := map[string]func(context.Context, string, hosttest.Config) (*hosttest.Host, error){
		"prosody": hosttest.StartProsody, "ejabberd": hosttest.StartEjabberd}[kind]
	require.NotNil(t, start, "there is no host %q", kind)
	n.host, err = start(deadline(t, time.Minute), filepath.Join(dir, "host"), hosttest.Config{
		Domains: []string{n.domain}, Users: map[string]string{n.account(): n.pass, n.second(): n.pass, n.third(): n.pass}, Components: map[string]string{gateway: secret, n.rooms(): secret}})
	require.NoError(t, err)
	atEnd(func() { n.host.Stop() })
	n.server, n.config, n.web = n.host.ComponentAddr(), filepath.Join(dir, "allium.toml"), "127.0.0.1:"+freePort(t)
	tor := fmt.Sprintf("torrc = %q", net.Torrc())
	if kind == "ejabberd" || testingB(t) { // here, it uses a tor that runs already
		n.runTor(t, net)
		tor = fmt.Sprintf("control = %q", "unix:"+n.control)
	}
	require.NoError(t, os.WriteFile(n.config, fmt.Appendf(nil, `
state_dir = "state"
[host]
server = %q
secret = %q
domains = [%q]
[federation]
domain = %q
%s
[tor]
%s
[web]
listen = %q
[log]
level = %q
addresses = true
`, n.host.ComponentAddr(), secret, n.domain, gateway, strings.Join(federation, "\n"), tor, n.web, map[bool]string{true: "info", false: "debug"}[testingB(t)]), 0o600))
	id, err := onionroute.CreateIdentity(filepath.Join(dir, "state", "identity", "hs_ed25519_secret_key"))
	require.NoError(t, err)
	n.onion, n.known = id.Name(), id.Name()
	n.contacts = func(of *node) string { return of.user + `\40` + of.known + "@" + gateway }
	n.log = filepath.Join(dir, "allium.log")
	if !testingB(t) {
		n.trace = filepath.Join(dir, "strace")
	}
	n.startAllium(t)
	atEnd(n.stopAllium)
	n.login(t)
	if shared.nodes == nil {
		shared.nodes = map[string]*node{}
	}
	shared.nodes[name] = n
	return n
}

// testingB tells of a benchmark.
func testingB(t testing.TB) bool {
	_, ok := t.(*testing.B)
	return ok
}

func (n *node) account() string { return n.user + "@" + n.domain }

// The node's other users. They have the same password.
func (n *node) second() string { return "second-" + n.account() }
func (n *node) third() string  { return "third-" + n.account() }

// rooms is the domain for rooms, which a node serves if its configuration says so.
func (n *node) rooms() string { return "rooms." + n.domain }

// runTor runs a tor as a distribution does, for Allium to use. What is given is added to
// its SocksPort.
func (n *node) runTor(t testing.TB, net *tornet.Network, flags ...string) {
	dir := filepath.Join(n.dir, "tor")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	n.control = filepath.Join(dir, "control")
	n.tor = exec.Command("tor", "-f", net.Torrc(), "--DataDirectory", filepath.Join(dir, "data"), "--ControlPort", "0",
		"--ControlSocket", n.control, "--CookieAuthentication", "1",
		"--SocksPort", strings.Join(append([]string{"unix:" + filepath.Join(dir, "socks")}, flags...), " "), "--__OwningControllerProcess", fmt.Sprint(os.Getpid()))
	n.startTor(t)
	atEnd(n.stopTor)
	require.Eventually(t, func() bool { _, err := os.Stat(n.control); return err == nil }, 20*time.Second, 10*time.Millisecond)
}

// startTor starts the tor that is not Allium's own, also once more after its end.
func (n *node) startTor(t testing.TB) {
	if n.tor.Process != nil {
		again := exec.Command(n.tor.Path, n.tor.Args[1:]...)
		again.Stdout, again.Stderr = n.tor.Stdout, n.tor.Stderr
		n.tor = again
	}
	require.NoError(t, n.tor.Start())
	cmd, ended := n.tor, make(chan struct{})
	n.torEnded = ended
	go func() { cmd.Wait(); close(ended) }()
}

func (n *node) stopTor() { n.tor.Process.Signal(syscall.SIGTERM); <-n.torEnded }

func (n *node) killTor() { n.tor.Process.Kill(); <-n.torEnded }

// startAllium starts the program, and waits until it says that it is ready and its onion
// service is published.
func (n *node) startAllium(t testing.TB) {
	from := n.launchAllium(t)
	n.logs(t, from, "ready: attached", time.Minute)
	n.logs(t, from, "onion service is published", time.Minute)
}

// launchAllium starts the program as an admin does. What it logs comes behind from.
func (n *node) launchAllium(t testing.TB) (from int64) {
	self, err := os.Executable()
	require.NoError(t, err)
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer log.Close()
	from, err = log.Seek(0, 2)
	require.NoError(t, err)
	args := []string{self, "run", "--config", n.config}
	if n.trace != "" {
		// -D: the program is our child, and not strace.
		args = append([]string{"strace", "-D", "-f", "--seccomp-bpf", "-q", "-s", "200", "-A", "-o", n.trace,
			"-e", "trace=connect,sendto,sendmsg,sendmmsg,execve,clone,clone3,fork,vfork,fsync",
			"-e", fmt.Sprintf("inject=fsync:delay_enter=%d", n.flush.Microseconds())}, args...)
	}
	n.allium = exec.Command(args[0], args[1:]...)
	n.allium.Stdout, n.allium.Stderr = log, log
	n.allium.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // should the tests end by a panic
	require.NoError(t, n.allium.Start(), "the package strace is needed")
	cmd, exited := n.allium, make(chan struct{})
	n.exited = exited
	go func() { cmd.Wait(); close(exited) }()
	return from
}

func (n *node) stopAllium() {
	if n.allium == nil {
		return
	}
	n.allium.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.exited:
	case <-time.After(20 * time.Second):
		n.allium.Process.Kill()
		<-n.exited
	}
}

// logs waits until the log, from an offset on, has the text.
func (n *node) logs(t testing.TB, from int64, text string, within time.Duration) {
	t.Helper()
	var log []byte
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		log, _ = os.ReadFile(n.log)
		if bytes.Contains(log[min(from, int64(len(log))):], []byte(text)) {
			return
		}
		select {
		case <-n.exited:
			t.Fatalf("%s: allium ended:\n%s", n.domain, log[from:])
		default:
		}
	}
	t.Fatalf("%s: no %q in the log:\n%s", n.domain, text, log[from:])
}

// logged is where the log ends now.
func (n *node) logged() int64 {
	st, err := os.Stat(n.log)
	if err != nil {
		return 0
	}
	return st.Size()
}

func (n *node) login(t testing.TB) {
	t.Helper()
	var err error
	n.client, err = hosttest.Login(deadline(t, 20*time.Second), n.host.ClientAddr(), n.account(), n.pass)
	require.NoError(t, err)
	// Only who has asked for the roster is told of approvals (RFC 6121 §3.1.6).
	require.NoError(t, n.client.SendXML("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>"))
	require.NoError(t, n.client.Send(&component.Stanza{Kind: component.Presence}))
}

// to makes a stanza for the user of another node.
func (n *node) to(t testing.TB, other *node, kind component.Kind, typ string, payload ...*component.Element) *component.Stanza {
	j, err := jid.Parse(n.contacts(other))
	require.NoError(t, err)
	s := &component.Stanza{Kind: kind, Type: typ, ID: rand.Text(), To: j}
	return s.Add(payload...)
}

func (n *node) send(t testing.TB, s *component.Stanza) *component.Stanza {
	t.Helper()
	require.NoError(t, n.client.Send(s))
	return s
}

// expect waits for a stanza from the other node's user.
func (n *node) expect(t testing.TB, ctx context.Context, what string, other *node, match func(*component.Stanza) bool) *component.Stanza {
	t.Helper()
	from := jid.MustParse(n.contacts(other))
	s, err := n.client.Expect(ctx, what, func(s *component.Stanza) bool { return s.From.Bare().Equal(from) && match(s) })
	if err != nil {
		for _, f := range []string{n.log, n.host.LogFile(), other.log, other.host.LogFile()} {
			t.Logf("%s ends:\n%s", f, tail(f))
		}
	}
	require.NoError(t, err)
	return s
}

// tail is the end of a log.
func tail(file string) string {
	log, _ := os.ReadFile(file)
	lines := strings.Split(string(log), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

func body(text string) *component.Element {
	return component.NewElement(component.NSClient, "body", component.Text(text))
}

func is(kind component.Kind, typ string) func(*component.Stanza) bool {
	return func(s *component.Stanza) bool { return s.Kind == kind && s.Type == typ }
}

func isError(id string) func(*component.Stanza) bool {
	return func(s *component.Stanza) bool { return s.ID == id && s.Type == "error" }
}

// says sends one message, and waits until it has arrived.
func says(t testing.TB, ctx context.Context, from, to *node, text string) {
	t.Helper()
	m := from.send(t, from.to(t, to, component.Message, "chat", body(text)))
	got := to.expect(t, ctx, "message "+text, from, func(s *component.Stanza) bool { return s.ID == m.ID })
	require.Equal(t, text, got.Body(), got)
}

// A lockedBuffer takes what several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
