// Package unwatched reads and writes by system calls that Go's scheduler is not told of.
//
// When it is told, and all was idle before, it wakes a thread of its own that watches over
// the call, and looks again and again for some time. Where a few small stanzas come at a
// time, that thread takes a quarter of all CPU time. What is not watched must not wait: it
// would keep a processor from all goroutines. Sockets of package net do not, nor does, in
// the ordinary case, a write to a file that is not waited for to be on disk.
//
// Only Linux has such calls, and they are only used where a word has 64 bits: else an offset
// is passed in a way of each machine's own. Elsewhere, the functions are those of package
// syscall.
package unwatched
