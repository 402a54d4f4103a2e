package main

import (
	"encoding/hex"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A torWatch counts what a tor does, as it tells by its control port.
type torWatch struct {
	t       testing.TB
	conn    *textproto.Conn
	answers chan string

	mu     sync.Mutex
	seen   torCount
	once   map[string]bool // what is counted already
	purged chan struct{}   // closed when the signal NEWNYM has been handled
}

// A torCount is what the clients' side of a tor has done. The services' side is that of
// another tor.
type torCount struct {
	streams  int // connections to onion services that were asked for
	refused  int // of them, those that did not come about
	circuits int // rendezvous circuits that were joined
	fetches  int // of descriptors
}

func (c torCount) plus(d torCount, sign int) torCount {
	return torCount{c.streams + sign*d.streams, c.refused + sign*d.refused, c.circuits + sign*d.circuits, c.fetches + sign*d.fetches}
}

// watchTor watches a tor that has that control socket.
func watchTor(t testing.TB, socket, cookie string) *torWatch {
	conn, err := textproto.Dial("unix", socket)
	require.NoError(t, err)
	w := &torWatch{t: t, conn: conn, answers: make(chan string, 1), once: map[string]bool{}}
	t.Cleanup(func() { conn.Close() })
	go w.read()
	secret, err := os.ReadFile(cookie)
	require.NoError(t, err)
	w.command("AUTHENTICATE " + hex.EncodeToString(secret))
	w.command("SETEVENTS STREAM CIRC CIRC_MINOR HS_DESC SIGNAL")
	return w
}

// watch watches the node's tor.
func (n *node) watch(t testing.TB) *torWatch {
	if n.control == "" { // it is Allium's own
		own := filepath.Join(n.dir, "state", "tor")
		return watchTor(t, filepath.Join(own, "control"), filepath.Join(own, "cookie"))
	}
	folder := "tor"
	if n.allium != nil {
		folder = "tor/data"
	}
	return watchTor(t, n.control, filepath.Join(n.dir, folder, "control_auth_cookie"))
}

func (w *torWatch) read() {
	var answer []string
	for {
		line, err := w.conn.ReadLine()
		if err != nil {
			return
		}
		switch {
		case strings.HasPrefix(line, "650 "):
			w.event(line[4:])
		case strings.HasPrefix(line, "250+"): // what follows belongs to it
			text, err := w.conn.ReadDotLines()
			if err != nil {
				return
			}
			answer = append(answer, text...)
		default:
			answer = append(answer, line)
			if len(line) > 3 && line[3] == ' ' {
				w.answers <- strings.Join(answer, "\n")
				answer = nil
			}
		}
	}
}

func (w *torWatch) command(c string) string {
	require.NoError(w.t, w.conn.PrintfLine("%s", c))
	select {
	case a := <-w.answers:
		return a
	case <-time.After(20 * time.Second):
		require.FailNow(w.t, "tor does not answer", c)
		return ""
	}
}

func (w *torWatch) event(e string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := strings.Fields(e)
	count := func(n *int, what string) {
		if !w.once[what] {
			w.once[what] = true
			*n++
		}
	}
	switch {
	case f[0] == "STREAM" && strings.Contains(e, ".onion:"):
		count(&w.seen.streams, "stream "+f[1])
		if f[2] == "FAILED" || f[2] == "CLOSED" && !w.once["connected "+f[1]] {
			count(&w.seen.refused, "refused "+f[1])
		}
		w.once["connected "+f[1]] = w.once["connected "+f[1]] || f[2] == "SUCCEEDED"
	case strings.HasPrefix(f[0], "CIRC") && strings.Contains(e, "PURPOSE=HS_CLIENT_REND") && strings.Contains(e, "HS_STATE=HSCR_JOINED"):
		count(&w.seen.circuits, "circuit "+f[1])
	case f[0] == "HS_DESC" && f[1] == "RECEIVED":
		w.seen.fetches++
	case e == "SIGNAL NEWNYM" && w.purged != nil:
		close(w.purged)
		w.purged = nil
	}
}

func (w *torWatch) count() torCount {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// countAll is what several tors have done together.
func countAll(tors []*torWatch) (sum torCount) {
	for _, w := range tors {
		sum = sum.plus(w.count(), 1)
	}
	return sum
}

var rendezvous = regexp.MustCompile(`(?m)^(?:250.circuit-status=)?(\d+) .* PURPOSE=HS_(?:CLIENT|SERVICE)_REND`)

// hangUp makes tors close all connections to and from onion services.
func hangUp(tors ...*torWatch) {
	for _, w := range tors {
		for _, m := range rendezvous.FindAllStringSubmatch(w.command("GETINFO circuit-status"), -1) {
			w.command("CLOSECIRCUIT " + m[1])
		}
	}
	time.Sleep(time.Second) // until all ends have noticed
}

// chill makes tors close all connections to and from onion services, and forget what they
// know of others: which services there are, and circuits. They take that at most once
// in ten seconds, so it may take as long.
func chill(tors ...*torWatch) {
	hangUp(tors...)
	var purged []chan struct{}
	for _, w := range tors {
		done := make(chan struct{})
		w.mu.Lock()
		w.purged = done
		w.mu.Unlock()
		purged = append(purged, done)
		require.True(w.t, strings.HasPrefix(w.command("SIGNAL NEWNYM"), "250"))
	}
	for i, done := range purged {
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			require.FailNow(tors[i].t, "tor does not forget")
		}
	}
	time.Sleep(4 * time.Second) // each makes some circuits, to have them when they are needed
}

func (c torCount) String() string {
	s := fmt.Sprintf("%d streams, %d circuits", c.streams, c.circuits)
	if c.refused > 0 {
		s += fmt.Sprintf(" (%d of the streams refused)", c.refused)
	}
	return s
}
