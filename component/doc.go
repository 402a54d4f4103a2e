// Package component is the door to the host server and the hallway behind it.
//
// A [Link] is one connection to the host by the Jabber Component Protocol
// (XEP-0114), for one domain. What comes in by a link is a [Stanza], and goes to
// the [Router], which knows the [Handler] of every domain that is served here.
// What is nobody's goes back to the host, by the link of its sender's domain:
//
//	host ── Link ──▶ Router ──▶ Handler     (a service: gateway, rooms)
//	host ◀── Link ◀── Router ◀── Handler
//
// A minimal service is a Handler and two calls:
//
//	r := component.NewRouter()
//	r.Handle("echo.example.org", component.HandlerFunc(
//		func(ctx context.Context, s *component.Stanza) error {
//			s.To, s.From = s.From, s.To
//			return r.Send(ctx, s)
//		}))
//	l := component.NewLink(component.LinkConfig{
//		Server: "127.0.0.1:5347", Domain: "echo.example.org", Secret: "secret",
//	}, r)
//	err := l.Run(ctx) // until ctx is done
//
// # Who owns a stanza
//
// A stanza has one owner. Whoever passes a *Stanza to HandleStanza or Send has
// given it away, and does not read or change it afterwards; whoever gets one may
// change it. An error from HandleStanza or Send gives it back: the caller then
// answers it with [Stanza.Error], which also knows what must not be answered.
//
// # XML
//
// Stanzas are relayed between streams with different content namespaces
// (jabber:component:accept, jabber:server), so [Element] keeps names resolved,
// and remembers prefixes and declarations as they were written. The content
// namespace of any stream reads as [NSClient], and is written back as the one of
// the stream that a stanza leaves by. See [Decoder] and [Element.AppendXML].
//
// # Concurrency
//
// A Link has two goroutines: one reads, parses and calls the Router, which calls
// the handler; one writes. A Handler therefore must not wait for anything that
// comes in by the same link; it hands long work to a goroutine of its own. Send
// is safe for concurrent use, keeps the order of each caller, and waits at most
// [LinkConfig].SendTimeout.
package component
