package omemo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const gateway = "onion.example.org"

// tell sends a message to the device, and gives the answer, or the error, if there is one.
func (o *own) tell(from string, e *component.Element) *component.Stanza {
	o.t.Helper()
	var answer *component.Stanza
	out := sender(func(_ context.Context, s *component.Stanza) error { answer = s; return nil })
	sv := component.NewService(out)
	o.Report(sv, out, func(j jid.JID) bool { return j.Domainpart() == "example.org" }, func() string { return "All is up." })
	s := &component.Stanza{Kind: component.Message, Type: "chat", ID: "m", From: jid.MustParse(from), To: jid.MustParse(gateway)}
	if err := sv.HandleStanza(o.t.Context(), s.Add(e)); err != nil {
		return s.Error(err)
	}
	for range cap(o.busy) { // all have been answered when there is room for as many
		o.busy <- struct{}{}
	}
	for range cap(o.busy) {
		<-o.busy
	}
	return answer
}

// refuses checks that a message is answered with an error.
func (o *own) refuses(e *component.Element, msg ...any) {
	o.t.Helper()
	answer := o.tell(alice, e)
	require.NotNil(o.t, answer, msg...)
	require.NotNil(o.t, answer.StanzaError(), msg...)
	assert.Equal(o.t, stanza.NotAcceptable, answer.StanzaError().Condition, msg...)
}

// A talk is one of peer.py with the device.
type talk struct {
	t      *testing.T
	o      *own
	f      *Format
	folder string
	do     func(v any, line ...string) // has peer.py do something, and reads what it prints
	device uint32                      // of peer.py
	n      int                         // messages
}

// talk begins a talk by somebody who has got this bundle.
func (o *own) talk(f *Format, b *Bundle) *talk {
	t := o.t
	k := &talk{t: t, o: o, f: f, folder: t.TempDir()}
	name := map[*Format]string{Legacy: "legacy", OMEMO2: "omemo2"}[f]
	save(t, k.folder, name+"-bundle", b.Element())
	cmd := exec.Command("/usr/bin/python3", "-B", filepath.Join("testdata", "peer.py"), "talk", k.folder, name, gateway, formatID(o.id))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	k.do = func(v any, line ...string) {
		t.Helper()
		_, err := fmt.Fprintln(in, strings.Join(line, " "))
		require.NoError(t, err)
		require.True(t, lines.Scan())
		require.NoError(t, json.Unmarshal(lines.Bytes(), v), lines.Text())
	}
	return k
}

// begin begins a talk by somebody who has got the bundle as it is now.
func (o *own) begin(f *Format) *talk {
	_, b := o.published(f)
	return o.talk(f, b)
}

// envelope is one that alice writes, with more in it.
func envelope(more string) string {
	return "<envelope xmlns='urn:xmpp:sce:1'><content><body xmlns='jabber:client'>hello</body></content><rpad>x</rpad>" + more + "</envelope>"
}

// message is one that peer.py writes, of this plain text; without a payload if it is "".
func (k *talk) message(plain string) *component.Element {
	k.t.Helper()
	k.n++
	name := fmt.Sprintf("message-%d", k.n)
	line := []string{"write", name}
	if plain != "" {
		line = append(line, plain)
	}
	k.do(&k.device, line...)
	return load(k.t, k.folder, name)
}

// hello is a message with a text.
func (k *talk) hello() *component.Element {
	k.t.Helper()
	if k.f == OMEMO2 {
		return k.message(envelope("<from jid='alice@example.org'/>"))
	}
	return k.message("hello")
}

// reads is what peer.py reads in an answer: nil if there is no payload.
func (k *talk) reads(answer *component.Stanza) *string {
	k.t.Helper()
	require.NotNil(k.t, answer)
	require.Equal(k.t, "chat", answer.Type, answer)
	assert.Equal(k.t, alice, answer.To.String())
	assert.Equal(k.t, gateway, answer.From.String())
	assert.NotContains(k.t, answer.String(), "All is up")
	assert.Equal(k.t, k.f.namespace, answer.Child(nsEME, "encryption").AttrValue("namespace"))
	save(k.t, k.folder, "answer", answer.Child(k.f.namespace, "encrypted"))
	var plain *string
	k.do(&plain, "read", "answer")
	return plain
}

// reports checks that an answer is a report.
func (k *talk) reports(answer *component.Stanza) {
	k.t.Helper()
	plain := k.reads(answer)
	require.NotNil(k.t, plain)
	text := *plain
	if k.f == OMEMO2 {
		assert.Nil(k.t, answer.Child(component.NSClient, "body"))
		assert.Greater(k.t, len(text), 1000, "it is padded")
		e := parse(k.t, text)
		assert.True(k.t, e.Is("urn:xmpp:sce:1", "envelope"), text)
		assert.Equal(k.t, gateway, e.Child("urn:xmpp:sce:1", "from").AttrValue("jid"))
		assert.Equal(k.t, jid.MustParse(alice).Bare().String(), e.Child("urn:xmpp:sce:1", "to").AttrValue("jid"))
		text = e.Child("urn:xmpp:sce:1", "content").Child(component.NSClient, "body").Text()
	}
	assert.Equal(k.t, fmt.Sprintf("Encryption works: your message was encrypted by your device %d, and could be read here. So is this answer, by the device %d. All is up.", k.device, k.o.id), text)
}

// Who writes to the device gets an encrypted answer, also after a restart, and with each
// session one one-time pre-key is used up.
func TestReport(t *testing.T) {
	for name, f := range formats {
		t.Run(name, func(t *testing.T) {
			o := newOwn(t)
			_, before := o.published(f)
			k := o.begin(f)
			for i := range 4 {
				m := k.hello()
				if i == 2 {
					require.NoError(t, o.Close())
					o.open()
				}
				k.reports(o.tell(alice, m))
				o.refuses(m, "a second time it is nothing")
			}
			_, after := o.published(f)
			require.Len(t, after.PreKeys, 100)
			used := 0
			for _, p := range before.PreKeys {
				if !strings.Contains(after.Element().String(), "'"+formatID(p.ID)+"'") {
					used++
				}
			}
			assert.Equal(t, 1, used)
		})
	}
}

// A session can begin with a signed pre-key that was replaced not long ago, and not with one
// that is forgotten.
func TestReportGrace(t *testing.T) {
	for _, f := range formats {
		for days, works := range map[int]bool{36: true, 60: false} {
			o := newOwn(t)
			m := o.begin(f).hello()
			for day := 7; day < days+7; day += 7 {
				o.late = time.Duration(min(day, days)) * 24 * time.Hour
				o.round()
			}
			assert.Equal(t, works, o.tell(alice, m).Type == "chat", "%s after %d days", f, days)
		}
	}
}

// A one-time pre-key begins one session, and one that there is not begins none.
func TestReportPreKey(t *testing.T) {
	for _, f := range formats {
		o := newOwn(t)
		_, b := o.published(f)
		b.PreKeys = b.PreKeys[:1]
		first, second := o.talk(f, b), o.talk(f, b)
		first.reports(o.tell(alice, first.hello()))
		o.refuses(second.hello())
		first.reports(o.tell(alice, first.hello()))
	}
}

// What cannot be read is answered with an error, changes nothing, and harms nobody.
func TestReportBad(t *testing.T) {
	for name, f := range formats {
		t.Run(name, func(t *testing.T) {
			o := newOwn(t)
			good := o.begin(f).hello()
			_, before := o.published(f)
			text := good.String()
			between := func(name, with string) string {
				at := strings.Index(text, "<"+name+" ")
				if at < 0 {
					at = strings.Index(text, "<"+name+">")
				}
				at += strings.Index(text[at:], ">") + 1
				return text[:at] + with + text[at+strings.Index(text[at:], "<"):]
			}
			bad := []string{
				strings.Replace(text, "rid='"+formatID(o.id), "rid='1"+formatID(o.id), 1),
				strings.Replace(text, "sid='", "sid='x", 1),
				between("key", ""), between("key", "!"), between("key", "Mw=="), between("key", "MwgFEgEFGgEFIgEz"),
				between("payload", "AAAA"), between("payload", ""),
				"<encrypted xmlns='" + f.namespace + "'/>",
			}
			if f == Legacy {
				bad = append(bad, strings.Replace(text, " prekey='true'", "", 1), between("iv", ""))
			} else {
				bad = append(bad, strings.Replace(text, " kex='true'", "", 1), strings.Replace(text, gateway, "example.org", 1))
			}
			for _, xml := range bad {
				require.NotEqual(t, text, xml)
				o.refuses(parse(t, xml), xml)
			}
			assert.Equal(t, stanza.ServiceUnavailable, o.tell(alice, component.NewElement(component.NSClient, "body")).StanzaError().Condition)
			assert.Equal(t, stanza.ServiceUnavailable, o.tell(carol, good).StanzaError().Condition, "it is not for her")
			_, after := o.published(f)
			assert.Equal(t, before, after)
			assert.Equal(t, "chat", o.tell(alice, good).Type)
		})
	}
}

// Of many messages at once some are refused, and none waits for long.
func TestReportBusy(t *testing.T) {
	o := newOwn(t)
	for range cap(o.busy) {
		o.busy <- struct{}{}
	}
	sv := component.NewService(nil)
	o.Report(sv, nil, func(jid.JID) bool { return true }, nil)
	for _, f := range formats {
		s := stanzaOf(t, "<message xmlns='jabber:client' from='"+alice+"' to='"+gateway+"'><encrypted xmlns='"+f.namespace+"'/></message>")
		assert.ErrorContains(t, sv.HandleStanza(t.Context(), s), "resource-constraint")
	}
}

// Without a payload a message says nothing, and in Legacy nothing is the answer.
func TestReportEmpty(t *testing.T) {
	o := newOwn(t)
	m := o.begin(Legacy).hello()
	for i, n := range m.Nodes {
		if n.Element != nil && n.Element.Name.Local == "payload" {
			m.Nodes = append(m.Nodes[:i:i], m.Nodes[i+1:]...)
		}
	}
	assert.Nil(t, o.tell(alice, m))
}

// Sessions of a file that knew only those of Legacy go on.
func TestReportOlderFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "device.sqlite")
	older := ownSchema
	older.Migrations = older.Migrations[:1]
	db, err := older.Open(file, nil)
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO session (jid, device, record, used) VALUES ('alice@example.org', 7, X'0102', 1)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	o := &own{t: t, file: file}
	o.open()
	defer o.Close()
	tx, err := o.db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	record, err := loadSession(tx, sessionKey{Legacy, "alice@example.org", 7})
	require.NoError(t, err)
	assert.Equal(t, []byte{1, 2}, record)
}
