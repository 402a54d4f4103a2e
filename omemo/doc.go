// Package omemo reads, checks and writes what people publish so that others can encrypt to
// their devices: device lists and key bundles, in both wire formats of OMEMO (XEP-0384).
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
// # Concurrency
//
// Formats never change. A Bundle or DeviceList may be read by many at a time, as long as
// nobody changes it.
package omemo
