package onionroute

import (
	"context"
	"database/sql"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A wire stands in the place of Tor between gateways in one test: it connects onion
// names to the Unix sockets that a tor would connect them to. What is under test sees
// the same octets; the end-to-end tests in cmd/allium have a real Tor there.
type wire struct {
	mu    sync.Mutex
	ports map[string]string // onion name → socket of port 5269
	tls   map[string]string // the same of port 5270
	dials []string
	ways  []string         // the isolation that was asked for with each
	tried map[string][]int // onion name → ports, also those that it does not have
	conns []net.Conn

	slow time.Duration // that it takes to find that a name is nobody's
	why  byte          // what Tor answers then

	moved map[string]bool // dials wait in vain until Refresh has looked where it is now

	waits int           // for so many dials; see meet
	met   chan struct{} // closed when they are there
}

func newWire() *wire {
	return &wire{ports: map[string]string{}, tls: map[string]string{}, tried: map[string][]int{}, why: socksNoDescriptor}
}

func (w *wire) Dial(ctx context.Context, onion string, port int, isolation string, first []byte) (net.Conn, error) {
	w.arrive(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err() // as Tor.Dial: nobody is called
	}
	w.tried[onion] = append(w.tried[onion], port)
	path := w.ports[onion]
	if w.moved[onion] {
		w.ways = append(w.ways, isolation)
		w.mu.Unlock()
		<-ctx.Done()
		w.mu.Lock()
		return nil, ctx.Err()
	}
	from, _, _ := strings.Cut(isolation, " ") // one server that has vanished does not reach others
	if path == "" || w.ports[from] == "" {
		w.dials, w.ways = append(w.dials, onion), append(w.ways, isolation)
		if slow := w.slow; slow > 0 {
			w.mu.Unlock()
			select {
			case <-time.After(slow):
			case <-ctx.Done():
			}
			w.mu.Lock()
		}
		return nil, &SOCKSError{w.why}
	}
	if port == portServerTLS {
		if path = w.tls[onion]; path == "" {
			return nil, &SOCKSError{5}
		}
	}
	w.dials, w.ways = append(w.dials, onion), append(w.ways, isolation)
	c, err := net.Dial("unix", path)
	if err == nil {
		w.conns = append(w.conns, c)
		_, err = c.Write(first)
	}
	return c, err
}

func (w *wire) Refresh(_ context.Context, onion string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.moved, onion)
	return true
}

func (w *wire) Findable(context.Context) {}

// move makes a server one that is not where Tor looked for it last.
func (w *wire) move(s *server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved, w.ways = map[string]bool{s.m.Identity: true}, nil
}

// meet makes the next n dials wait for each other.
func (w *wire) meet(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits, w.met = n, make(chan struct{})
}

func (w *wire) arrive(ctx context.Context) {
	w.mu.Lock()
	met := w.met
	if w.waits--; w.waits == 0 {
		close(met)
	}
	late := w.waits < 0
	w.mu.Unlock()
	if late {
		return
	}
	select {
	case <-met:
	case <-ctx.Done():
	}
}

// cut closes all connections, as the end of a tor does.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// portsOf are the ports of a name that were tried.
func (w *wire) portsOf(onion string) []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tried[onion])
}

func (w *wire) dialled() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.dials...)
}

// A server is a gateway under test, and what it handed to its host.
type server struct {
	*Gateway
	config      Config
	w           *wire
	dir         string
	toUs        chan *component.Stanza
	start, stop func()       // start makes another Gateway of the same files
	detach      func()       // is called when the gateway has ended, before it is closed
	slow        bool         // the host takes a while to confirm
	mortal      bool         // what is on its way to the host is lost in a crash
	away        atomic.Bool  // the host has been away for long: it gets later what somebody waits for, and nothing else
	lives       atomic.Int64 // odd: it is dead
	toHost      chan underWay
}

// underWay is a stanza on its way to the host.
type underWay struct {
	s    *component.Stanza
	life int64 // in which it was sent
}

// carry brings what is sent to the host there, in order, after some milliseconds.
func (s *server) carry() {
	for u := range s.toHost {
		if len(s.toHost) == 0 {
			time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
		}
		if u.life == s.lives.Load() { // or else it was in a connection that broke off
			s.toUs <- u.s
		}
		if u.s.Taken != nil {
			u.s.Taken()
		}
	}
}

func (s *server) Send(ctx context.Context, st *component.Stanza) error {
	if st.Body() == "trip" {
		panic("as the test asks")
	}
	taken := st.Taken
	if taken == nil {
		taken = func() {}
		if s.away.Load() {
			return component.ErrHostAway
		}
	}
	if st.To.Domainpart() == s.c.Domain {
		st.Taken = nil
		err := s.HandleStanza(ctx, st)
		if err == nil {
			taken()
		}
		return err
	}
	if s.mortal {
		if life := s.lives.Load(); life&1 == 0 {
			s.toHost <- underWay{st, life}
		}
		return nil
	}
	select {
	case s.toUs <- st:
		if s.slow {
			time.AfterFunc(time.Duration(rand.IntN(5))*time.Millisecond, taken)
			return nil
		}
		taken()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func startServer(t testing.TB, w *wire, domain string, change ...func(*times)) *server {
	return startServerWith(t, w, domain, func(*Config) {}, change...)
}

func startServerWith(t testing.TB, w *wire, domain string, set func(*Config), change ...func(*times)) *server {
	dir, err := os.MkdirTemp("", "gw")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	id, err := CreateIdentity(filepath.Join(dir, "key"))
	require.NoError(t, err)
	s := &server{dir: dir, w: w, toUs: make(chan *component.Stanza, 10_000), toHost: make(chan underWay, 10_000), stop: func() {}}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", domain)
	}
	s.config = Config{Domain: "onion." + domain, Hosts: []string{domain}, Identity: id, SocketDir: dir, Spool: filepath.Join(dir, "spool.sqlite"), Log: log,
		Services: map[string]string{"rooms." + domain: "rooms"}}
	set(&s.config)
	s.start = func() {
		s.Gateway, err = NewGateway(s.config, w, s)
		require.NoError(t, err)
		for _, f := range change {
			f(&s.times)
		}
		w.appear(s)
		s.run(t)
	}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// run runs the gateway until stop is called.
func (s *server) run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
			if s.detach != nil {
				s.detach()
			}
			require.NoError(t, s.Close())
		case <-time.After(20 * time.Second):
			t.Error("gateway does not stop")
		}
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", s.Ports()[portServerTLS])
		if err == nil {
			c.Close()
		}
		c2, err2 := net.Dial("unix", s.Ports()[portServer])
		if err2 == nil {
			c2.Close()
		}
		return err == nil && err2 == nil
	}, 5*time.Second, 5*time.Millisecond)
}

// crash ends the server as kill -9 does: of what it knows, nothing is left but what is
// on disk at this moment.
func (s *server) crash(t testing.TB) { s.kill(t)() }

// kill is the first half of crash: what the server does from here on nobody sees, and what it
// is told nobody will know. The other half is bury.
func (s *server) kill(t testing.TB) (bury func()) {
	file := filepath.Join(s.dir, "spool.sqlite")
	var saved map[string][]byte
	// While it waits for the spool it cannot tell anybody more than is there.
	require.NoError(t, s.spool.change(func(*sql.Tx) error {
		saved = spoolFiles(t, file)
		s.lives.Add(1)
		s.w.vanish(s)
		return nil
	}))
	return func() {
		s.stop()
		s.lives.Add(1)
		os.Remove(file + "-shm")
		for name, data := range saved {
			require.NoError(t, os.WriteFile(file+name, data, 0o600))
		}
	}
}

// vanish makes a server one that cannot be reached, nor can it reach others.
func (w *wire) vanish(s *server) {
	w.mu.Lock()
	delete(w.ports, s.m.Identity)
	delete(w.tls, s.m.Identity)
	w.mu.Unlock()
	w.cut()
}

func (w *wire) appear(s *server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports[s.m.Identity] = s.Ports()[portServer]
	w.tls[s.m.Identity] = s.Ports()[portServerTLS]
}

func (s *server) receive1(t testing.TB) *component.Stanza {
	t.Helper()
	select {
	case st := <-s.toUs:
		return st
	case <-time.After(10 * time.Second):
		t.Fatal("nothing arrived")
		return nil
	}
}

func (s *server) silent(t testing.TB) {
	t.Helper()
	select {
	case st := <-s.toUs:
		t.Fatalf("arrived: %s", st)
	case <-time.After(50 * time.Millisecond):
	}
}

func message(from, to, body string) *component.Stanza {
	s := &component.Stanza{Kind: component.Message, Type: "chat", ID: "1", From: jid.MustParse(from), To: jid.MustParse(to)}
	return s.Add(component.NewElement(component.NSClient, "body", component.Text(body)))
}

// waits is the cost of all that waits.
func (s *server) waits() int {
	s.quota.mu.Lock()
	defer s.quota.mu.Unlock()
	return s.quota.total
}

// empties asserts that soon nothing waits, nor is counted as if it did: neither in all, nor
// of any user, nor for any peer.
func (s *server) empties(t testing.TB) {
	t.Helper()
	assert.Eventually(t, func() bool { return len(s.counted()) == 0 }, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, s.counted())
}

// counted is what is counted of what waits.
func (s *server) counted() map[string]int {
	n := map[string]int{"": s.waits()}
	s.quota.mu.Lock()
	for user := range s.quota.users {
		n[user] = s.quota.users[user]
		if n[user] == 0 {
			n[user+" is kept without need"] = 1
		}
	}
	s.quota.mu.Unlock()
	for _, p := range s.known() {
		p.mu.Lock()
		n[p.onion], n[p.onion+" answers"], n[p.onion+" presence"], n[p.onion+" queue"] = p.bytes, p.answers, len(p.presence), len(p.queue)
		p.mu.Unlock()
	}
	maps.DeleteFunc(n, func(_ string, n int) bool { return n == 0 })
	return n
}

// known is who anything waits for, or is connected to, or was a moment ago.
func (s *server) known() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.peers))
}

// isDown tells if it is known that a peer cannot be reached.
func (s *server) isDown(onion string) bool {
	for _, p := range s.known() {
		p.mu.Lock()
		down := p.onion == onion && p.down != nil
		p.mu.Unlock()
		if down {
			return true
		}
	}
	return false
}
