package muc

import (
	"context"
	"log/slog"
	"time"

	"github.com/allium-xmpp/allium/component/database"
)

// A scrubber empties the log beside the store's file some seconds after something was
// deleted that is not to be found any more: what was retracted, what a room keeps no longer,
// and what was in a room that is no more. SQLite writes zeros over that in the file
// (secure_delete), but the log has what was committed before. All that is deleted meanwhile
// goes at once. It is the committer's.
type scrubber struct {
	after  time.Duration
	scrubs *time.Timer
	due    bool // the timer runs
	failed bool // the last time
}

const (
	scrubAfter    = 3 * time.Second
	scrubPatience = 100 * time.Millisecond // with those who read; messages wait meanwhile
)

// newScrubber is one that begins with the log of a process that was killed.
func newScrubber(after time.Duration) scrubber {
	return scrubber{after: after, scrubs: time.NewTimer(after), due: true}
}

func (s *scrubber) scrubSoon() {
	if !s.due {
		s.due = true
		s.scrubs.Reset(s.after)
	}
}

// scrub empties the log. If that cannot be done it is tried again later.
func (st *Store) scrub() {
	st.due = false
	done, err := database.Truncate(context.Background(), st.db, scrubPatience)
	if err != nil && !st.scrubber.failed {
		slog.Error("what was deleted in rooms may still be in the log of their file: is the disk full?", "error", err)
	}
	st.scrubber.failed = err != nil
	if !done {
		st.scrubSoon()
	}
}
