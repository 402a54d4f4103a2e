package onionroute

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A mistake of ours costs who makes us run into it a stanza, a stream or an attempt, and
// nobody else anything.
func TestMistakes(t *testing.T) {
	w := newWire()
	log := func(c *Config) { c.Log = slog.New(tripOver("the session goes on")) }
	a, b := startServerWith(t, w, "a.example", log, quick), startServerWith(t, w, "b.example", log, quick)
	bob := `bob\40` + b.m.Identity + "@onion.a.example"
	trip := message("alice@a.example", bob, "trip")
	trip.ID = "7"
	require.NoError(t, a.HandleStanza(context.Background(), trip))
	got := a.receive1(t)
	assert.Equal(t, "error", got.Type)
	assert.Equal(t, "7", got.ID)
	require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, "hi")))
	assert.Equal(t, "hi", b.receive1(t).Body())
	assert.Len(t, w.dialled(), 1, "the stream goes on")

	w.cut()
	for _, text := range []string{"still", "here"} {
		require.NoError(t, a.HandleStanza(context.Background(), message("alice@a.example", bob, text)))
		assert.Equal(t, text, b.receive1(t).Body())
	}
	a.empties(t)
	b.empties(t)
}

// What is done for a stream beside it can fail too.
func TestMistakeInVerification(t *testing.T) {
	log := tripOver("dialback")
	a := startServerWith(t, newWire(), "a.example", func(c *Config) { c.Log = slog.New(log) })
	x := startRawServer(t, a.w, believe)
	r := dialRaw(t, a, portServer)
	r.greet(x.name, a.m.Identity)
	r.write("<db:result from='" + x.name + "' to='" + a.m.Identity + "'>k</db:result>")
	require.Eventually(t, log.once.Load, 5*time.Second, 5*time.Millisecond)
	r.write("<message from='bob@" + x.name + "' to='alice@" + a.m.Identity + "'><body>hi</body></message>")
	assert.Equal(t, "hi", a.receive1(t).Body())
}

// A lock that is left behind is not lived with.
func TestMistakeWithLock(t *testing.T) {
	defer func(d time.Duration) { lockPatience = d }(lockPatience)
	lockPatience = 20 * time.Millisecond
	a := startServer(t, newWire(), "a.example")
	assert.Panics(t, func() { a.careful(nil, func() error { a.mu.Lock(); panic("x") }) })
	a.mu.Unlock()
	assert.NotPanics(t, func() {
		assert.Error(t, a.careful(nil, func() error { a.mu.Lock(); defer a.mu.Unlock(); panic("x") }))
	})
}

// A tripping log panics over a text, once.
type tripping struct {
	over string
	once atomic.Bool
}

func tripOver(text string) *tripping { return &tripping{over: text} }

func (h *tripping) Enabled(context.Context, slog.Level) bool { return true }

func (h *tripping) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == h.over && h.once.CompareAndSwap(false, true) {
		panic("as the test asks")
	}
	return nil
}

func (h *tripping) WithGroup(string) slog.Handler { return h }

func (h *tripping) WithAttrs([]slog.Attr) slog.Handler { return h }
