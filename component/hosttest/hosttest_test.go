package hosttest

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type startFunc func(context.Context, string, Config) (*Host, error)

var servers = map[string]startFunc{
	"prosody":  StartProsody,
	"ejabberd": StartEjabberd,
}

// eachServer runs f for both servers at the same time.
func eachServer(t *testing.T, f func(t *testing.T, kind string, start startFunc)) {
	for kind, start := range servers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, kind, start)
		})
	}
}

func testConfig() Config {
	return Config{
		Domains: []string{"a.test", "B.test"},
		Users: map[string]string{
			"alice@a.test":       "secret",
			"Bob.1+x@b.test":     "p\"ä\\ss <&> word%",
			"erin_\u00e9@a.test": "x",
		},
		Components: map[string]string{
			"one.a.test": "first \"secret\" \\",
			"two.a.test": "second",
		},
	}
}

func TestLife(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string, start startFunc) {
		c := testConfig()
		began := time.Now()
		h, err := start(t.Context(), filepath.Join(t.TempDir(), "new"), c)
		require.NoError(t, err)
		t.Logf("first start: %v", time.Since(began))
		t.Cleanup(func() { assert.NoError(t, h.Stop()) })
		assert.Equal(t, kind, h.Kind())
		assert.Empty(t, h.S2SAddr())
		assert.FileExists(t, h.LogFile())
		assert.Error(t, h.Start(t.Context()), "it runs already")
		client, component := h.ClientAddr(), h.ComponentAddr()

		steps := []struct {
			name string
			end  func() error
		}{
			// First of all a crash: accounts must survive it from the start.
			{"Kill", h.Kill}, {"Stop", h.Stop}, {"Kill", h.Kill}, {"Stop", h.Stop},
		}
		for _, step := range steps {
			serve(t, h, c)
			pid := h.PID()
			require.NotZero(t, pid)
			family := descendants(pid)
			began = time.Now()
			require.NoError(t, step.end())
			t.Logf("%s: %v", step.name, time.Since(began))
			assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "the process is gone")
			assert.Eventually(t, func() bool { return !anyAlive(family) }, 5*time.Second, 10*time.Millisecond)
			assert.Zero(t, h.PID())
			assert.NoError(t, h.Stop(), "stopping twice does nothing")
			assert.NoError(t, h.Kill())

			began = time.Now()
			require.NoError(t, h.Start(t.Context()))
			t.Logf("start after %s: %v", step.name, time.Since(began))
			assert.Equal(t, client, h.ClientAddr())
			assert.Equal(t, component, h.ComponentAddr())
		}
		serve(t, h, c)
	})
}

// serve checks that users can log in and components can talk. It leaves the
// connections open, for the end of the server to meet them.
func serve(t *testing.T, h *Host, c Config) {
	t.Helper()
	for jid, password := range c.Users {
		conn, ok := login(t, h.ClientAddr(), jid, password)
		assert.True(t, ok, "login of %s", jid)
		t.Cleanup(func() { conn.Close() })
	}
	wrong, ok := login(t, h.ClientAddr(), "alice@a.test", "wrong")
	assert.False(t, ok)
	wrong.Close()

	one := joinComponent(t, h.ComponentAddr(), "one.a.test", c.Components["one.a.test"])
	two := joinComponent(t, h.ComponentAddr(), "two.a.test", c.Components["two.a.test"])
	for _, domain := range []string{"a.test", "b.test"} {
		one.send(`<iq type="get" id="p1" from="one.a.test" to="%s"><ping xmlns="urn:xmpp:ping"/></iq>`, domain)
		assert.Regexp(t, `type=.result`, one.until("<iq[^>]*>"))
	}
	// Traffic of one component must not reach the other.
	two.send(`<message from="x@two.a.test" to="y@two.a.test"><body>mine</body></message>`)
	assert.Contains(t, two.until("</message>"), "mine")
	two.send(`<message from="x@two.a.test" to="y@one.a.test"><body>yours</body></message>`)
	got := one.until("</message>")
	assert.Contains(t, got, "yours")
	assert.NotContains(t, got, "mine")
	// A name that is not served is answered at once, without a DNS query.
	two.send(`<message from="x@two.a.test" to="y@elsewhere.example"><body>far</body></message>`)
	assert.Regexp(t, `type=.error`, two.until("</message>"))
}

func TestSideBySide(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string, start startFunc) {
		c := testConfig()
		for range 2 {
			h, err := start(t.Context(), t.TempDir(), c)
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, h.Stop()) })
			serve(t, h, c)
		}
	})
}

func TestWithoutComponents(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string, start startFunc) {
		h, err := start(t.Context(), t.TempDir(), Config{Domains: []string{"a.test"}})
		require.NoError(t, err)
		assert.Empty(t, h.ComponentAddr())
		assert.NoError(t, h.Stop())
	})
}

func TestS2S(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string, start startFunc) {
		c := testConfig()
		c.S2S = true
		h, err := start(t.Context(), t.TempDir(), c)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, h.Stop()) })
		s := open(t, h.S2SAddr(), `<stream:stream xmlns="jabber:server" xmlns:stream="http://etherx.jabber.org/streams"`+
			` xmlns:db="jabber:server:dialback" from="peer.test" to="a.test" version="1.0">`)
		assert.Contains(t, s.until("</stream:features>"), "dialback")
		// An unknown name fails fast, because no DNS server is asked.
		one := joinComponent(t, h.ComponentAddr(), "one.a.test", c.Components["one.a.test"])
		one.send(`<message from="x@one.a.test" to="y@elsewhere.example"><body>far</body></message>`)
		assert.Contains(t, one.until("</message>"), "remote-server-not-found")
	})
}

func TestExtra(t *testing.T) {
	extra := map[string]string{
		"prosody":  "default_iteration_count = 4096\nComponent \"rooms.a.test\" \"muc\"\n",
		"ejabberd": "append_host_config:\n  a.test:\n    modules:\n      mod_muc:\n        host: rooms.a.test\n",
	}
	eachServer(t, func(t *testing.T, kind string, start startFunc) {
		c := testConfig()
		c.Extra = extra[kind]
		c.HostExtra = "name = \"extra\""
		c.Modules = []string{"privilege"} // a community module
		h, err := start(t.Context(), t.TempDir(), c)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, h.Stop()) })
		one := joinComponent(t, h.ComponentAddr(), "one.a.test", c.Components["one.a.test"])
		one.send(`<iq type="get" id="d" from="one.a.test" to="rooms.a.test"><query xmlns="http://jabber.org/protocol/disco#info"/></iq>`)
		assert.Contains(t, one.until("</iq>"), "conference")
	})
}

func TestDataIsKept(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string, start startFunc) {
		dir := t.TempDir()
		c := testConfig()
		h, err := start(t.Context(), dir, c)
		require.NoError(t, err)
		require.NoError(t, h.Stop())

		c.Users = map[string]string{"alice@a.test": "changed"}
		h, err = start(t.Context(), dir, c)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, h.Stop()) })
		for jid, password := range map[string]string{
			"alice@a.test":   "changed",
			"Bob.1+x@b.test": testConfig().Users["Bob.1+x@b.test"],
		} {
			conn, ok := login(t, h.ClientAddr(), jid, password)
			assert.True(t, ok, jid)
			conn.Close()
		}
	})
}

func TestErrors(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string, start startFunc) {
		t.Run("config", func(t *testing.T) {
			for name, c := range map[string]Config{
				"no domain":       {},
				"bad domain":      {Domains: []string{"a\"test"}},
				"domain twice":    {Domains: []string{"a.test", "A.test"}},
				"domain taken":    {Domains: []string{"a.test"}, Components: map[string]string{"a.test": "x"}},
				"no secret":       {Domains: []string{"a.test"}, Components: map[string]string{"c.test": ""}},
				"foreign user":    {Domains: []string{"a.test"}, Users: map[string]string{"x@b.test": "x"}},
				"user with no @":  {Domains: []string{"a.test"}, Users: map[string]string{"a.test": "x"}},
				"full JID":        {Domains: []string{"a.test"}, Users: map[string]string{"x@a.test/r": "x"}},
				"user, no secret": {Domains: []string{"a.test"}, Users: map[string]string{"x@a.test": ""}},
			} {
				_, err := start(t.Context(), t.TempDir(), c)
				assert.ErrorContains(t, err, "hosttest: ", name)
			}
		})
		t.Run("syntax", func(t *testing.T) {
			dir := t.TempDir()
			began := time.Now()
			_, err := start(t.Context(), dir, Config{Domains: []string{"a.test"}, Extra: "{ this is wrong"})
			require.ErrorContains(t, err, "hosttest: ")
			assert.ErrorContains(t, err, dir)
			assert.Less(t, time.Since(began), 20*time.Second)
			t.Log(err)
		})
		t.Run("cancel", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := start(ctx, t.TempDir(), testConfig())
			require.ErrorIs(t, err, context.DeadlineExceeded)
			t.Log(err)
		})
		t.Run("port taken", func(t *testing.T) {
			h, err := start(t.Context(), t.TempDir(), testConfig())
			require.NoError(t, err)
			require.NoError(t, h.Stop())
			l, err := net.Listen("tcp4", h.ComponentAddr())
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err = h.Start(ctx)
			require.ErrorContains(t, err, h.LogFile())
			t.Log(err)
			assert.Zero(t, h.PID())
			require.NoError(t, l.Close())
			require.NoError(t, h.Start(t.Context()), "after a failed start")
			assert.NoError(t, h.Stop())
		})
		t.Run("crash", func(t *testing.T) {
			h, err := start(t.Context(), t.TempDir(), testConfig())
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(h.PID(), syscall.SIGKILL))
			require.Eventually(t, func() bool { return h.PID() == 0 }, 5*time.Second, time.Millisecond)
			assert.ErrorContains(t, h.Stop(), "ended by itself")
			assert.NoError(t, h.Stop())
			require.NoError(t, h.Start(t.Context()))
			assert.NoError(t, h.Stop())
		})
	})
}

// TestHang stops a server that does not react to SIGTERM.
func TestHang(t *testing.T) {
	t.Parallel()
	h, err := StartProsody(t.Context(), t.TempDir(), testConfig())
	require.NoError(t, err)
	assert.Equal(t, 10*time.Second, h.stopTimeout)
	h.stopTimeout = 100 * time.Millisecond
	pid := h.PID()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	assert.ErrorContains(t, h.Stop(), "was killed")
	assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for kind, start := range servers {
		_, err := start(t.Context(), t.TempDir(), testConfig())
		assert.ErrorContains(t, err, fmt.Sprintf("install the Debian package %q", kind))
	}
}

// stream is a raw XML stream.
type stream struct {
	net.Conn
	t   *testing.T
	buf string
}

func open(t *testing.T, addr, header string) *stream {
	t.Helper()
	conn, err := net.Dial("tcp4", addr)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	t.Cleanup(func() { conn.Close() })
	s := &stream{Conn: conn, t: t}
	s.send("%s", header)
	return s
}

func (s *stream) send(format string, args ...any) {
	s.t.Helper()
	_, err := fmt.Fprintf(s, format, args...)
	require.NoError(s.t, err)
}

// until reads up to and with what the pattern matches.
func (s *stream) until(pattern string) string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	chunk := make([]byte, 4096)
	for {
		if at := re.FindStringIndex(s.buf); at != nil {
			got := s.buf[:at[1]]
			s.buf = s.buf[at[1]:]
			return got
		}
		n, err := s.Read(chunk)
		require.NoError(s.t, err, "waiting for %s, got %s", pattern, s.buf)
		s.buf += string(chunk[:n])
	}
}

// login reports whether SASL PLAIN works without TLS.
func login(t *testing.T, addr, jid, password string) (*stream, bool) {
	t.Helper()
	local, domain, _ := strings.Cut(strings.ToLower(jid), "@")
	s := open(t, addr, fmt.Sprintf(streamHeader, "jabber:client", domain))
	features := s.until("</stream:features>")
	assert.Contains(t, features, "<mechanism>PLAIN</mechanism>")
	assert.Contains(t, features, "<mechanism>SCRAM-SHA-1</mechanism>")
	assert.NotContains(t, features, "starttls")
	s.send(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">%s</auth>`,
		base64.StdEncoding.EncodeToString([]byte("\x00"+local+"\x00"+password)))
	return s, strings.Contains(s.until("<(success|failure)"), "success")
}

// joinComponent does the handshake of XEP-0114.
func joinComponent(t *testing.T, addr, domain, secret string) *stream {
	t.Helper()
	s := open(t, addr, fmt.Sprintf(`<stream:stream xmlns="jabber:component:accept" xmlns:stream="http://etherx.jabber.org/streams" to="%s">`, domain))
	header := s.until("<stream:stream[^>]*>")
	id := regexp.MustCompile(`\sid=['"]([^'"]*)['"]`).FindStringSubmatch(header)
	require.NotNil(t, id, header)
	sum := sha1.Sum([]byte(id[1] + secret))
	s.send(`<handshake>%s</handshake>`, hex.EncodeToString(sum[:]))
	require.NotContains(t, s.until("(<handshake|<stream:error)[^>]*>"), "error")
	return s
}

// descendants finds the child processes of pid, with their start times, so that
// a reused process id is not taken for one of them.
func descendants(pid int) map[int]string {
	found := make(map[int]string)
	entries, _ := os.ReadDir("/proc")
	for again := true; again; {
		again = false
		for _, e := range entries {
			child, err := strconv.Atoi(e.Name())
			if err != nil || found[child] != "" {
				continue
			}
			parent, started := procStat(child)
			if parent != 0 && (parent == pid || found[parent] != "") {
				found[child] = started
				again = true
			}
		}
	}
	return found
}

func anyAlive(family map[int]string) bool {
	for pid, started := range family {
		if _, now := procStat(pid); now == started {
			return true
		}
	}
	return false
}

// procStat reads parent and start time of a process.
func procStat(pid int) (parent int, started string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, ""
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return 0, ""
	}
	parent, _ = strconv.Atoi(fields[1])
	return parent, fields[19]
}
