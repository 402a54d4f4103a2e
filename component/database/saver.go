package database

import (
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// saveEvery is the time from one flush to the next, at least, if nobody waits for it. Each
// wakes threads of Go's for some milliseconds.
const saveEvery = 200 * time.Millisecond

// A saver flushes the write-ahead log of a database and its journal to disk, so that not
// every commit has to wait for that. A power failure takes with it what was written since
// the last time: both have a checksum in every frame, and what follows one that is missing
// does not count.
type saver struct {
	file   string // the database
	failed func(error)
	dirty  chan struct{} // has a token when something was written
	hurry  chan struct{} // has a token when somebody may wait for that
	quit   chan struct{} // closed at the end
	ended  chan struct{}

	flushing atomic.Bool // it is in a flush
	failing  atomic.Bool // the last one has failed

	mu      sync.Mutex
	log     bool       // something is in the log that may not be on disk
	written []*os.File // something is in these
	retired []retired
}

// retired is a journal that is to be emptied when the log is on disk.
type retired struct {
	file  *os.File
	empty chan struct{}
}

func startSaver(file string, failed func(error)) *saver {
	s := &saver{file: file, failed: failed,
		dirty: make(chan struct{}, 1), hurry: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	go s.run()
	return s
}

// save flushes the log soon, or a journal.
func (s *saver) save(journal *os.File) {
	s.mu.Lock()
	if journal == nil {
		s.log = true
	} else if !slices.Contains(s.written, journal) {
		s.written = append(s.written, journal)
	}
	s.mu.Unlock()
	poke(s.dirty)
}

// retire empties a journal when the log has been flushed, and then closes the channel.
func (s *saver) retire(journal *os.File) <-chan struct{} {
	empty := make(chan struct{})
	s.mu.Lock()
	s.log = true
	s.written = slices.DeleteFunc(s.written, func(f *os.File) bool { return f == journal })
	s.retired = append(s.retired, retired{journal, empty})
	s.mu.Unlock()
	poke(s.hurry)
	return empty
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// stop flushes what is written, and ends.
func (s *saver) stop() {
	close(s.quit)
	<-s.ended
}

func (s *saver) run() {
	defer close(s.ended)
	for {
		last := false
		select {
		case <-s.dirty:
		case <-s.hurry:
		case <-s.quit:
			last = true
		}
		began := time.Now()
		s.flushing.Store(true)
		err := s.flush()
		s.flushing.Store(false)
		if failing := s.failing.Swap(err != nil); err != nil {
			if !failing && s.failed != nil {
				s.failed(err)
			}
			poke(s.dirty) // what is not on disk is tried again
		}
		if last {
			return
		}
		var hurry <-chan struct{}
		if err == nil {
			hurry = s.hurry
		}
		select {
		case <-time.After(saveEvery - time.Since(began)):
		case <-hurry:
			poke(s.hurry)
		case <-s.quit:
		}
	}
}

// flush flushes what was written, and empties the journals that are not needed then. What
// fails is left to be done.
func (s *saver) flush() (err error) {
	s.mu.Lock()
	log, written, old := s.log, s.written, s.retired
	s.log, s.written, s.retired = false, nil, nil
	s.mu.Unlock()
	left := written[:0]
	for _, f := range written {
		if e := f.Sync(); e != nil {
			left, err = append(left, f), errors.Join(err, e)
		}
	}
	if log {
		if e := flushLog(s.file); e != nil {
			err = errors.Join(err, e)
		} else {
			log = false
		}
	}
	for len(old) > 0 && !log {
		if e := old[0].file.Truncate(0); e != nil {
			err = errors.Join(err, e)
			break
		}
		close(old[0].empty)
		old = old[1:]
	}
	if err != nil {
		s.mu.Lock()
		s.log, s.written, s.retired = s.log || log, append(s.written, left...), append(old, s.retired...)
		s.mu.Unlock()
	}
	return err
}

// flushLog flushes the log of a database. SQLite holds no lock on that file, so it may be
// closed here.
func flushLog(file string) error {
	log, err := os.Open(file + "-wal")
	if err != nil {
		return err
	}
	defer log.Close()
	return log.Sync()
}
