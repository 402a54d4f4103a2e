package muc

import "time"

// history reads what a room needs in memory of its archive.
func (st *Store) history(r *room) error {
	return nil
}

func (st *Store) expire(now time.Time, l Limits, rooms []saveRoom) {}
