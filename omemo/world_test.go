package omemo

import (
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

const (
	alice = "alice@example.org/phone" // at the host
	bob   = `bob\40x@onion.example.org`
	bobAt = bob + "/desk"
	eve   = `eve\40y@onion.example.org`
	carol = "carol@jabber.org" // a stranger
)

// A world is a Directory between two ends.
type world struct {
	*Directory
	t    testing.TB
	host component.Handler // what comes from the host goes here
	peer component.Sender  // what comes from peers
	file string
	log  *lockedLog

	out [2]chan *component.Stanza // what arrived at each side

	mu   sync.Mutex
	fail [2]error // what each side says to all it gets
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	w := &world{t: t, file: filepath.Join(t.TempDir(), "keys.sqlite"), log: &lockedLog{}}
	for i := range w.out {
		w.out[i] = make(chan *component.Stanza, 10_000)
	}
	w.open(change...)
	return w
}

func (w *world) open(change ...func(*Options)) {
	o := Options{
		Address:  jid.MustParse("onion.example.org"),
		Local:    func(j jid.JID) bool { return j.Domainpart() == "example.org" },
		Patience: time.Hour,
		Log:      slog.New(slog.NewTextHandler(w.log, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	w.Directory, err = OpenDirectory(w.file, o)
	require.NoError(w.t, err)
	w.settle = time.Hour
	w.host = w.Handler(component.HandlerFunc(w.end(peerSide)))
	w.peer = w.Sender(sender(w.end(hostSide)))
	w.t.Cleanup(func() { w.close() })
}

func (w *world) close() {
	if w.Directory != nil {
		require.NoError(w.t, w.Close())
		w.Directory = nil
	}
}

func (w *world) end(at side) func(context.Context, *component.Stanza) error {
	return func(_ context.Context, s *component.Stanza) error {
		w.mu.Lock()
		err := w.fail[at]
		w.mu.Unlock()
		if err == nil {
			w.out[at] <- s
		}
		return err
	}
}

// away makes a side refuse everything, or take it again.
func (w *world) away(at side, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail[at] = err
}

// says makes a stanza arrive from a side.
func (w *world) says(from side, xml string) error {
	w.t.Helper()
	return w.send(from, stanzaOf(w.t, xml))
}

func stanzaOf(t testing.TB, xml string) *component.Stanza {
	t.Helper()
	s, err := component.ParseStanza(parse(t, xml))
	require.NoError(t, err, xml)
	return s
}

func (w *world) send(from side, s *component.Stanza) error {
	if from == hostSide {
		return w.host.HandleStanza(context.Background(), s)
	}
	return w.peer.Send(context.Background(), s)
}

// gets is what arrives at a side next.
func (w *world) gets(at side) *component.Stanza {
	w.t.Helper()
	select {
	case s := <-w.out[at]:
		return s
	case <-time.After(10 * time.Second):
		w.t.Fatal("nothing arrived")
		return nil
	}
}

// nothing asserts that nothing arrived that was not asked for. All that the directory had to
// do has been done by then.
func (w *world) nothing() {
	w.t.Helper()
	w.sync()
	for at := range w.out {
		select {
		case s := <-w.out[at]:
			w.t.Fatalf("at side %d arrived %s", at, s)
		default:
		}
	}
}

// sync waits until what waits in the store has been done, and what follows from that sent.
func (w *world) sync() {
	done := make(chan struct{})
	require.True(w.t, w.store.queue(func(*sql.Tx) error { return nil }, func(error) { close(done) }))
	<-done
	w.wg.Wait()
}

// asks is a question for items of a node, and what arrived of it at the other side.
func (w *world) asks(from, to, node string, ids ...string) *component.Stanza {
	w.t.Helper()
	at := w.side(from)
	require.NoError(w.t, w.says(at, read(from, to, node, ids...)))
	return w.gets(at.other())
}

func (w *world) side(j string) side {
	if jid.MustParse(j).Domainpart() == "onion.example.org" {
		return peerSide
	}
	return hostSide
}

func read(from, to, node string, ids ...string) string {
	items := ""
	for _, id := range ids {
		items += "<item id='" + id + "'/>"
	}
	return "<iq xmlns='jabber:client' type='get' id='1' from='" + from + "' to='" + to + "'><pubsub xmlns='" + NSPubsub + "'><items node='" + node + "'>" + items + "</items></pubsub></iq>"
}

// items are a result's: pairs of id and payload.
func items(node string, pairs ...any) *component.Element {
	e := component.NewElement(NSPubsub, "items").With("node", node)
	for i := 0; i < len(pairs); i += 2 {
		e.Add(component.NewElement(NSPubsub, "item").With("id", pairs[i].(string)).Add(pairs[i+1].(*component.Element)))
	}
	return component.NewElement(NSPubsub, "pubsub").Add(e)
}

// tells makes the answer to a question arrive.
func (w *world) tells(question *component.Stanza, payload *component.Element) {
	w.t.Helper()
	require.NoError(w.t, w.send(w.side(question.To.String()), question.Result(payload)))
}

// tellsError makes an error arrive as the answer.
func (w *world) tellsError(question *component.Stanza, err error) {
	w.t.Helper()
	require.NoError(w.t, w.send(w.side(question.To.String()), question.Error(err)))
}

// knows makes the directory keep something, since somebody asked for it.
func (w *world) knows(from, owner, node, id string, payload *component.Element) {
	w.t.Helper()
	w.tells(w.asks(from, owner, node), items(node, id, payload))
	w.gets(w.side(from))
}

// payload is that of the one item of a result.
func payload(t testing.TB, s *component.Stanza) *component.Element {
	t.Helper()
	require.Equal(t, "result", s.Type, s)
	items := s.Payload().Child(NSPubsub, "items")
	require.Len(t, items.Nodes, 1, s)
	return items.Nodes[0].Element.Nodes[0].Element
}

func list(f *Format, ids ...uint32) *component.Element {
	l := &DeviceList{Format: f}
	for _, id := range ids {
		l.Devices = append(l.Devices, Device{ID: id})
	}
	return l.Element()
}

func event(from, to, kind, node string, inside string) string {
	return "<message xmlns='jabber:client' type='headline' from='" + from + "' to='" + to + "'><event xmlns='" + NSPubsubEvent + "'><" + kind +
		" node='" + node + "'>" + inside + "</" + kind + "></event></message>"
}

type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
