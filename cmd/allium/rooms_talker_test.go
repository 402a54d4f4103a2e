package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A talker is a person whose client is a library for Python: testdata/room_*.py, which
// does what it is told line by line, and tells what the library makes of what it gets.
type talker struct {
	guest
	cmd *exec.Cmd
	in  io.WriteCloser
	log string

	mu    sync.Mutex
	told  []roomLine
	more  chan struct{} // closed when there is more in told
	ended error
	asked int
}

// A roomLine is what a script tells: the answer to what it was told to do, or an event.
type roomLine struct {
	ID     int
	Result json.RawMessage
	Error  string

	Event, Nick, To, Role, Affiliation, Actor, Reason, Body, Room, Mode string
	Codes                                                               []int
	Delayed                                                             bool
}

// A roomView is what a library thinks that the room is like.
type roomView struct {
	Me, Subject string
	Joined      bool
	Occupants   map[string]occupant
}

type occupant struct{ Role, Affiliation, JID string }

// startTalker runs the script for a library, and logs in.
func startTalker(t testing.TB, library string, g guest) *talker {
	t.Helper()
	log, err := os.CreateTemp("", library)
	require.NoError(t, err)
	defer log.Close()
	p := &talker{guest: g, log: log.Name(), more: make(chan struct{})}
	// Debian's own Python has Debian's libraries. -B: nothing is written beside the scripts.
	p.cmd = exec.Command("/usr/bin/python3", "-B", filepath.Join("testdata", "room_"+library+".py"))
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // should the tests end by a panic
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	read := make(chan struct{})
	go func() { p.read(out); close(read) }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-read
		p.cmd.Wait()
		if t.Failed() {
			t.Logf("%s ends:\n%s", library, tail(p.log))
		}
		os.Remove(p.log)
	})
	p.login(t)
	return p
}

func (p *talker) login(t testing.TB) {
	t.Helper()
	host, port, err := net.SplitHostPort(p.host.ClientAddr())
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	p.do(t, "login", "jid", p.account, "password", p.pass, "host", host, "port", number)
}

func (p *talker) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var l roomLine
		err := json.Unmarshal(lines.Bytes(), &l)
		p.mu.Lock()
		if err != nil {
			p.ended = err
		}
		p.told = append(p.told, l)
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = io.EOF
	close(p.more)
	p.more = make(chan struct{})
}

// take gives the first line that matches, and forgets it and, of events, what was told
// before it.
func (p *talker) take(t testing.TB, what string, match func(roomLine) bool) roomLine {
	t.Helper()
	late := time.After(90 * time.Second)
	for {
		p.mu.Lock()
		i, ended, more := slices.IndexFunc(p.told, match), p.ended, p.more
		rest := slices.Clone(p.told)
		if i >= 0 {
			l := p.told[i]
			p.told = slices.Delete(p.told, i, i+1)
			if l.Event != "" {
				p.told = p.told[i:]
			}
			p.mu.Unlock()
			return l
		}
		p.mu.Unlock()
		require.NoError(t, ended, "%s: %s: %+v", p.nick, what, rest)
		select {
		case <-more:
		case <-late:
			t.Fatalf("%s: expected %s; was told %+v", p.nick, what, rest)
		}
	}
}

// try tells the script to do something, and gives the answer.
func (p *talker) try(t testing.TB, what string, with ...any) roomLine {
	t.Helper()
	return p.begin(t, what, with...)()
}

// begin is try; what it gives waits for the answer.
func (p *talker) begin(t testing.TB, what string, with ...any) (answer func() roomLine) {
	t.Helper()
	p.asked++
	args := map[string]any{}
	for i := 0; i < len(with); i += 2 {
		args[with[i].(string)] = with[i+1]
	}
	id := p.asked
	line, err := json.Marshal(map[string]any{"id": id, "do": what, "with": args})
	require.NoError(t, err)
	_, err = p.in.Write(append(line, '\n'))
	require.NoError(t, err)
	return func() roomLine {
		t.Helper()
		return p.take(t, "answer to "+string(line), func(l roomLine) bool { return l.ID == id })
	}
}

// do is try, and must succeed.
func (p *talker) do(t testing.TB, what string, with ...any) json.RawMessage {
	t.Helper()
	l := p.try(t, what, with...)
	require.Empty(t, l.Error, "%s: %s %v", p.nick, what, with)
	return l.Result
}

// refused is try, and must end in an XMPP error of that condition.
func (p *talker) refused(t testing.TB, condition, what string, with ...any) {
	t.Helper()
	require.Equal(t, condition, p.try(t, what, with...).Error, "%s: %s %v", p.nick, what, with)
}

// learns waits for an event about somebody, and gives it.
func (p *talker) learns(t testing.TB, event, nick string) roomLine {
	t.Helper()
	return p.take(t, event+" of "+nick, func(l roomLine) bool { return l.Event == event && l.Nick == nick })
}

// hears waits for what somebody says in the room.
func (p *talker) hears(t testing.TB, nick, body string) roomLine {
	t.Helper()
	return p.take(t, nick+": "+body, func(l roomLine) bool { return l.Event == "message" && l.Nick == nick && l.Body == body })
}

// sees waits until the library thinks that the room is like that.
func (p *talker) sees(t testing.TB, want roomView) {
	t.Helper()
	var got roomView
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		got = roomView{}
		require.NoError(t, json.Unmarshal(p.do(t, "view"), &got))
		if assert.ObjectsAreEqual(want, got) {
			return
		}
	}
	require.Equal(t, want, got, p.nick)
}
