package tornet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/proxy"
)

func TestNetwork(t *testing.T) {
	if _, err := findProgram("", "tor", "/usr/sbin/tor"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	began := time.Now()
	step := func(what string) { t.Logf("%5.1fs %s", time.Since(began).Seconds(), what) }

	// A path longer than the name of a Unix socket may be, with odd characters.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long ", 20)+`# "net"`)
	var last float64
	n, err := Start(ctx, dir, Options{Progress: func(done float64, what string) {
		require.GreaterOrEqual(t, done, last)
		last = done
		step(what)
	}})
	require.NoError(t, err)
	defer n.Close()
	require.Equal(t, 1.0, last)
	require.FileExists(t, n.Torrc())

	conn := dialEcho(t, ctx, n)
	step("onion service is reached")
	const hello = "hello over the onion"
	_, err = io.WriteString(conn, hello)
	require.NoError(t, err)
	got := make([]byte, len(hello))
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, hello, string(got))

	require.NoError(t, n.Close())
	require.NoError(t, n.Close(), "closed twice")
	require.Len(t, n.nodes, authorityCount+relayCount)
	for _, node := range n.nodes {
		process, err := os.FindProcess(node.cmd.Process.Pid)
		require.NoError(t, err)
		require.ErrorIs(t, process.Signal(syscall.Signal(0)), os.ErrProcessDone, node.name)
	}
	step("closed")
}

// The delay is there, on top of what the connection takes without.
func TestDelay(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const delay = 700 * time.Millisecond
	n, err := Start(ctx, t.TempDir(), Options{Delay: delay})
	require.NoError(t, err)
	defer n.Close()
	conn := dialEcho(t, ctx, n)
	ball := make([]byte, 1)
	for range 3 {
		began := time.Now()
		_, err = conn.Write(ball)
		require.NoError(t, err)
		_, err = io.ReadFull(conn, ball)
		require.NoError(t, err)
		took := time.Since(began)
		t.Logf("round trip %v", took.Round(time.Millisecond))
		require.GreaterOrEqual(t, took, delay)
	}

	// It is delay and not throttling: much more than fits into what one round trip
	// carries comes through, and in order.
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 8)
	}
	go conn.Write(sent)
	got := make([]byte, len(sent))
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, sent, got)

	require.NoError(t, n.Close())
	for _, node := range n.nodes {
		require.Empty(t, node.door.conns, "connections are left behind")
	}
}

// dialEcho makes a client with an onion service that sends back what it gets, and
// connects to it by another client.
func dialEcho(t *testing.T, ctx context.Context, n *Network) net.Conn {
	t.Helper()
	echo := startEcho(t)
	hsDir := filepath.Join(t.TempDir(), "hs")
	service := startClient(t, ctx, n, "--HiddenServiceDir", hsDir, "--HiddenServicePort", "7 "+echo)
	client := startClient(t, ctx, n)
	service()
	socks := client()
	hostname, err := os.ReadFile(filepath.Join(hsDir, "hostname"))
	require.NoError(t, err)
	onion := strings.TrimSpace(string(hostname)) + ":7"

	dialer, err := proxy.SOCKS5("tcp", socks, nil, nil)
	require.NoError(t, err)
	// The service needs some seconds to publish itself.
	for {
		conn, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", onion)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		require.NoError(t, ctx.Err(), err)
		time.Sleep(200 * time.Millisecond)
	}
}

func TestStartFails(t *testing.T) {
	// A tor that prints a warning and ends.
	bad := filepath.Join(t.TempDir(), "tor")
	script := "#!/bin/sh\necho '[warn] bad day'\nexit 1\n"
	require.NoError(t, os.WriteFile(bad, []byte(script), 0o700))
	dir := t.TempDir()
	_, err := Start(t.Context(), dir, Options{Tor: bad})
	require.ErrorContains(t, err, "tornet: ")
	require.ErrorContains(t, err, "[warn] bad day")
	require.ErrorContains(t, err, dir+string(filepath.Separator))
	require.ErrorContains(t, err, "tor.log")

	_, err = Start(t.Context(), dir, Options{Tor: filepath.Join(dir, "none")})
	require.ErrorIs(t, err, os.ErrNotExist)

	// The caller gives up when the processes have just been started.
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Start(ctx, dir, Options{Progress: func(_ float64, what string) {
		if strings.HasPrefix(what, "waiting") {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "tor.log")
}

var socksReady = regexp.MustCompile(`Opened Socks listener connection \(ready\) on (\S+)`)

// startClient starts a tor process in the network. The function that it returns
// waits until the process has bootstrapped and returns its SOCKS address.
func startClient(t *testing.T, ctx context.Context, n *Network, args ...string) func() string {
	t.Helper()
	tor, err := findProgram("", "tor", "/usr/sbin/tor")
	require.NoError(t, err)
	cmd := exec.Command(tor, append([]string{
		"-f", n.Torrc(),
		"--defaults-torrc", filepath.Join(t.TempDir(), "none"),
		"--DataDirectory", t.TempDir(),
		"--SocksPort", "127.0.0.1:auto",
		"--ControlPort", "127.0.0.1:auto",
		"--Log", "notice stdout",
		"--__OwningControllerProcess", fmt.Sprint(os.Getpid()),
	}, args...)...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill := func() { _ = cmd.Process.Kill() }
	stop := context.AfterFunc(ctx, kill)
	t.Cleanup(func() { stop(); kill(); _ = cmd.Wait() })
	return func() string {
		t.Helper()
		var log strings.Builder
		socks := ""
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(&log, lines.Text())
			if m := socksReady.FindStringSubmatch(lines.Text()); m != nil {
				socks = m[1]
			}
			if strings.Contains(lines.Text(), "Bootstrapped 100%") {
				require.NotEmpty(t, socks)
				go func() { _, _ = io.Copy(io.Discard, out) }()
				return socks
			}
		}
		require.FailNow(t, "client did not bootstrap", log.String())
		return ""
	}
}

// startEcho returns the address of a listener that sends back what it gets.
func startEcho(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
			}
		}
	}()
	return l.Addr().String()
}
