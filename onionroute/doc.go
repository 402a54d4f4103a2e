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
// Domains that are not onion services are refused unasked, but for the ordinary names
// that the admin has said to be at one ([Peer]), which is then the one that is asked. What
// is below an onion name has the same key, so a stream is believed for all of it. Peers
// that the admin does not want are refused before anything is asked.
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
// Locks are taken in the order inbound.mu, Gateway.mu, peer.mu, and none is held while
// anything is written or another package is called.
//
// # What has arrived
//
// A stream of Dialback is for one direction, so nothing acknowledges what is written to
// it. But every server has to answer the verification of a key, on the same stream and
// in order, also if the key is none: so behind a batch such a question is asked, and
// its answer acknowledges the batch. What was not acknowledged when a stream breaks off
// goes by the next one, but for requests (IQ), which are answered with an error rather
// than made twice.
//
// # Who pays
//
// What costs memory, connections or time is counted for each peer: what waits for it,
// the answers that it asked for and does not read, its streams, its verifications. Over
// its share it is refused, and nobody else. See the constants in run.go.
package onionroute
