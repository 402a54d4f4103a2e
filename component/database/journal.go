package database

import (
	"cmp"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/allium-xmpp/allium/component/unwatched"
)

// How much is in a journal (octets), and for how long, before it is folded.
var (
	foldSize  int64 = 4 << 20
	foldAfter       = 10 * time.Second
)

// maxFolds is how many times as much it takes when it cannot be folded.
const maxFolds = 16

// A Journal is beside a database for what lives for a moment: what is noted there, and soon
// noted to be done with, costs no transaction, which is dozens of times as much. A note
// outlives the process as soon as it is written, and the machine soon after (see
// [Schema.Soon]). From time to time what is not done with is folded: written to the database
// in one transaction. Then the journal begins anew.
//
// There are two files, in turns: one is emptied when what was folded of it is on disk, and
// meanwhile there is the other, which is not folded before. Each begins with its number. The
// database, which needs the table JournalTable, knows which was folded last.
//
// A journal is used by one goroutine at a time.
type Journal struct {
	files  [2]*os.File
	empty  [2]<-chan struct{} // closed when what was folded is not there any more; nil: it is not
	number int64              // of the one that is written; its file is that of the parity
	size   int64              // of that
	failed error              // of the last time that it was to be folded

	watched time.Time // until when writing may take long
	out     []byte    // to be used again
}

// JournalTable is a migration for a schema whose files have a journal.
const JournalTable = "CREATE TABLE journal (folded INTEGER NOT NULL); INSERT INTO journal VALUES (0);"

const (
	journalMagic  = "allium\x00\x01"
	journalHeader = len(journalMagic) + 8
	frameHeader   = 8 // length and checksum

	notOnDisk = "\x00\x00\x00\x00\x00\x00\x00\x00" // the beginning, when a power failure came before it was
)

const keptBuffer = 64 << 10 // octets; one that has become larger is not used again

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func journalPath(file string, number int64) string {
	return fmt.Sprintf("%s-recent%d", file, number&1)
}

// OpenJournal opens the journal of a database that was opened from a file, or makes it; the
// file is not a symbolic link. What was not folded is given to replay, as it was written and
// in that order, and then folded. An error of replay tells that the journal is damaged.
func OpenJournal(db *sql.DB, file string, replay func(notes []byte) error, fold func(*sql.Tx) error) (*Journal, error) {
	last, left, err := replayJournal(db, file, replay)
	if err != nil {
		return nil, err
	}
	j := &Journal{number: last}
	if err = j.open(file); err == nil && left {
		err = j.Fold(db, fold)
	} else {
		j.number++
		beginLog(db)
	}
	if err == nil {
		err = j.clear(file)
	}
	if err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func (j *Journal) open(file string) (err error) {
	for i := range j.files {
		// Not where a link leads to, which is none of ours.
		if j.files[i], err = os.OpenFile(journalPath(file, int64(i)), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600); err != nil {
			return err
		}
		if err = j.files[i].Chmod(0o600); err != nil { // it may have been there
			return err
		}
	}
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer folder.Close()
	folder.Sync() // their names; not all file systems can
	return nil
}

// beginLog has something written to the log of the database: SQLite has the disk flush where it
// begins, and what is committed first would wait for that, with all behind it. If it cannot be,
// nothing is lost.
func beginLog(db *sql.DB) {
	if tx, err := db.Begin(); err == nil {
		defer tx.Rollback()               // does nothing behind a Commit
		for _, by := range []int{1, -1} { // what changes nothing is not written
			if _, err := tx.Exec("UPDATE journal SET folded = folded + ?", by); err != nil {
				return
			}
		}
		tx.Commit()
	}
}

// clear empties the files, when what was folded of them is on disk.
func (j *Journal) clear(file string) error {
	for _, f := range j.files {
		st, err := f.Stat()
		if err != nil {
			return err
		}
		if st.Size() == 0 {
			continue
		}
		if err := flushLog(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	return nil
}

// CheckJournal gives to replay what OpenJournal would, and changes nothing.
func CheckJournal(db *sql.DB, file string, replay func(notes []byte) error) error {
	_, _, err := replayJournal(db, file, replay)
	return err
}

// replayJournal gives the number of the last journal, and tells if something was left there.
func replayJournal(db *sql.DB, file string, replay func(notes []byte) error) (last int64, left bool, err error) {
	if err := db.QueryRow("SELECT folded FROM journal").Scan(&last); err != nil {
		return 0, false, err
	}
	parts, err := readJournal(file, last)
	if err != nil {
		return 0, false, err
	}
	for _, p := range parts {
		last = p.number
		for _, notes := range p.frames {
			left = true
			if err := replay(notes); err != nil {
				return 0, false, err
			}
		}
	}
	return last, left, nil
}

// A part of a journal is what is in one file.
type part struct {
	number int64
	frames [][]byte
}

// readJournal reads what was not folded, in the order in which it was written.
func readJournal(file string, folded int64) (parts []part, err error) {
	for i := range int64(2) {
		data, err := os.ReadFile(journalPath(file, i))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if len(data) < journalHeader || string(data[:len(journalMagic)]) == notOnDisk {
			continue // nothing was written yet, or it did not get on disk
		}
		if string(data[:len(journalMagic)]) != journalMagic {
			return nil, errors.New("its journal is none")
		}
		number := int64(binary.LittleEndian.Uint64(data[len(journalMagic):]))
		if number > folded && number&1 == i {
			parts = append(parts, part{number, readFrames(data[journalHeader:], number)})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.number, b.number) })
	return parts, nil
}

// readFrames gives what was written as a whole. What is not ends the file: the process, or
// the machine, ended while it was being written.
func readFrames(data []byte, number int64) (frames [][]byte) {
	for len(data) >= frameHeader {
		n, sum := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		data = data[frameHeader:]
		if n == 0 || uint64(n) > uint64(len(data)) || checksum(data[:n], number) != sum {
			break
		}
		frames = append(frames, data[:n])
		data = data[n:]
	}
	return frames
}

// checksum is that of a frame. A frame of another journal in the same file has another.
func checksum(p []byte, number int64) uint32 {
	return crc32.Update(crc32.Checksum(binary.LittleEndian.AppendUint64(nil, uint64(number)), castagnoli), castagnoli, p)
}

// file is the one that is written.
func (j *Journal) file() *os.File { return j.files[j.number&1] }

// append writes notes, all of them or none; back takes them back. It may take long while the
// files are being flushed.
func (j *Journal) append(notes []byte, flushing bool) (back func(), err error) {
	if j.overfull() {
		if j.failed == nil {
			return nil, errors.New("its journal is full, and what was folded before is not on disk yet")
		}
		return nil, fmt.Errorf("its journal is full, and cannot be folded: %w", j.failed)
	}
	out := j.out[:0]
	if j.size == 0 {
		out = binary.LittleEndian.AppendUint64(append(out, journalMagic...), uint64(j.number))
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(len(notes)))
	out = binary.LittleEndian.AppendUint32(out, checksum(notes, j.number))
	was := j.size
	back = func() {
		j.size = was
		if j.file().Truncate(was) != nil {
			j.file().WriteAt(make([]byte, journalHeader+frameHeader), was) // no frame begins so
		}
	}
	out = append(out, notes...)
	if err := j.write(out, was, flushing); err != nil {
		back()
		return nil, err
	}
	j.size += int64(len(out))
	if cap(out) <= keptBuffer {
		j.out = out
	}
	return back, nil
}

// write writes to the file. If that takes long once, the disk has too much to do, and for a
// while others shall not have to wait for what is written; nor while it is flushed.
func (j *Journal) write(p []byte, at int64, flushing bool) error {
	began := time.Now()
	if began.Before(j.watched) || flushing {
		_, err := j.file().WriteAt(p, at)
		return err
	}
	for len(p) > 0 {
		n, err := unwatched.WriteAt(j.file().Fd(), p, at)
		if n == 0 && err == nil {
			err = io.ErrShortWrite
		}
		if err != nil {
			return &fs.PathError{Op: "write", Path: j.file().Name(), Err: err}
		}
		p, at = p[n:], at+int64(n)
	}
	if time.Since(began) > slowWrite {
		j.watched = time.Now().Add(watchSlow)
	}
	return nil
}

const (
	slowWrite = 10 * time.Millisecond
	watchSlow = time.Minute
)

// Fold writes to the database, by do, what is not done with of the notes, in one
// transaction.
func (j *Journal) Fold(db *sql.DB, do func(*sql.Tx) error) (err error) {
	defer func() { j.failed = err }()
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing behind a Commit
	if err := do(tx); err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE journal SET folded = ?", j.number); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	j.number, j.size = j.number+1, 0
	return nil
}

// isEmpty tells if there is nothing to be folded. A nil journal is always empty.
func (j *Journal) isEmpty() bool { return j == nil || j.size == 0 }

// full tells if it is to be folded at once. If that has failed, there is time.
func (j *Journal) full() bool { return j != nil && j.size >= foldSize && j.failed == nil }

// overfull tells if nothing more is to be written before it is folded.
func (j *Journal) overfull() bool { return j != nil && j.size > maxFolds*foldSize }

// mayFold tells if the file that would be written then is empty.
func (j *Journal) mayFold() bool {
	empty := j.empty[(j.number+1)&1]
	if empty == nil {
		return true
	}
	select {
	case <-empty:
		return true
	default:
		return false
	}
}

func (j *Journal) close() {
	if j == nil {
		return
	}
	for _, f := range j.files {
		if f != nil {
			f.Close()
		}
	}
}
