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
// [Stanza].Taken belongs to who made the stanza, and goes with it: whoever ends its
// journey calls it, once. That is the Router, when a Handler has taken the stanza (which
// the Handler gets without Taken, so that it can send it on), or the Link, when the host
// has. A Handler that copies a stanza leaves Taken out. After an error from Send it will
// not be called: the answer to its maker is the error.
//
// # What the host has taken
//
// XEP-0114 has no acknowledgements. But Prosody and ejabberd handle what a component
// sends in order, so a Link writes a ping (XEP-0199) behind a batch, and its answer, be it
// a result or an error, confirms the batch. Until then the Link keeps messages and
// presence, and writes them again if the connection is lost, before what came meanwhile.
// So the host gets each of them, in the order of its sender, and after a break perhaps
// twice. Requests (IQ) are not made twice, and no room is entered twice.
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
// A Link has three goroutines: one reads and parses; one calls the Router, which calls
// the handler, for one stanza after the other; one writes. A Handler therefore must not
// wait for another stanza that comes in by the same link; it hands long work to a
// goroutine of its own. Send is safe for concurrent use, keeps the order of each caller,
// and waits at most [LinkConfig].SendTimeout, or for a stanza with Taken, as long as its
// context lasts. A Handler may wait in Send: what the host confirms is read meanwhile. When
// many stanzas wait to be handled, the context of the Handler ends, and it waits no longer.
package component
