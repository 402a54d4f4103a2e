package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A profanity is a person with Profanity, in a terminal of tmux.
type profanity struct {
	guest
	dir string
}

// startProfanity runs Profanity with files of its own, and logs in.
func startProfanity(t testing.TB, g guest) *profanity {
	t.Helper()
	dir, err := os.MkdirTemp("", "profanity") // a short name: it holds a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &profanity{guest: g, dir: dir}
	host, port, err := net.SplitHostPort(g.host.ClientAddr())
	require.NoError(t, err)
	for file, text := range map[string]string{
		"data/profanity/accounts": fmt.Sprintf("[me]\nenabled=true\njid=%s\npassword=%s\nserver=%s\nport=%s\ntls.policy=disable\nmuc.nick=%s\n", g.account, g.pass, host, port, g.nick),
		"config/profanity/profrc": "[ui]\nsplash=false\ntitlebar.muc.title.name=false\ntitlebar.muc.title.jid=true\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
	}
	env := []string{"HOME=" + dir, "LANG=C.UTF-8"}
	for _, kind := range []string{"config", "data", "state", "cache"} {
		env = append(env, "XDG_"+strings.ToUpper(kind)+"_HOME="+filepath.Join(dir, kind))
	}
	// Wide, so that no line that is looked for is broken.
	p.tmux(t, append(append([]string{"-f", "/dev/null", "new-session", "-d", "-x", "250", "-y", "60", "env"}, env...),
		"profanity", "--log", "DEBUG", "--logfile", filepath.Join(dir, "log"), "--account", "me",
		";", "set-option", "remain-on-exit", "on")...) // so that the screen of one that crashed can be seen
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen of Profanity:\n%s\nits log ends:\n%s", p.screen(t), tail(filepath.Join(dir, "log")))
		}
		p.tmux(t, "kill-server")
	})
	p.shows(t, "logged in successfully")
	return p
}

// tmux runs a command of tmux, which has a server of its own here.
func (p *profanity) tmux(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", filepath.Join(p.dir, "tmux")}, args...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %q: %s (the packages tmux and profanity are needed)", cmd, args, out)
	return string(out)
}

func (p *profanity) screen(t testing.TB) string { return p.tmux(t, "capture-pane", "-p", "-J") }

// types enters a line.
func (p *profanity) types(t testing.TB, format string, args ...any) {
	t.Helper()
	p.tmux(t, "send-keys", "-l", fmt.Sprintf(format, args...))
	p.tmux(t, "send-keys", "Enter")
}

// enters joins the room and looks at it.
func (p *profanity) enters(t testing.TB) {
	t.Helper()
	p.types(t, "/join %s nick %s", p.room, p.nick)
}

// opens looks at a room, or at what was said in private, when there is such a window.
func (p *profanity) opens(t testing.TB, address, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		p.types(t, "/win %s", address)
		first, _, _ := strings.Cut(p.screen(t), "\n")
		if strings.Contains(first, address) {
			p.shows(t, text)
			return
		}
	}
	t.Fatalf("%s: no window of %s:\n%s", p.nick, address, p.screen(t))
}

// sees waits until the list beside the room has these people, by role.
func (p *profanity) sees(t testing.TB, want map[string]string) {
	t.Helper()
	var got map[string]string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if got = occupantList(p.screen(t)); assert.ObjectsAreEqual(want, got) {
			return
		}
	}
	require.Equal(t, want, got, "%s:\n%s", p.nick, p.screen(t))
}

// occupantList reads the list of occupants, which is to the right of what is said: below
// a title for each role there are the nicknames.
func occupantList(screen string) map[string]string {
	roles := map[string]string{"Moderators": "moderator", "Participants": "participant", "Visitors": "visitor"}
	list, role, column := map[string]string{}, "", -1
	for line := range strings.Lines(screen) {
		if column < 0 {
			if column = strings.Index(line, " Moderators"); column >= 0 {
				column = utf8.RuneCountInString(line[:column])
			}
		}
		runes := []rune(line)
		if column < 0 || len(runes) < column {
			continue
		}
		switch text := strings.TrimSpace(string(runes[column:])); {
		case roles[text] != "":
			role = roles[text]
		case strings.HasPrefix(text, "["), text == "": // the line below all
		default:
			list[text] = role
		}
	}
	return list
}

// shows waits for text on the screen.
func (p *profanity) shows(t testing.TB, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(p.screen(t), text) }, time.Minute, 50*time.Millisecond, "%s: %s", p.nick, text)
}
