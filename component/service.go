package component

import (
	"context"
	"encoding/xml"
	"slices"
	"time"

	"mellium.im/xmpp/stanza"
)

// An Identity says what a service is (XEP-0030 §3.1).
type Identity struct{ Category, Type, Name string }

// An IQHandler answers one kind of IQ request: with the payload of the result, or
// with an error, which should be made by NewError. It does not change s.
type IQHandler func(ctx context.Context, s *Stanza) ([]*Element, error)

// A Service answers what is addressed to a service itself: service discovery
// (XEP-0030), ping (XEP-0199) and what has been added by Answer and Command; anything else
// with service-unavailable. Add to it before it is used; then it is safe for concurrent
// use.
type Service struct {
	out        Sender
	identities []Identity
	features   []string
	answers    map[question]IQHandler
	commands   []Command
	dialogs    Dialogs
	messages   Handler // nil: there is nobody who reads them
}

type question struct {
	typ  string
	name xml.Name
}

// NewService makes a Service that sends its answers by out.
func NewService(out Sender, identities ...Identity) *Service {
	sv := &Service{out: out, identities: identities, answers: map[question]IQHandler{}}
	sv.Answer(stanza.GetIQ, NSDiscoInfo, "query", sv.discoInfo)
	sv.Answer(stanza.GetIQ, NSDiscoItem, "query", sv.discoItems)
	sv.Answer(stanza.GetIQ, NSPing, "ping", func(context.Context, *Stanza) ([]*Element, error) { return nil, nil })
	return sv
}

// Answer makes h answer requests of that type and payload, and announces the
// payload's namespace as a feature.
func (sv *Service) Answer(t stanza.IQType, space, local string, h IQHandler) {
	sv.answers[question{string(t), xml.Name{Space: space, Local: local}}] = h
	sv.Announce(space)
}

// Identify adds what the service also is.
func (sv *Service) Identify(identities ...Identity) {
	sv.identities = append(sv.identities, identities...)
}

// Announce tells of features that need no answer of their own.
func (sv *Service) Announce(features ...string) {
	sv.features = append(sv.features, features...)
	slices.Sort(sv.features)
	sv.features = slices.Compact(sv.features)
}

// Messages makes h take messages, but errors.
func (sv *Service) Messages(h Handler) { sv.messages = h }

// Command adds ad-hoc commands (XEP-0050).
func (sv *Service) Command(commands ...Command) {
	sv.commands = append(sv.commands, commands...)
	sv.Announce(NSCommands, NSData)
}

// HandleStanza answers s, as a Handler does.
func (sv *Service) HandleStanza(ctx context.Context, s *Stanza) error {
	switch {
	case s.Kind == Presence && s.Type == string(stanza.SubscribePresence):
		// A service here has no presence of its own to give (RFC 6121 §3.1.4).
		return sv.out.Send(ctx, &Stanza{Kind: Presence, Type: string(stanza.UnsubscribedPresence),
			ID: s.ID, To: s.From.Bare(), From: s.To})
	case s.Kind == Presence, s.Type == "error":
		return nil
	case s.Kind == Message && sv.messages != nil:
		return sv.messages.HandleStanza(ctx, s)
	case !s.IsRequest():
		return NewError(stanza.Cancel, stanza.ServiceUnavailable, "")
	}
	if err := s.Check(); err != nil {
		return err
	}
	if len(sv.commands) > 0 {
		if answer, ok := sv.dialogs.Handle(sv.commands, s, time.Now()); ok && answer != nil {
			return sv.out.Send(ctx, answer)
		} else if ok {
			return nil
		}
	}
	h := sv.answers[question{s.Type, s.Payload().Name}]
	if h == nil {
		return NewError(stanza.Cancel, stanza.ServiceUnavailable, "")
	}
	payload, err := h(ctx, s)
	if err != nil {
		return err
	}
	return sv.out.Send(ctx, s.Result(payload...))
}

func (sv *Service) discoInfo(_ context.Context, s *Stanza) ([]*Element, error) {
	if s.Payload().AttrValue("node") != "" {
		return nil, NewError(stanza.Cancel, stanza.ItemNotFound, "")
	}
	q := NewElement(NSDiscoInfo, "query")
	for _, id := range sv.identities {
		e := NewElement(NSDiscoInfo, "identity").With("category", id.Category).With("type", id.Type)
		if id.Name != "" {
			e.SetAttr("name", id.Name)
		}
		q.Add(e)
	}
	for _, f := range sv.features {
		q.Add(NewElement(NSDiscoInfo, "feature").With("var", f))
	}
	return []*Element{q}, nil
}

func (sv *Service) discoItems(_ context.Context, s *Stanza) ([]*Element, error) {
	if s.Payload().AttrValue("node") != "" {
		return nil, NewError(stanza.Cancel, stanza.ItemNotFound, "")
	}
	return []*Element{NewElement(NSDiscoItem, "query")}, nil
}
