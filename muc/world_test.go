package muc

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A world is a service with a store in a file, and everybody outside: what they send goes
// in by send, and what they get is collected.
type world struct {
	t  *testing.T
	sv *Service
	st *Store
	o  Options

	scrubAfter time.Duration

	mu   sync.Mutex
	file string
	out  []*component.Stanza
	most int // copies that the service sent together

	longest int    // octets that the way out takes in one stanza; 0 is any number
	away    string // a copy to there is refused, since the host is away
}

const domain = "chat.shakespeare.lit"

func newWorld(t *testing.T, change ...func(*Options)) *world {
	w := &world{t: t, file: filepath.Join(t.TempDir(), "rooms.sqlite"), scrubAfter: scrubAfter}
	w.o = Options{Domain: domain, DefaultKind: "open"}
	for _, c := range change {
		c(&w.o)
	}
	w.start()
	t.Cleanup(func() { w.st.Close() })
	return w
}

func (w *world) start() {
	var err error
	w.st, err = openStore(w.file, w.scrubAfter)
	require.NoError(w.t, err)
	w.sv, err = NewService(w.o, w.st, w)
	require.NoError(w.t, err)
}

// restart is a crash and a new start: nobody is told.
func (w *world) restart() {
	w.settle()
	require.NoError(w.t, w.st.Close())
	w.start()
}

// Send collects what the service sends.
func (w *world) Send(_ context.Context, s *component.Stanza) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	// As it is after a real way: written and read.
	s, err := component.NewDraft(s, nil, nil, nil).Stanza(s.To, true)
	require.NoError(w.t, err)
	w.out = append(w.out, s)
	return nil
}

// SendCopies collects what the service sends.
func (w *world) SendCopies(_ context.Context, copies []component.Copy, refused func(component.Copy, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.most = max(w.most, len(copies))
	for _, c := range copies {
		if w.longest > 0 && c.Draft.SizeTo(c.To) > w.longest {
			w.mu.Unlock()
			refused(c, fail(stanza.Modify, stanza.PolicyViolation, "")) // as a component.Link does
			w.mu.Lock()
			continue
		}
		if c.To.String() == w.away {
			w.mu.Unlock()
			refused(c, component.ErrHostAway)
			w.mu.Lock()
			continue
		}
		s, err := c.Draft.Stanza(c.To.JID, c.Full)
		require.NoError(w.t, err)
		w.out = append(w.out, s)
	}
}

// send gives the service stanzas as somebody outside writes them, one after the other, and
// returns all that was sent by it then.
func (w *world) send(xml string) []*component.Stanza {
	w.t.Helper()
	d := component.NewContentDecoder(strings.NewReader(xml), component.NSAccept, component.Limits{})
	for {
		e, err := d.Next()
		if err != nil {
			require.ErrorContains(w.t, err, "EOF")
			break
		}
		s, err := component.ParseStanza(e)
		require.NoError(w.t, err)
		if err := w.sv.HandleStanza(context.Background(), s); err != nil {
			if e := s.Error(err); e != nil {
				w.Send(context.Background(), e)
			}
		}
		w.settle()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.out
	w.out = nil
	return out
}

// settle waits until nothing is under way.
func (w *world) settle() {
	for range 2 { // what could not be stored has rooms do something again
		w.st.wait()
		for !w.idle() {
			time.Sleep(50 * time.Microsecond)
		}
	}
	w.st.wait() // also for what rooms wanted that are no more
}

func (w *world) idle() bool {
	c := w.sv.crew // also with a room that is off the list
	c.mu.Lock()
	working := len(c.ready) > 0 || c.idle < c.size
	c.mu.Unlock()
	if working {
		return false
	}
	for _, a := range w.sv.all() {
		if !a.idle() {
			return false
		}
	}
	return true
}

// to are the stanzas for one address; a bare JID stands for itself alone.
func to(stanzas []*component.Stanza, j string) []*component.Stanza {
	var mine []*component.Stanza
	for _, s := range stanzas {
		if s.To.Equal(jid.MustParse(j)) {
			mine = append(mine, s)
		}
	}
	return mine
}

// only is the one stanza for an address.
func (w *world) only(stanzas []*component.Stanza, j string) *component.Stanza {
	w.t.Helper()
	mine := to(stanzas, j)
	require.Len(w.t, mine, 1, "%v", stanzas)
	return mine[0]
}

// enter lets somebody enter a room, and returns all that the service sent then.
func (w *world) enter(who, room, nick string) []*component.Stanza {
	w.t.Helper()
	return w.send("<presence id='enter' from='" + who + "' to='" + room + "@" + domain + "/" + nick + "'><x xmlns='" + NSMUC + "'/></presence>")
}

// open makes an instant room (XEP-0045 §10.1.2) with its owner in it.
func (w *world) open(who, room, nick string) {
	w.t.Helper()
	w.enter(who, room, nick)
	answer := w.only(w.set(who, room, "<query xmlns='"+NSOwner+"'><x xmlns='jabber:x:data' type='submit'/></query>"), who)
	require.Equal(w.t, "result", answer.Type, "%v", answer)
}

// set sends a request of type set to a room.
func (w *world) set(who, room, payload string) []*component.Stanza {
	w.t.Helper()
	return w.send("<iq type='set' id='set' from='" + who + "' to='" + room + "@" + domain + "'>" + payload + "</iq>")
}

// get sends a request of type get to a room, or an occupant, and returns the answer.
func (w *world) get(who, local, payload string) *component.Stanza {
	w.t.Helper()
	to := local + "@" + domain
	if room, nick, ok := strings.Cut(local, "/"); ok {
		to = room + "@" + domain + "/" + nick
	}
	return w.only(w.send("<iq type='get' id='get' from='"+who+"' to='"+to+"'>"+payload+"</iq>"), who)
}

// say sends a groupchat message.
func (w *world) say(who, room, id, body string) []*component.Stanza {
	w.t.Helper()
	return w.send("<message type='groupchat' id='" + id + "' from='" + who + "' to='" + room + "@" + domain + "'><body>" + body + "</body></message>")
}

// configure submits fields of the configuration form.
func (w *world) configure(who, room string, fields ...string) []*component.Stanza {
	w.t.Helper()
	form := "<query xmlns='" + NSOwner + "'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + NSRoomConfig + "</value></field>"
	for i := 0; i < len(fields); i += 2 {
		form += "<field var='" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
	}
	return w.set(who, room, form+"</x></query>")
}

// admin sends items of muc#admin.
func (w *world) admin(who, room string, items ...string) []*component.Stanza {
	w.t.Helper()
	return w.set(who, room, "<query xmlns='"+NSAdmin+"'>"+strings.Join(items, "")+"</query>")
}

// codes are the status codes of a stanza.
func codes(s *component.Stanza) []string {
	var codes []string
	if x := s.Child(NSUser, "x"); x != nil {
		for _, n := range x.Nodes {
			if n.Element != nil && n.Element.Is(NSUser, "status") {
				codes = append(codes, n.Element.AttrValue("code"))
			}
		}
	}
	return codes
}

// item is the item of a stanza's muc#user element.
func item(s *component.Stanza) *component.Element { return s.Child(NSUser, "x").Child(NSUser, "item") }

// condition is the error of a stanza, as type/condition; "" if it is none.
func condition(s *component.Stanza) string {
	if s.Type != "error" {
		return ""
	}
	e := s.StanzaError()
	return string(e.Type) + "/" + string(e.Condition)
}
