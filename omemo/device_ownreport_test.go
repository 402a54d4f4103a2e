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

// tell sends a message to the device, and gives the answer, or the error, if there is one.
func (o *own) tell(from string, e *component.Element) *component.Stanza {
	o.t.Helper()
	var answer *component.Stanza
	out := sender(func(_ context.Context, s *component.Stanza) error { answer = s; return nil })
	sv := component.NewService(out)
	o.Report(sv, out, func(j jid.JID) bool { return j.Domainpart() == "example.org" }, func() string { return "All is up." })
	s := &component.Stanza{Kind: component.Message, Type: "chat", ID: "m", From: jid.MustParse(from), To: jid.MustParse("onion.example.org")}
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

// A talk is one of peer.py with the device.
type talk struct {
	t      *testing.T
	folder string
	say    func(any)
	lines  *bufio.Scanner
	device string // of peer.py
}

func (o *own) talk(messages int) *talk {
	t := o.t
	id, b := o.published(Legacy)
	k := &talk{t: t, folder: t.TempDir()}
	save(t, k.folder, "legacy-bundle", b.Element())
	cmd := exec.Command("/usr/bin/python3", "-B", filepath.Join("testdata", "peer.py"), "talk", k.folder)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	k.lines = bufio.NewScanner(out)
	k.say = func(v any) {
		_, err := fmt.Fprintln(in, v)
		require.NoError(t, err)
	}
	k.say(id)
	k.say(messages)
	return k
}

// message is the next that it writes.
func (k *talk) message(i int) *component.Element {
	k.t.Helper()
	require.True(k.t, k.lines.Scan())
	k.device = k.lines.Text()
	return load(k.t, k.folder, fmt.Sprintf("message-%d", i))
}

// Who writes to the device gets an encrypted answer, also after a restart, and with each
// session one one-time pre-key is used up.
func TestReport(t *testing.T) {
	o := newOwn(t)
	_, before := o.published(Legacy)
	const messages = 4
	k := o.talk(messages)
	for i := range messages {
		m := k.message(i)
		if i == 2 {
			require.NoError(t, o.Close())
			o.open()
		}
		answer := o.tell(alice, m)
		require.NotNil(t, answer)
		require.Equal(t, "chat", answer.Type, answer)
		assert.Equal(t, alice, answer.To.String())
		assert.Equal(t, "onion.example.org", answer.From.String())
		assert.NotContains(t, answer.String(), "All is up")
		save(t, k.folder, fmt.Sprintf("answer-%d", i), answer.Child(NSLegacy, "encrypted"))
		assert.Equal(t, stanza.NotAcceptable, o.tell(alice, m).StanzaError().Condition, "a second time it is nothing")
		k.say("go on")
	}
	require.True(t, k.lines.Scan())
	var read []string
	require.NoError(t, json.Unmarshal(k.lines.Bytes(), &read))
	require.Len(t, read, messages)
	for _, text := range read {
		assert.Equal(t, fmt.Sprintf("Encryption works: your message was encrypted by your device %s, and could be read here. So is this answer, by the device %d. All is up.", k.device, o.id), text)
	}
	_, after := o.published(Legacy)
	require.Len(t, after.PreKeys, 100)
	used := 0
	for _, p := range before.PreKeys {
		if !strings.Contains(after.Element().String(), "'"+formatID(p.ID)+"'") {
			used++
		}
	}
	assert.Equal(t, 1, used)
}

// A session can begin with a signed pre-key that was replaced not long ago, and not with one
// that is forgotten.
func TestReportGrace(t *testing.T) {
	for days, works := range map[int]bool{36: true, 60: false} {
		o := newOwn(t)
		k := o.talk(1)
		m := k.message(0)
		for day := range days {
			o.late = time.Duration(day+1) * 24 * time.Hour
			o.round()
		}
		assert.Equal(t, works, o.tell(alice, m).Type == "chat", days)
	}
}

// What cannot be read is answered with an error, changes nothing, and harms nobody.
func TestReportBad(t *testing.T) {
	o := newOwn(t)
	k := o.talk(1)
	good := k.message(0)
	_, before := o.published(Legacy)
	text := good.String()
	between := func(name, with string) string {
		at := strings.Index(text, "<"+name)
		at += strings.Index(text[at:], ">") + 1
		return text[:at] + with + text[at+strings.Index(text[at:], "<"):]
	}
	bad := []string{
		strings.Replace(text, "rid='"+formatID(o.id), "rid='1"+formatID(o.id), 1),
		strings.Replace(text, "sid='", "sid='x", 1),
		strings.Replace(text, " prekey='true'", "", 1),
		between("key", ""), between("key", "!"), between("key", "Mw=="), between("key", "MwgFEgEFGgEFIgEz"),
		between("iv", ""), between("payload", "AAAA"), between("payload", ""),
		"<encrypted xmlns='" + NSLegacy + "'/>",
	}
	for _, xml := range bad {
		assert.Equal(t, stanza.NotAcceptable, o.tell(alice, parse(t, xml)).StanzaError().Condition, xml)
	}
	assert.Equal(t, stanza.ServiceUnavailable, o.tell(alice, component.NewElement(component.NSClient, "body")).StanzaError().Condition)
	assert.Equal(t, stanza.ServiceUnavailable, o.tell(carol, good).StanzaError().Condition, "it is not for her")
	_, after := o.published(Legacy)
	assert.Equal(t, before, after)
	assert.Equal(t, "chat", o.tell(alice, good).Type)
}

// Of many messages at once some are refused, and none waits for long.
func TestReportBusy(t *testing.T) {
	o := newOwn(t)
	for range cap(o.busy) {
		o.busy <- struct{}{}
	}
	sv := component.NewService(nil)
	o.Report(sv, nil, func(jid.JID) bool { return true }, nil)
	s := stanzaOf(t, "<message xmlns='jabber:client' from='"+alice+"' to='onion.example.org'><encrypted xmlns='"+NSLegacy+"'/></message>")
	assert.ErrorContains(t, sv.HandleStanza(t.Context(), s), "resource-constraint")
}

// Without a payload a message says nothing, and nothing is the answer.
func TestReportEmpty(t *testing.T) {
	o := newOwn(t)
	m := o.talk(1).message(0)
	for i, n := range m.Nodes {
		if n.Element != nil && n.Element.Name.Local == "payload" {
			m.Nodes = append(m.Nodes[:i:i], m.Nodes[i+1:]...)
		}
	}
	assert.Nil(t, o.tell(alice, m))
}
