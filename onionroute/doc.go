// Package onionroute is everything onion: the Tor process, our onion key, the streams
// to and from onion peers, and the translation between addresses as the host writes
// them and as peers do. It is the only package that ever sees an onion-side address.
//
//	host ── component.Router ──▶ Gateway ── AddressMap ──▶ peer ──▶ outbound stream
//	host ◀── component.Router ◀── Gateway ◀── AddressMap ◀── inbound stream
//
// # Who is believed
//
// An onion address is a public key (Tor rend-spec-v3 §6), and Tor connects only to the
// holder of its secret key. So an outbound stream needs no proof. An inbound stream can
// come from anybody: it says a domain, and proves it by Dialback (XEP-0220): we ask the
// onion service of that name, by Tor, if the key that the stream brought is its own.
// Domains that are not onion services are refused unasked.
//
// Nothing here resolves a name or opens a connection but by [Tor.Dial], which takes the
// names of onion services alone, through a SOCKS port that is told to take nothing else.
//
// # Concurrency
//
// A peer, which is an onion service with all domains at it, has one goroutine: it
// connects while there is work, and owns the outbound stream, on which a second one
// reads. Work comes to it by a queue, which is bounded; the order of one sender is kept
// from there to the wire. An inbound stream has one goroutine, which reads, translates
// and gives stanzas to the Router before it reads on: a slow host slows its peers down,
// and nobody else. A verification has a goroutine for as long as it takes.
//
// Gateway.mu is taken before peer.mu, and neither is held while anything is written or
// another package is called.
package onionroute
