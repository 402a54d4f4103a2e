package component

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Those that somebody here wrote to stay attached, whoever else comes, and are attached
// again the next time.
func TestPool(t *testing.T) {
	defer func(d time.Duration) { attachTimeout = d }(attachTimeout)
	attachTimeout = 0 // there is no host
	file := filepath.Join(t.TempDir(), "attached")
	nobody := HandlerFunc(func(context.Context, *Stanza) error { return nil })
	open := func() *Pool {
		p, err := NewPool(LinkConfig{Server: "127.0.0.1:1", Log: slog.New(slog.DiscardHandler)}, nobody, file)
		require.NoError(t, err)
		return p
	}
	p := open()
	assert.False(t, p.Has("friend.example"))
	from := func(domain string) error {
		if err := p.Send(t.Context(), &Stanza{Kind: Message, From: jid.MustParse("x@" + domain), To: jid.MustParse("alice@a.example")}); err != nil {
			return err
		}
		return p.links[domain].link.out.flush(io.Discard, false) // as if there were one
	}
	to := func(domain, typ string) error {
		return p.HandleStanza(t.Context(), &Stanza{Kind: Message, Type: typ, From: jid.MustParse("alice@a.example"), To: jid.MustParse("x@" + domain)})
	}
	require.NoError(t, p.Keep("kept.example"))
	require.NoError(t, from("friend.example"))
	require.NoError(t, to("friend.example", "chat"))
	for i := range 2 * poolSize {
		require.NoError(t, from(fmt.Sprintf("s%d.example", i)))
		require.NoError(t, to(fmt.Sprintf("s%d.example", i), "error"), "an error is no sign that it is wanted")
	}
	assert.Len(t, p.links, poolSize)
	assert.Contains(t, p.links, "kept.example")
	assert.Contains(t, p.links, "friend.example")
	p.detachIdle(time.Now().Add(2 * idleOthers))
	assert.Len(t, p.links, 2)

	p.remember()
	again := open()
	assert.Len(t, again.links, 1)
	assert.True(t, again.Has("friend.example"))
	again.detachIdle(time.Now().Add(2 * idleWanted))
	assert.Empty(t, again.links)

	for i := range poolSize - 2 {
		require.NoError(t, p.Want(fmt.Sprintf("w%d.example", i)))
		require.NoError(t, p.Want(fmt.Sprintf("n%d.example", i)), "there is nobody")
	}
	assert.Contains(t, p.links, "friend.example")
	for domain, l := range p.links {
		require.NoError(t, p.Send(t.Context(), &Stanza{Kind: Presence, Type: "probe", From: jid.MustParse("x@" + domain), To: jid.MustParse("alice@a.example")}))
		require.NoError(t, l.link.out.flush(io.Discard, false))
	}
	require.NoError(t, from("new.example"), "a probe is no sign that anybody is there")
	for i := range poolSize - 2 {
		require.NoError(t, from(fmt.Sprintf("w%d.example", i)))
		require.NoError(t, to(fmt.Sprintf("w%d.example", i), "chat"))
	}
	assert.ErrorIs(t, from("late.example"), stanza.Error{Condition: stanza.ResourceConstraint})
}

// What the host has not taken yet is not lost since somebody else comes, nor since it waits for long.
func TestPoolHolds(t *testing.T) {
	p, err := NewPool(LinkConfig{Server: "127.0.0.1:1", Log: slog.New(slog.DiscardHandler)}, HandlerFunc(nil), filepath.Join(t.TempDir(), "attached"))
	require.NoError(t, err)
	from := func(domain string) error {
		return p.Send(t.Context(), &Stanza{Kind: Message, From: jid.MustParse("x@" + domain), To: jid.MustParse("alice@a.example")})
	}
	for i := range poolSize {
		require.NoError(t, from(fmt.Sprintf("s%d.example", i)))
	}
	assert.ErrorIs(t, from("late.example"), stanza.Error{Condition: stanza.ResourceConstraint})
	p.detachIdle(time.Now().Add(2 * idleOthers))
	assert.Len(t, p.links, poolSize)
	require.NoError(t, p.links["s7.example"].link.out.flush(io.Discard, false))
	require.NoError(t, from("late.example"))
	assert.NotContains(t, p.links, "s7.example")
	p.detachIdle(time.Now().Add(2 * idleWanted))
	assert.Empty(t, p.links)
}

// Run ends its links with itself, and those that come while it runs.
func TestPoolRun(t *testing.T) {
	p, err := NewPool(LinkConfig{Server: "127.0.0.1:1", Log: slog.New(slog.DiscardHandler)}, HandlerFunc(nil), filepath.Join(t.TempDir(), "attached"))
	require.NoError(t, err)
	require.NoError(t, p.Keep("before.example"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	require.NoError(t, p.Keep("after.example"))
	cancel()
	require.NoError(t, <-ended)
}

// Links that end do not wait for each other, also when the host has written much that is not
// handled yet.
func TestPoolEnds(t *testing.T) {
	defer func(d time.Duration) { attachTimeout = d }(attachTimeout)
	attachTimeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p, err := NewPool(LinkConfig{Server: "127.0.0.1:1", Log: slog.New(slog.DiscardHandler)}, HandlerFunc(func(context.Context, *Stanza) error { return nil }),
		filepath.Join(t.TempDir(), "attached"))
	require.NoError(t, err)
	require.NoError(t, p.Run(ctx))
	handled := make(chan error)
	go func() {
		handled <- p.HandleStanza(ctx, &Stanza{Kind: Message, From: jid.MustParse("alice@a.example"), To: jid.MustParse("x@b.example")})
	}()
	select {
	case err := <-handled:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for a link that will not be")
	}
}
