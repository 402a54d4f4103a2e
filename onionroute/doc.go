// Package onionroute is everything onion: the Tor process, our onion key, the streams
// to and from onion peers, and the translation between addresses as the host writes
// them and as peers do. It is the only package that ever sees an onion-side address.
//
//	host ── component.Router ──▶ Gateway ── AddressMap ──▶ peer ──▶ stream
//	host ◀── component.Router ◀── Gateway ◀── AddressMap ◀───────── stream
//
// # Who is believed
//
// An onion address is a public key (Tor rend-spec-v3 §6), and Tor connects only to the
// holder of its secret key. So a stream that we open needs no proof. One that is opened
// to us can come from anybody, and proves who it is in one of two ways. Another Allium
// has a certificate under a root that is signed by the onion key, and whose key is the
// onion key: so the address itself proves it, and with it all names below it (see
// credentials and verifyChain); SASL EXTERNAL (XEP-0178) then says so in XMPP. Any
// other server proves each of its domains by Dialback (XEP-0220): we ask the onion
// service of that name, by Tor, if the key that the stream brought is its own. Domains
// that are not onion services are refused unasked, but for the ordinary names that the
// admin has said to be at one ([Peer]), which is then the one that is asked. What is below
// an onion name has the same key, so a stream is believed for all of it. Peers that the
// admin does not want are refused before anything is asked.
//
// Nothing here resolves a name or opens a connection but by [Tor.Dial], which takes the
// names of onion services alone, through a SOCKS port that is told to take nothing else.
//
// # What peers learn
//
// What crosses to a peer, and from one to a local user, is decided by the guard, with one
// table of rules: guard_rules.go. A Gateway asks it for every stanza, at the one place where
// addresses are translated. It protects whomever peers know by an address of ours: users of
// the host, those in rooms here, and strangers (guard_people.go). The names of clients are
// masked there, by a map that lives as long as their sessions, and so longer than Allium: it
// is kept in the spool.
//
// # Concurrency
//
// A peer, which is an onion service with all domains at it, has one goroutine: it
// connects while there is work, or takes a stream that the peer has opened, and writes
// (stream.pump). Work comes to it by a queue, which is bounded; the order of one sender
// is kept from there to the wire. What is due before the peer has been tried is answered
// out of the queue by a timer (peer.overdue). Every stream has a goroutine that reads, translates
// and gives stanzas to the Router before it reads on: a slow host slows its peers down,
// and nobody else. A session has one that acknowledges, a verification one for as long
// as it takes, and the spool one that writes.
//
// Locks are taken in the order peer.mu, stream.mu, contacts.mu or turns.mu or Gateway.mu,
// session.mu, counter.mu, and none is held while anything is written or another package is
// called.
//
// # One stream
//
// Between two Alliums all stanzas go by one stream, in both directions (XEP-0288), for
// all domains at both ends. When both open one at the same time, that of the smaller
// onion name stays; the other is given up when what was written by it has arrived.
//
// # What has arrived
//
// Between two Alliums every stanza has a number, by stream management (XEP-0198). What
// both sides know of that, the session, is in the spool: messages and requests for
// subscription before they are written, how far the peer's have been handled before the
// peer is told. So also after a crash of either side the session is resumed where it
// was, and every stanza is handled once and in order: but for the last hop to the host,
// which does not acknowledge. When both sides open a session at the same time, the two are
// made one where the peer's is opened, before anything is read by it. Who has been told how
// far a session was read writes the rest once more: so from then on nothing is taken of it by
// what came before, be it a stream that the peer has given up for another, or a session that
// it opens while ours is about to be resumed. A stanza from a peer is handled
// when whom it is for has taken it ([component.Stanza].Taken): a service here, or the
// host, which is asked behind each batch. What the host did not confirm when it or
// Allium was killed is handed to it once more.
//
// A stream of Dialback is for one direction, and cannot be resumed. But every server has
// to answer the verification of a key, on the same stream and in order, also if the key
// is none: so behind a batch such a question is asked, and its answer acknowledges the
// batch. What was not acknowledged when a stream breaks off goes by the next one, and
// can arrive twice then; but requests (IQ) are answered with an error rather than made
// twice. Who writes to us by such a stream never asks what has arrived: so when we stop, or
// the stream was silent for long or is one too many, it is told first, and what it wrote until
// it ends the stream is read, for up to 3 s.
//
// # Who pays
//
// What costs memory, connections or time is counted for each peer: what waits for it,
// the answers that it asked for and does not read, its streams, its verifications. Over
// its share it is refused, and nobody else. See the constants in run.go.
//
// Names cost nothing, neither to peers nor to users here who write to some, so peers are
// counted for those here who have business with them, and when there are too many, who has
// most loses one; those that nobody here has business with push out each other alone. See
// crowd.go. It is the same with turns to connect (turns), and with what is noted of who is
// on-line (contacts).
package onionroute
