package omemo

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

const (
	nsSCE = "urn:xmpp:sce:1"

	envelopeClock = time.Hour // how much clocks may differ
	envelopeLen   = 1000      // of octets; a shorter envelope gets as long as that, and all some more
	envelopeExtra = 200
)

var errClock = errors.New("the time in the envelope is another than here")

// openEnvelope reads the envelope that is encrypted in OMEMO2 (XEP-0420 §4, XEP-0384 §5.5.1),
// and checks what is in it about who wrote it, to whom and when. said tells if there is a
// text for people in it.
func openEnvelope(xml []byte, from, to jid.JID, now time.Time) (said bool, err error) {
	d := component.NewContentDecoder(bytes.NewReader(xml), component.NSClient, component.Limits{})
	e, err := d.Next()
	if err != nil {
		return false, err
	}
	if _, err := d.Next(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, errors.New("there is something behind the envelope")
	}
	if !e.Is(nsSCE, "envelope") || e.Child(nsSCE, "content") == nil {
		return false, errors.New("it is no envelope")
	}
	for _, n := range e.Nodes {
		var err error
		switch c := n.Element; {
		case c == nil:
		case c.Is(nsSCE, "from"):
			err = sameJID(c, from)
		case c.Is(nsSCE, "to"):
			err = sameJID(c, to)
		case c.Is(nsSCE, "time"):
			at, fault := time.Parse(time.RFC3339, c.AttrValue("stamp"))
			if fault != nil || now.Sub(at).Abs() > envelopeClock {
				err = errClock
			}
		}
		if err != nil {
			return false, err
		}
	}
	return e.Child(nsSCE, "content").Child(component.NSClient, "body") != nil, nil
}

// sameJID checks that an envelope is from, or to, whom its message is.
func sameJID(e *component.Element, want jid.JID) error {
	if j, err := jid.Parse(e.AttrValue("jid")); err != nil || !j.Bare().Equal(want.Bare()) {
		return errors.New(e.Name.Local + " in the envelope is another than that of the message")
	}
	return nil
}

// newEnvelope is a text for people in an envelope. Its length tells little of the text.
func newEnvelope(text string, from, to jid.JID, now time.Time) ([]byte, error) {
	pad := component.NewElement(nsSCE, "rpad")
	e := component.NewElement(nsSCE, "envelope").Add(
		component.NewElement(nsSCE, "content").Add(component.NewElement(component.NSClient, "body", component.Text(text))),
		component.NewElement(nsSCE, "from").With("jid", from.Bare().String()),
		component.NewElement(nsSCE, "to").With("jid", to.Bare().String()),
		component.NewElement(nsSCE, "time").With("stamp", now.UTC().Format(time.RFC3339)),
		pad)
	extra, err := rand.Int(rand.Reader, big.NewInt(envelopeExtra+1))
	if err != nil {
		return nil, err
	}
	octets := make([]byte, max(0, envelopeLen-len(e.String()))+int(extra.Int64()))
	rand.Read(octets)
	pad.SetText(base64.StdEncoding.EncodeToString(octets)[:len(octets)])
	return []byte(e.String()), nil
}
