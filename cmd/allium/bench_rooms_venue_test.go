package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
)

// A venue is a room service that runs, and the people who can come.
type venue struct {
	*people
	service int // process ids: 0 is no host, and one of both is a host that is the service
	host    int
	close   func()
}

// behindHost tells of a service that is not the host's own and has one before it.
func (v *venue) behindHost() bool { return v.host != 0 && v.host != v.service }

// A roomProgram makes the command of a room service that attaches to a server, with its
// files in a folder.
type roomProgram func(t testing.TB, dir, server string) *exec.Cmd

func limitRooms(t testing.TB, _, server string) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), limitEnv+"="+server)
	return cmd
}

// onSocket runs a service with nothing between it and the people: they are the server
// that it attaches to.
func onSocket(program roomProgram) func(testing.TB) *venue {
	return func(t testing.TB) *venue {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		pid, stop := startRooms(t, program(t, t.TempDir(), l.Addr().String()))
		require.NoError(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(20*time.Second)))
		conn, err := l.Accept()
		require.NoError(t, err)
		welcome(t, conn)
		return newVenue(t, &venue{people: newPeople(conn), service: pid, close: func() { stop(); conn.Close() }})
	}
}

// welcome does the server's part of the handshake (XEP-0114 §3). Any secret is right.
func welcome(t testing.TB, conn net.Conn) {
	var got []byte
	until := func(text string) {
		for !strings.Contains(string(got), text) {
			buf := make([]byte, 4096)
			n, err := conn.Read(buf)
			require.NoError(t, err)
			got = append(got, buf[:n]...)
		}
	}
	until("to=")
	fmt.Fprintf(conn, "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:component:accept' id='1' from='%s'>", roomsDomain)
	until("</handshake>")
	fmt.Fprint(conn, "<handshake/>")
}

// onHost runs a host, and a service beside it, or if program is nil, the host's own one.
func onHost(kind string, program roomProgram) func(testing.TB) *venue {
	return func(t testing.TB) *venue {
		c := hosttest.Config{Domains: []string{"host.example"}, Components: map[string]string{peopleDomain: roomsSecret}}
		if program != nil {
			c.Components[roomsDomain] = roomsSecret
		}
		start := hosttest.StartProsody
		c.Extra = prosodyRooms(program == nil)
		if kind == "ejabberd" {
			start, c.Extra = hosttest.StartEjabberd, ejabberdRooms(program == nil)
		}
		h, err := start(deadline(t, time.Minute), t.TempDir(), c)
		require.NoError(t, err)
		v := &venue{service: h.PID(), host: h.PID()}
		stop := func() {}
		if program != nil {
			v.service, stop = startRooms(t, program(t, t.TempDir(), h.ComponentAddr()))
		}
		conn, err := component.Connect(context.Background(), h.ComponentAddr(), peopleDomain, roomsSecret)
		require.NoError(t, err)
		v.people, v.close = newPeople(conn), func() { stop(); conn.Close(); h.Stop() }
		return newVenue(t, v)
	}
}

// newVenue is the venue when its service answers.
func newVenue(t testing.TB, v *venue) *venue {
	v.close = sync.OnceFunc(v.close)
	t.Cleanup(v.close)
	v.ask(t)
	return v
}

// prosodyRooms are Prosody's options for speed: its default way to collect garbage doubles
// the CPU time of rooms, and it would keep only 100 of them in memory.
func prosodyRooms(own bool) string {
	options := "gc = { mode = \"generational\" }\n"
	if own {
		options += fmt.Sprintf("muc_room_cache_size = 5000\nComponent %q \"muc\"\n", roomsDomain)
	}
	return options
}

func ejabberdRooms(own bool) string {
	if !own {
		return ""
	}
	return fmt.Sprintf(`append_host_config:
  host.example:
    modules:
      mod_muc:
        host: %s
        max_users: 5000
        max_users_presence: 5000
        default_room_options:
          max_users: 5000
`, roomsDomain)
}

// startRooms starts a service, and gives its process id and what ends it.
func startRooms(t testing.TB, cmd *exec.Cmd) (pid int, stop func()) {
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	require.NoError(t, cmd.Start())
	return cmd.Process.Pid, func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
}
