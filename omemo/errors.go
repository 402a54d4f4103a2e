package omemo

import (
	"fmt"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// An Error says what is wrong with a bundle or a device list. For the publisher it is a
// stanza error, which errors.As finds in it; Answer adds the condition of pubsub.
type Error struct {
	// Fault is for people. It quotes nothing of what was published but numbers.
	Fault string

	tooBig bool
}

func (e *Error) Error() string { return "omemo: " + e.Fault }

// Unwrap is the stanza error, of the conditions that XEP-0060 §7.1.3 names.
func (e *Error) Unwrap() error {
	if e.tooBig {
		return component.NewError(stanza.Modify, stanza.NotAcceptable, e.Fault)
	}
	return component.NewError(stanza.Modify, stanza.BadRequest, e.Fault)
}

// Answer makes the answer to the request s, which published what e tells of: the fault is
// its text. It is nil where there must be no answer, see [component.Stanza.Error].
func (e *Error) Answer(s *component.Stanza) *component.Stanza {
	r := s.Error(e)
	if r == nil {
		return nil
	}
	condition := "invalid-payload"
	if e.tooBig {
		condition = "payload-too-big"
	}
	r.Child(component.NSClient, "error").Add(component.NewElement(NSPubsubErrors, condition))
	return r
}

func refuse(format string, args ...any) error {
	return &Error{Fault: fmt.Sprintf(format, args...)}
}

func tooMany(what string, limit int) error {
	return &Error{Fault: fmt.Sprintf("more than %d %s", limit, what), tooBig: true}
}
