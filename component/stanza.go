package component

import (
	"encoding/xml"
	"errors"
	"fmt"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"
)

// Kind is one of the three kinds of stanza (RFC 6120 §8.2).
type Kind uint8

// The kinds of stanza.
const (
	Message Kind = iota + 1
	Presence
	IQ
)

func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Presence:
		return "presence"
	case IQ:
		return "iq"
	}
	return "invalid"
}

// A Stanza is what all parts of Allium pass to each other. Inside Allium its
// addresses, and those in its nodes, are as the host sees them.
type Stanza struct {
	Kind     Kind
	To, From jid.JID // the zero JID where there is none
	ID, Type string
	Lang     string // xml:lang
	Attr     []Attr // all other attributes
	Nodes    []Node

	// Taken, if not nil, is called once when the stanza is in the hands of its
	// destination: a Handler here has taken it (HandleStanza returned nil), or the host
	// has confirmed it, or has closed the connection because of it, or, where it is a
	// kind of stanza that is not written twice, the connection was lost behind it. It is
	// not called if Send returns an error. It may be called from any goroutine, such as
	// those of a Link, and must not block. It is no part of the stanza's XML, and answers
	// that are made of the stanza do not have it.
	Taken func()
}

// MaxID is the number of octets that the id of a stanza may have. Clients' ids have some
// tens; but ids are kept for as long as an answer is waited for.
const MaxID = 1024

// ErrNotStanza is returned by ParseStanza for an element of another name; the stream
// error that fits is unsupported-stanza-type.
var ErrNotStanza = NewStreamError(stream.UnsupportedStanzaType, "not a stanza")

// An AddressError tells that an address in a stanza's header cannot be read.
type AddressError struct {
	Attr string // "to" or "from"
	Err  error
}

func (e *AddressError) Error() string {
	return "component: address in " + e.Attr + ": " + e.Err.Error()
}

// Unwrap gives the error of package jid.
func (e *AddressError) Unwrap() error { return e.Err }

// ParseStanza makes a stanza of an element, whose nodes it takes over. The error is
// ErrNotStanza, or an AddressError; with the latter the stanza is returned too, with
// the zero JID for the address that could not be read.
func ParseStanza(e *Element) (*Stanza, error) {
	s := &Stanza{Nodes: e.Nodes}
	switch {
	case e.Name.Space != NSClient:
		return nil, ErrNotStanza
	case e.Name.Local == "message":
		s.Kind = Message
	case e.Name.Local == "presence":
		s.Kind = Presence
	case e.Name.Local == "iq":
		s.Kind = IQ
	default:
		return nil, ErrNotStanza
	}
	var bad error
	for _, a := range e.Attr {
		switch a.Name {
		case xml.Name{Local: "to"}:
			s.To, bad = parseJID("to", a.Value, bad)
		case xml.Name{Local: "from"}:
			s.From, bad = parseJID("from", a.Value, bad)
		case xml.Name{Local: "id"}:
			s.ID = a.Value
		case xml.Name{Local: "type"}:
			s.Type = a.Value
		case xml.Name{Space: NSXML, Local: "lang"}:
			s.Lang = a.Value
		case xml.Name{Space: NSXMLNS}: // it is written anew for the stream it leaves by
		default:
			s.Attr = append(s.Attr, a)
		}
	}
	return s, bad
}

func parseJID(attr, value string, before error) (jid.JID, error) {
	j, err := ParseJID(value)
	if err != nil && before == nil {
		return j, &AddressError{attr, err}
	}
	return j, before
}

// Element is the stanza as an element that shares its nodes.
func (s *Stanza) Element() *Element {
	e := &Element{Name: xml.Name{Space: NSClient, Local: s.Kind.String()}, Nodes: s.Nodes}
	e.Attr = make([]Attr, 0, 5+len(s.Attr))
	set := func(local, value string) {
		if value != "" {
			e.Attr = append(e.Attr, Attr{Name: xml.Name{Local: local}, Value: value})
		}
	}
	set("to", s.To.String())
	set("from", s.From.String())
	set("id", s.ID)
	set("type", s.Type)
	if s.Lang != "" {
		e.Attr = append(e.Attr, langAttr(s.Lang))
	}
	e.Attr = append(e.Attr, s.Attr...)
	return e
}

// AppendXML appends the stanza as XML to dst, for a stream with that content
// namespace.
func (s *Stanza) AppendXML(dst []byte, content string) []byte {
	return s.Element().AppendXML(dst, content)
}

// String is the stanza as XML, for tests and traces.
func (s *Stanza) String() string { return string(s.AppendXML(nil, NSClient)) }

// Child is the first child element of that name, nil if there is none.
func (s *Stanza) Child(space, local string) *Element { return child(s.Nodes, space, local) }

// Payload is the first child element, nil if there is none. In an IQ of type get or
// set it is the request (RFC 6120 §8.2.3).
func (s *Stanza) Payload() *Element {
	for _, n := range s.Nodes {
		if n.Element != nil {
			return n.Element
		}
	}
	return nil
}

// Add appends child elements and returns s.
func (s *Stanza) Add(children ...*Element) *Stanza {
	for _, c := range children {
		s.Nodes = append(s.Nodes, c.Node())
	}
	return s
}

// Body is the text of the message's body, "" if it has none.
func (s *Stanza) Body() string { return s.Child(NSClient, "body").Text() }

// IsRequest tells if it is an IQ that must be answered.
func (s *Stanza) IsRequest() bool {
	return s.Kind == IQ && (s.Type == string(stanza.GetIQ) || s.Type == string(stanza.SetIQ))
}

// Check tells if the stanza is one that RFC 6120 §8.2.3 allows, as far as it can be
// told without its meaning: an IQ has an id, one of four types, and a request has
// exactly one child element. The error is bad-request.
func (s *Stanza) Check() error {
	if s.Kind != IQ {
		return nil
	}
	bad := func(why string) error { return NewError(stanza.Modify, stanza.BadRequest, why) }
	if s.ID == "" {
		return bad("An IQ must have an id.")
	}
	switch s.Type {
	case "result", "error":
		return nil
	case "get", "set":
	default:
		return bad(fmt.Sprintf("An IQ must be of type get, set, result or error, and not %q.", s.Type))
	}
	n := 0
	for _, c := range s.Nodes {
		if c.Element != nil {
			n++
		}
	}
	if n != 1 {
		return bad("An IQ of type get or set must have exactly one child element.")
	}
	return nil
}

// Result makes the answer to an IQ request, with payload.
func (s *Stanza) Result(payload ...*Element) *Stanza {
	r := &Stanza{Kind: IQ, Type: string(stanza.ResultIQ), ID: s.ID, To: s.From, From: s.To}
	return r.Add(payload...)
}

// Error makes the answer that tells of err, which should be made by NewError; any
// other error is told as internal-server-error. It is nil where there must be no
// answer: to errors and results (RFC 6120 §8.3.1), to presence that asks for
// nothing, and where there is no address to answer to.
func (s *Stanza) Error(err error) *Stanza {
	switch {
	case s.Type == "error", s.From.Equal(jid.JID{}):
		return nil
	case s.Kind == IQ && s.Type == string(stanza.ResultIQ):
		return nil
	case s.Kind == Presence:
		switch stanza.PresenceType(s.Type) {
		case stanza.AvailablePresence, stanza.SubscribePresence, stanza.ProbePresence:
		default:
			return nil
		}
	}
	r := &Stanza{Kind: s.Kind, Type: "error", ID: s.ID, To: s.From, From: s.To}
	e := errorElement(stanzaError(err))
	var app *appError
	if errors.As(err, &app) {
		e.Add(NewElement(app.condition.Space, app.condition.Local))
	}
	return r.Add(e)
}

// StanzaError is the error that a stanza of type error tells of, the zero Error if
// there is none in it.
func (s *Stanza) StanzaError() stanza.Error {
	e := s.Child(NSClient, "error")
	var se stanza.Error
	if e == nil {
		return se
	}
	se.Type = stanza.ErrorType(e.AttrValue("type"))
	for _, n := range e.Nodes {
		switch c := n.Element; {
		case c == nil || c.Name.Space != NSStanzas:
		case c.Name.Local == "text":
			if se.Text == nil {
				se.Text = map[string]string{}
			}
			se.Text["en"] = c.Text()
		default:
			se.Condition = stanza.Condition(c.Name.Local)
		}
	}
	return se
}

// Exceeds tells if the stanza's nodes are over limits, other than Bytes, that the other
// side of a stream may have.
func (s *Stanza) Exceeds(l Limits) bool {
	l = l.orDefault()
	elements := 1
	var walk func(nodes []Node, depth int) bool
	walk = func(nodes []Node, depth int) bool {
		for _, n := range nodes {
			if n.Element == nil {
				continue
			}
			elements++
			if depth > l.Depth || elements > l.Elements || len(n.Element.Attr) > l.Attrs || walk(n.Element.Nodes, depth+1) {
				return true
			}
		}
		return false
	}
	return walk(s.Nodes, 2)
}

func langAttr(lang string) Attr {
	return Attr{Name: xml.Name{Space: NSXML, Local: "lang"}, Prefix: "xml", Value: lang}
}
