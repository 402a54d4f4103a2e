// Package omemo reads, checks, keeps and writes what people publish so that others can
// encrypt to their devices: device lists and key bundles, in both wire formats of OMEMO
// (XEP-0384).
//
// [Legacy] is eu.siacs.conversations.axolotl (XEP-0384 0.3.0), which most clients speak.
// [OMEMO2] is urn:xmpp:omemo:2 (0.8.0 and newer). The two share no keys, no nodes and no
// element names; a [Format] knows what differs, and all else is the same code.
//
// What was found in an item of pubsub is read by the format of its node, and is right, or
// there is an error that says what is wrong:
//
//	b, err := omemo.Legacy.ParseBundle(item.Payload)
//	var bad *omemo.Error
//	if errors.As(err, &bad) {
//		return r.Send(ctx, bad.Answer(s)) // s published it; see XEP-0060 §7.1.3
//	}
//	log.Info("bundle", "warnings", b.Warnings())
//	item.Payload = b.Element() // what is kept and served
//
// # What is checked
//
// A bundle is refused unless
//
//   - it is of the format that was asked for, and has each part once;
//   - keys and the signature are base64 of their exact length, keys of Legacy with the
//     octet 05 before them;
//   - no key is all zero, of low order, or written in another than the canonical form: with
//     a key of low order what two people agree on is known to everybody (RFC 7748 §6.1);
//   - ids are in their range, and those of one-time pre-keys are unique;
//   - there is at least one one-time pre-key, and are at most [MaxPreKeys];
//   - the identity key has signed the signed pre-key: XEdDSA in Legacy, Ed25519 in OMEMO2.
//
// A device list is refused unless it is of the format that was asked for, ids are in range
// and unique, there are at most [MaxDevices], and labels are short plain text. Labels are
// claims until [DeviceList.VerifyLabels] has been called.
//
// # Why nothing else is kept or served
//
// Whoever gets keys from a directory relies on it, and a client that meets a bad bundle can
// at best leave out that device; so what is bad ends where it comes in, with a reason for
// its publisher. What is served is what was checked: it is written anew from a [Bundle] or
// [DeviceList], so that nothing unknown, doubled or hidden in what somebody published can
// be read by a client in another way than it was here.
//
// What a check cannot tell: that the identity key is the person's, which people compare
// themselves; and that one-time pre-keys are the device's, since nothing signs them. A
// wrong one makes a session fail, and gives nobody its content.
//
// # The directory
//
// A [Directory] stands between the host and the Handler that leads to peers, on both ways:
//
//	host ── Router ──▶ Directory.Handler ──▶ gateway ──▶ peers
//	host ◀── Router ◀── Directory.Sender ◀── gateway ◀── peers
//
// It takes part in what concerns keys, and lets all else pass:
//
//   - A question for keys (XEP-0060 §6.5) goes on to their owner's server, by another id,
//     which is how the answer is known. The answer is verified, kept, and written anew. An
//     answer that is wrong is an error to who asked, and does not change what is kept.
//   - When the owner's server is away, or says nothing for Options.Patience, what is kept is
//     the answer, for up to Options.MaxAge. A question has one answer: what comes later is
//     kept. After one silence nobody waits for that owner for a minute.
//   - When the host does not let peers read a user's keys, they are read in the user's name
//     where the host grants that (XEP-0356: a right of the kind "iq", which its version 0.4
//     has, in the namespace of either version); otherwise what is kept is the answer while
//     it is fresh, and the admin is told, once.
//   - A notification (XEP-0163 §4.3) goes on as it was verified, and what it tells is kept;
//     nobody but their owner can change keys. With a new list of a peer's user come the
//     bundles, fetched by the directory itself, so that they are there later.
//     One of a stranger, who by an alias can be a contact of somebody at a peer, goes on, and
//     is not kept.
//   - What the host could not tell clients at peers, because Allium was away, they hear when
//     its link is up again: the directory remembers whom the host notified of which list, and
//     asks the host for these lists in the place of a client each, a few a second.
//   - A stranger, who is in a room with somebody at a peer, is asked, and answered, by the
//     directory, since the gateway is no relay. For that the gateway's domain must be one
//     that other servers can reach. At a native host strangers are only asked: to their own
//     servers, somebody at a peer is at an onion service.
//
// What is kept is bounded for each user and in all. Users of peers whose keys nobody has asked for
// are forgotten first, so that a peer cannot crowd out others by making up users.
//
// # One-time pre-keys
//
// A device can use each one-time pre-key once, and whoever begins a session with one that is
// used up is not understood. A server that is up gives all of them to everybody, and clients
// choose at random; the device replaces what is used. While it cannot, random choices
// collide. So of a bundle that is kept, an answer has one one-time pre-key: one that nobody
// got from this directory yet, while there are such. Nobody gets more than a quarter of them;
// then the same again, the oldest first, and when all have been handed out, the one that was
// longest ago. The signed pre-key is always there. Who has what survives restarts, and is
// forgotten when the device has replaced the key. A bundle that another directory has cut
// down in this way is passed on, and does not replace the whole one here.
//
// # Audits
//
// [Audit] tells what is wrong with what is kept, for admins: it reads the file of a
// Directory that may be running, and verifies all anew. What is no fault, such as a device
// whose keys nobody has asked for yet, is a note.
//
// [Refused] tells of keys that the host has kept from peers since a Directory is there, and
// [NewProbe] asks the host as a peer does.
//
// # The own device
//
// An [OwnDevice] is one of Allium itself, for the address of a service. It has one id, and
// keys of both formats; secrets are in a file that only Allium's user can read. The signed
// pre-key is replaced each week, and the old one forgotten 30 days later; one-time pre-keys
// are made anew for those that were used. It is published to everybody, and answers who
// writes to it with an encrypted report, in the format of what was written.
//
// Others begin sessions with it, and it begins none: who writes in a session that is not known
// here, or not any more, gets an error. Legacy is what go.mau.fi/libsignal does. Its protocol
// has other constants and another form of messages than OMEMO2, and they cannot be set; so
// OMEMO2 is written here: X3DH and the Double Ratchet as XEP-0384 §4 has them, of primitives of
// the standard library, and the envelope of XEP-0420, of which sender, recipient and time must
// be those of its message, as far as they are in it. What is kept of a session is bounded: 1000
// keys of messages that did not come, for 100 turns of the ratchet; and so are sessions, of
// which those are forgotten first that were not used for longest.
//
// # Concurrency
//
// A Directory is safe for concurrent use and waits for nothing: one goroutine sees to the
// file, and answers from it go out by others. Formats never change. A Bundle or DeviceList may be read by many at a time, as long as
// nobody changes it.
package omemo
