package database

import (
	"os"
	"time"
)

// saveEvery is the time from one flush to the next, at least.
const saveEvery = 50 * time.Millisecond

// A saver flushes the write-ahead log of a file to disk, so that not every commit has to
// wait for that. A power failure takes with it what was committed since the last time: the
// log has a checksum in every frame, and what follows one that is missing does not count.
type saver struct {
	file   string
	failed func(error)
	dirty  chan struct{} // has a token when something was committed
	ended  chan struct{}
}

func startSaver(file string, failed func(error)) *saver {
	s := &saver{file: file, failed: failed, dirty: make(chan struct{}, 1), ended: make(chan struct{})}
	go s.run()
	return s
}

// save flushes soon.
func (s *saver) save() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// stop flushes what is committed, and ends.
func (s *saver) stop() {
	close(s.dirty)
	<-s.ended
}

func (s *saver) run() {
	defer close(s.ended)
	failing := false
	for range s.dirty {
		began := time.Now()
		err := s.flush()
		if err != nil && !failing && s.failed != nil {
			s.failed(err)
		}
		failing = err != nil
		time.Sleep(saveEvery - time.Since(began))
	}
}

// flush flushes the log. SQLite holds no lock on that file, so it may be closed here.
func (s *saver) flush() error {
	log, err := os.Open(s.file + "-wal")
	if err != nil {
		return err
	}
	defer log.Close()
	return log.Sync()
}
