package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// There may be more garbage when little is in use, and when that does not change.
func TestGarbage(t *testing.T) {
	var u usage
	for i, c := range []struct {
		inUse uint64 // MiB
		want  int
	}{{0, 400}, {1, 400}, {4, 200}, {20, 100}, {21, 100}, {20, 100}, {19, 400}, {20, 400}, {23, 100}, {10, 100}, {10, 100}, {10, 100}, {10, 400}, {30, 100}, {30, 100}, {30, 100}, {30, 200}, {80, 100}, {80, 100}, {80, 100}, {80, 100}} {
		assert.Equal(t, c.want, u.garbage(c.inUse<<20), i)
	}
}
