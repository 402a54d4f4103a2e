package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Of all that the tests above made Allium do, nothing connected to anything but the
// host's component port and Tor's sockets, and nothing was sent by UDP, such as a DNS
// query. It must be the last test, and so its file the last one by name.
func TestZConnections(t *testing.T) {
	nodes := 0
	for _, n := range shared.nodes {
		if n.trace == "" {
			continue
		}
		nodes++
		text, err := os.ReadFile(n.trace)
		require.NoError(t, err)
		seen := map[string]int{}
		for _, call := range ownCalls(string(text)) {
			kind := "other"
			switch {
			case strings.Contains(call, `sa_family=AF_UNIX, sun_path="`+n.dir+`/state/tor/`),
				strings.Contains(call, `sa_family=AF_UNIX, sun_path="`+n.dir+`/tor/`):
				kind = "tor"
			case strings.Contains(call, "sin_port=htons("+n.server[len("127.0.0.1:"):]+`), sin_addr=inet_addr("127.0.0.1")`):
				kind = "host"
			case !strings.Contains(call, "sa_family="):
				kind = "connected socket"
			default:
				t.Errorf("%s: %s", n.domain, call)
			}
			seen[kind]++
		}
		t.Logf("%s: %v", n.domain, seen)
		assert.Greater(t, seen["tor"], 1, "the trace is of what it says")
		assert.Greater(t, seen["host"], 0, "the trace is of what it says")
	}
	require.NotZero(t, nodes)
}

var (
	traceLine = regexp.MustCompile(`(?m)^(\d+) +(.*)$`)
	traceFork = regexp.MustCompile(`(?:clone3?|v?fork)(?:\(| resumed).*= (\d+)$`)
	traceExec = regexp.MustCompile(`^execve\("[^"]*/tor"`)
)

// ownCalls are the system calls of a trace that were not made by tor.
func ownCalls(trace string) (calls []string) {
	parent, tor := map[string]string{}, map[string]bool{}
	lines := traceLine.FindAllStringSubmatch(trace, -1)
	for _, l := range lines {
		if f := traceFork.FindStringSubmatch(l[2]); f != nil {
			parent[f[1]] = l[1]
		}
		if traceExec.MatchString(l[2]) {
			tor[l[1]] = true
		}
	}
	ofTor := func(pid string) bool {
		for ; pid != ""; pid = parent[pid] {
			if tor[pid] {
				return true
			}
		}
		return false
	}
	for _, l := range lines {
		if (strings.HasPrefix(l[2], "connect") || strings.HasPrefix(l[2], "send")) && !ofTor(l[1]) {
			calls = append(calls, l[2])
		}
	}
	return calls
}
