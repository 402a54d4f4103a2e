// Package database opens the SQLite files that packages keep what is theirs in. It knows
// nothing of what is in them: a package hands in its own [Schema].
//
// All files have in common that nobody but Allium's user can read them, that what is
// committed is on disk, or will be in a moment (a write-ahead log, synchronous FULL; for
// the other see [Schema]), and that a version, which SQLite keeps in the file (PRAGMA
// user_version), counts the migrations that were applied. A file that cannot be used gives
// an error that tells an admin what to do next.
//
// Errors do not name the file: who opens it says which one it is.
package database
