package onionroute

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cretz/bine/control"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fails runs a Tor until it says why it is not usable.
func fails(t *testing.T, c TorConfig) error {
	c.Log = slog.New(slog.DiscardHandler)
	tor := NewTor(c)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tor.Run(ctx) }()
	err := <-tor.Failed()
	stop()
	require.NoError(t, <-ended)
	return err
}

// A program that runs, and is no tor or hangs, is told of in words.
func TestTorSilent(t *testing.T) {
	was := torStartTimeout
	torStartTimeout = 200 * time.Millisecond
	defer func() { torStartTimeout = was }()
	dir := t.TempDir()
	program := filepath.Join(dir, "tor")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\nexec sleep 100\n"), 0o755))
	assert.ErrorContains(t, fails(t, TorConfig{Dir: dir, Binary: program}), program+" runs, and does not answer at "+filepath.Join(dir, "control"))
}

// A running tor that wants a password says so to who has none.
func TestTorWantsPassword(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(conn).ReadString('\n')
			fmt.Fprint(conn, "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=HASHEDPASSWORD\r\n250-VERSION Tor=\"0.4.9.1\"\r\n250 OK\r\n")
			conn.Close()
		}
	}()
	assert.ErrorContains(t, fails(t, TorConfig{Dir: t.TempDir(), Control: "unix:" + socket}), "is tor.password right, or may this user read tor's cookie file?")
}

// An answer that comes late is not taken for that of the next command.
func TestTorAnswersLate(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		bufio.NewReader(theirs).ReadString('\n')
		time.Sleep(100 * time.Millisecond)
		fmt.Fprint(theirs, "250-first=answer\r\n250 OK\r\n")
	}()
	cc := &controlConn{raw: ours, patience: 50 * time.Millisecond, c: control.NewConn(textproto.NewConn(ours))}
	_, late := cc.getInfo("first")
	require.ErrorContains(t, late, "tor runs, and has not answered for 50ms")
	cc.patience = time.Minute
	_, err := cc.getInfo("second")
	assert.Equal(t, late, err)
}
