// Package muc is group chat: a service for rooms as XEP-0045 has them, with what today's
// clients rely on (archives, stanza ids, occupant ids, moderation, avatars).
//
// A [Service] is a component.Handler for the domain of the rooms. It keeps them in a
// [Store], and sends by a [Sender], such as a component.Router:
//
//	st, err := muc.OpenStore("rooms.sqlite")
//	sv, err := muc.NewService(muc.Options{Domain: "rooms.example.org"}, st, router)
//	router.Handle("rooms.example.org", sv)
//	err = sv.Run(ctx) // until ctx is done
//
// It knows nothing of Tor or onion addresses: who is at an onion service is a user like
// others here, with the address that the host sees.
//
// # A room
//
// The state of a room (type room) is plain Go without I/O. It handles one stanza after
// the other, and leaves in its output what follows: copies to be sent, changes to be
// stored, and reads, which are looked up outside and then handled as the stanzas are. So
// a test of a room is a short script of stanzas, and a fuzz target can throw any at it.
//
// What many get is written once (component.Draft), with a gap for the recipient and a part
// that only those get who may see real addresses.
//
// # Concurrency
//
// An actor is a room that is in memory. Stanzas for it wait in its queue; while there are
// any, one goroutine of the service's crew runs it, and nobody else touches the room. An
// empty room that has been idle for some minutes is put out of memory.
//
// What changes a room is stored first, and what follows from it is sent then, in order: who
// gets an answer, or a copy of the own message, knows that it is on disk. The store
// commits what all rooms want together. Where everybody is told of everybody, that goes out
// by portions while the room goes on. What cannot be stored has not happened: the room is read
// again, and all come again, as they do to a room that panicked.
//
// What is looked up, such as pages of archives, is shared out by readers: users take turns, and
// what takes long keeps nobody from what does not.
//
// # Hidden rooms
//
// Who may not know of a room (see room.entitled) gets the answers of one that is not
// there, also from one that is overloaded (see insiders). Who may make rooms finds out all
// the same, by trying to make one of that name.
package muc
