package omemo

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

const (
	nsEME   = "urn:xmpp:eme:0" // XEP-0380
	nsHints = "urn:xmpp:hints" // XEP-0334

	maxOwnBusy = 8 // messages that are being answered; others are refused
)

// A channel is a session with one device of somebody, in one format, and in one transaction.
type channel interface {
	// open decrypts what the device wrote, the element encrypted.
	open(e *component.Element) (heard, error)
	// seal encrypts a text to the device. If it is "", the message only keeps the session.
	seal(text string) (*component.Element, error)
}

// A heard is what was read.
type heard struct {
	said  bool // it has a text for people
	began bool // a session, with a one-time pre-key
	due   bool // an answer, even if nothing was said
}

// Report makes a service answer messages that are encrypted to the device with an encrypted
// report, for those who may: so that a user who has nobody to ask sees that encryption works.
// The report goes to the device that wrote, and has in it what was found out; report adds to
// that. Messages are not kept. A message that is not encrypted is answered with an error.
func (o *OwnDevice) Report(sv *component.Service, out component.Sender, may func(jid.JID) bool, report func() string) {
	sv.Messages(component.HandlerFunc(func(ctx context.Context, s *component.Stanza) error {
		f, e := encryptedIn(s)
		if e == nil || !may(s.From) {
			return component.NewError(stanza.Cancel, stanza.ServiceUnavailable, "")
		}
		select {
		case o.busy <- struct{}{}:
		default:
			return component.NewError(stanza.Wait, stanza.ResourceConstraint, "")
		}
		go func() { // it waits for the disk
			defer func() { <-o.busy }()
			if r := o.reply(ctx, s, f, e, report); r != nil {
				if err := out.Send(ctx, r); err != nil {
					slog.Debug("a report could not be sent", "error", err)
				}
			}
		}()
		return nil
	}))
}

// encryptedIn is what is encrypted in a message; nil if nothing is.
func encryptedIn(s *component.Stanza) (*Format, *component.Element) {
	for _, f := range []*Format{OMEMO2, Legacy} {
		if e := s.Child(f.namespace, "encrypted"); e != nil {
			return f, e
		}
	}
	return nil, nil
}

// reply makes the message, or error, that answers s; nil if there is none.
func (o *OwnDevice) reply(ctx context.Context, s *component.Stanza, f *Format, e *component.Element, report func() string) *component.Stanza {
	answer, err := o.answer(ctx, s, f, e, report)
	switch {
	case err != nil:
		slog.Debug("a message to Allium's own device cannot be read", "error", err)
		text := "This cannot be decrypted here. Have your client fetch the keys of this address once more."
		if errors.Is(err, errClock) {
			text = "This was decrypted, but the clock of your device or of this server is wrong."
		}
		return s.Error(component.NewError(stanza.Modify, stanza.NotAcceptable, text))
	case answer == nil:
		return nil
	}
	m := &component.Stanza{Kind: component.Message, Type: s.Type, ID: newID(), From: s.To, To: s.From}
	m.Add(answer,
		component.NewElement(nsEME, "encryption").With("namespace", f.namespace).With("name", "OMEMO"),
		component.NewElement(nsHints, "store"))
	if f == Legacy { // in OMEMO2 there is none outside of the envelope (XEP-0420 §7)
		m.Add(component.NewElement(component.NSClient, "body", component.Text("This is encrypted with OMEMO, which your client cannot read.")))
	}
	return m
}

// answer reads a message, and makes the encrypted answer; nil if there is none to a message
// that says nothing, which a client only sends to keep its session. Both are done, or nothing
// is.
func (o *OwnDevice) answer(ctx context.Context, s *component.Stanza, f *Format, e *component.Element, report func() string) (*component.Element, error) {
	o.work.Lock()
	defer o.work.Unlock()
	if o.closed {
		return nil, errors.New("it is closed")
	}
	tx, err := o.db.Begin()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	header, err := f.only(e, "header")
	if err != nil {
		return nil, err
	}
	device, err := parseID(header, "sid", 1)
	if err != nil {
		return nil, err
	}
	at := sessionKey{f, s.From.Bare().String(), device}
	var c channel = newLegacyChannel(ctx, o, tx, at)
	if f == OMEMO2 {
		c = &channel2{o: o, tx: tx, at: at, us: s.To, them: s.From}
	}
	h, err := c.open(e)
	if err != nil {
		return nil, err
	}
	var answer *component.Element
	if h.said || h.due {
		text := ""
		if h.said {
			text = fmt.Sprintf("Encryption works: your message was encrypted by your device %d, and could be read here. So is this answer, by the device %d. %s", device, o.id, report())
		}
		if answer, err = c.seal(text); err != nil {
			return nil, err
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	if h.began { // with a one-time pre-key, which is used up
		if err := o.renew(); err != nil {
			slog.Error("Allium's own OMEMO keys cannot be renewed: is the disk full?", "error", err)
		}
	}
	return answer, nil
}

// keyIn is what is encrypted for this device, among keys.
func (o *OwnDevice) keyIn(f *Format, keys *component.Element) *component.Element {
	for _, n := range keys.Nodes {
		if k := n.Element; k != nil && k.Is(f.namespace, "key") && k.AttrValue("rid") == formatID(o.id) {
			return k
		}
	}
	return nil
}

var errOthers = errors.New("it is not for this device")

// isTrue reads a boolean of XML Schema.
func isTrue(v string) bool { return v == "true" || v == "1" }

// octetsIn reads base64 of any length.
func octetsIn(e *component.Element) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(e.Text()), ""))
}
