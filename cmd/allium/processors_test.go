package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// One processor is used when it is enough for a while, and all as soon as it is not.
func TestProcessors(t *testing.T) {
	p := processors{all: 4, now: 4}
	for i, c := range []struct {
		share float64
		want  int
	}{{0.1, 4}, {0.1, 4}, {0.1, 1}, {0.5, 1}, {0.7, 4}, {0.5, 4}, {0.1, 4}, {0.1, 4}, {0.5, 4}, {0.1, 4}, {0.1, 4}, {0.1, 1}, {0, 1}, {3, 4}} {
		assert.Equal(t, c.want, p.next(c.share), i)
	}
}
