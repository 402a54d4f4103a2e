package component

import (
	"testing"
	"time"
)

// ShortTimes makes a Link impatient until the test ends. No Link may run when it is
// called, nor when the test ends.
func ShortTimes(t *testing.T, answer, down time.Duration) {
	before := []time.Duration{answerTimeout, tick, downGrace, retryMin}
	t.Cleanup(func() { answerTimeout, tick, downGrace, retryMin = before[0], before[1], before[2], before[3] })
	answerTimeout, tick, downGrace, retryMin = answer, answer/5, down, 10*time.Millisecond
}

// Handshake is handshake.
var Handshake = handshake
