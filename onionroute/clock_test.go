package onionroute

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

// The clock jumps while Allium is not running. What waits is tried once more before it is
// returned, however old it seems, and is not kept for ever if it is from the future.
func TestClockJumps(t *testing.T) {
	for name, c := range map[string]struct {
		jump    time.Duration // of the time that the message waits since
		peer    bool          // is there again
		arrives bool
	}{
		"from long ago, and the peer is back": {-1000 * time.Hour, true, true},
		"from long ago, and the peer is away": {-1000 * time.Hour, false, false},
		"from the future, peer back":          {1000 * time.Hour, true, true},
		"from the future, peer away":          {1000 * time.Hour, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b, bob, _ := two(t, quick, func(s *times) { s.maxAge = time.Second })
			b.stop()
			require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
			a.stop()
			db, err := openSpool(a.c.Spool, nil)
			require.NoError(t, err)
			items, err := db.items()
			require.NoError(t, err)
			require.Len(t, items, 1)
			assert.Contains(t, items[0].since.String(), " m=", "its age goes on by a clock that does not jump")
			items[0].since = time.Now().Add(c.jump)
			done := make(chan error, 1)
			db.store(items, "", func(err error) { done <- err })
			require.NoError(t, <-done)
			require.NoError(t, db.close())
			if c.peer {
				b.start()
			}
			dials := len(w.dialled())
			a.start()
			if c.arrives {
				assert.Equal(t, "hi", b.receive1(t).Body())
				a.silent(t)
				return
			}
			back := a.receive1(t)
			assert.Equal(t, stanza.RemoteServerTimeout, back.StanzaError().Condition)
			assert.Equal(t, "1", back.ID)
			assert.Greater(t, len(w.dialled()), dials, "it was tried")
		})
	}
}
