package component

import (
	"encoding/xml"
	"errors"
	"slices"

	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"
)

// A StreamError is a stream error (RFC 6120 §4.9) with a reason that is for the
// local log and never sent.
type StreamError struct {
	Condition stream.Error
	Reason    string
}

// NewStreamError makes a stream error of one of the conditions in mellium's package
// stream. It is an error, so that nil stays nil where it is returned.
func NewStreamError(condition stream.Error, reason string) error {
	return &StreamError{condition, reason}
}

func streamErr(c stream.Error, reason string) error { return NewStreamError(c, reason) }

func (e *StreamError) Error() string {
	if e.Reason == "" {
		return "component: stream error " + e.Condition.Err
	}
	return "component: stream error " + e.Condition.Err + ": " + e.Reason
}

// Unwrap lets errors.Is compare with the conditions in mellium's package stream.
func (e *StreamError) Unwrap() error { return e.Condition }

// Element is the error as it is sent to the other side: the condition alone.
func (e *StreamError) Element() *Element {
	el := NewElement(NSStream, "error", NewElement(NSStreams, e.Condition.Err).Node())
	el.Prefix = "stream"
	return el
}

// An OversizeError tells of an element that is over a limit, other than its length.
// The stream can go on; a side that does not want that sends the StreamError.
type OversizeError struct{ StreamError }

// Unwrap lets errors.As find the StreamError.
func (e *OversizeError) Unwrap() error { return &e.StreamError }

// A ReceivedError is a stream error that came from the other side, so that it is not
// sent back as if it were ours.
type ReceivedError struct{ *StreamError }

// Error tells the condition alone: whoever sent the error may have put anybody's address
// into its text, which is the Reason.
func (e *ReceivedError) Error() string {
	return "component: received stream error " + e.Condition.Err
}

// streamConditions are those of RFC 6120 §4.9.3.
var streamConditions = []stream.Error{stream.BadFormat, stream.BadNamespacePrefix, stream.Conflict, stream.ConnectionTimeout, stream.HostGone,
	stream.HostUnknown, stream.ImproperAddressing, stream.InternalServerError, stream.InvalidFrom, stream.InvalidNamespace, stream.InvalidXML,
	stream.NotAuthorized, stream.NotWellFormed, stream.PolicyViolation, stream.RemoteConnectionFailed, stream.Reset, stream.ResourceConstraint,
	stream.RestrictedXML, stream.SeeOtherHost, stream.SystemShutdown, stream.UndefinedCondition, stream.UnsupportedEncoding,
	stream.UnsupportedFeature, stream.UnsupportedStanzaType, stream.UnsupportedVersion}

// ParseStreamError reads a stream error that was received. A condition that is not defined
// reads as undefined-condition.
func ParseStreamError(e *Element) *ReceivedError {
	se := &StreamError{Condition: stream.UndefinedCondition}
	for _, n := range e.Nodes {
		switch c := n.Element; {
		case c == nil || c.Name.Space != NSStreams:
		case c.Name.Local == "text":
			se.Reason = c.Text()
		case slices.ContainsFunc(streamConditions, func(known stream.Error) bool { return known.Err == c.Name.Local }):
			se.Condition.Err = c.Name.Local
		}
	}
	return &ReceivedError{se}
}

// NewError makes a stanza error (RFC 6120 §8.3). The text is for the user who gets
// the error; leave it empty where it would cross to a peer.
func NewError(t stanza.ErrorType, c stanza.Condition, text string) error {
	e := stanza.Error{Type: t, Condition: c}
	if text != "" {
		e.Text = map[string]string{"en": text}
	}
	return e
}

// NewAppError makes a stanza error with a condition of an application's own beside the
// general one (RFC 6120 §8.3.4).
func NewAppError(t stanza.ErrorType, c stanza.Condition, text, space, local string) error {
	return &appError{NewError(t, c, text), xml.Name{Space: space, Local: local}}
}

type appError struct {
	error
	condition xml.Name
}

// Unwrap lets errors.As find the stanza error.
func (e *appError) Unwrap() error { return e.error }

// stanzaError is err as a stanza error: itself, or internal-server-error, since what
// went wrong here is not for others to read.
func stanzaError(err error) stanza.Error {
	var se stanza.Error
	if errors.As(err, &se) {
		return se
	}
	return stanza.Error{Type: stanza.Cancel, Condition: stanza.InternalServerError}
}

func errorElement(se stanza.Error) *Element {
	e := NewElement(NSClient, "error")
	if se.Type != "" {
		e.SetAttr("type", string(se.Type))
	}
	if se.By.String() != "" {
		e.SetAttr("by", se.By.String())
	}
	condition := se.Condition
	if condition == "" {
		condition = stanza.UndefinedCondition
	}
	e.Add(NewElement(NSStanzas, string(condition)))
	for lang, text := range se.Text {
		t := NewElement(NSStanzas, "text", Text(text))
		if lang != "" {
			t.Attr = []Attr{langAttr(lang)}
		}
		e.Add(t)
	}
	return e
}
