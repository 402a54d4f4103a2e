package database

import (
	"errors"
	"os"
	"slices"
	"sync"
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
	s := &saver{file: file, failed: failed, dirty: make(chan struct{}, 1), hurry: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
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

// retire empties a journal when the log has been flushed. If that fails, it is emptied all
// the same: the failure is told.
func (s *saver) retire(journal *os.File) (empty chan struct{}) {
	empty = make(chan struct{})
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
	failing := false
	for {
		last := false
		select {
		case <-s.dirty:
		case <-s.hurry:
		case <-s.quit:
			last = true
		}
		began := time.Now()
		err := s.flush()
		if err != nil && !failing && s.failed != nil {
			s.failed(err)
		}
		failing = err != nil
		if last {
			return
		}
		select {
		case <-time.After(saveEvery - time.Since(began)):
		case <-s.hurry:
			poke(s.hurry)
		case <-s.quit:
		}
	}
}

func (s *saver) flush() (err error) {
	s.mu.Lock()
	log, written, old := s.log, s.written, s.retired
	s.log, s.written, s.retired = false, nil, nil
	s.mu.Unlock()
	for _, f := range written {
		err = errors.Join(err, f.Sync())
	}
	if log {
		err = errors.Join(err, s.flushLog())
	}
	for _, r := range old {
		err = errors.Join(err, r.file.Truncate(0))
		close(r.empty)
	}
	return err
}

// flushLog flushes the log. SQLite holds no lock on that file, so it may be closed here.
func (s *saver) flushLog() error {
	log, err := os.Open(s.file + "-wal")
	if err != nil {
		return err
	}
	defer log.Close()
	return log.Sync()
}
