package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A breakingWriter takes a number of octets and then fails.
type breakingWriter struct {
	left int
	got  []byte
}

func (w *breakingWriter) Write(p []byte) (int, error) {
	n := min(w.left, len(p))
	w.left -= n
	w.got = append(w.got, p[:n]...)
	if n < len(p) {
		return n, errors.New("broken")
	}
	return n, nil
}

func testPing(id string) []byte { return []byte("<p id='" + id + "'/>") }

// pingIn is the id of the last ping in xml.
func pingIn(xml []byte) string {
	_, id, _ := strings.Cut(string(xml[strings.LastIndex(string(xml), "<p "):]), "'")
	id, _, _ = strings.Cut(id, "'")
	return id
}

// Wherever a write is cut off, the next connection gets what was not confirmed, in
// order; and of what is not written twice, that which the first got in part.
func TestOutboxBreak(t *testing.T) {
	kinds := []string{"<message/>", "<iq/>", "<subscribe/>", "<presence/>", "<message n='2'/>", "<iq n='2'/>"}
	all := strings.Join(kinds, "")
	for n := 0; n <= len(all)+5; n++ {
		o := newOutbox(1<<20, testPing)
		taken := make([]int, len(kinds))
		for i, k := range kinds {
			again := strings.HasPrefix(k, "<m") || strings.HasPrefix(k, "<s")
			require.True(t, o.put(context.Background(), []byte(k), entry{again: again, taken: func() { taken[i]++ }}, 0))
		}
		require.Error(t, o.flush(&breakingWriter{left: n}, false))
		require.False(t, o.requeue(false))
		require.True(t, o.put(context.Background(), []byte("<new/>"), entry{}, 0))
		want, at := "", 0
		for i, k := range kinds {
			at += len(k)
			if again := strings.HasPrefix(k, "<m") || strings.HasPrefix(k, "<s"); again || at > n {
				want += k
				assert.Zero(t, taken[i], "%s, cut off at %d", k, n)
			} else {
				assert.Equal(t, 1, taken[i], "%s, cut off at %d", k, n)
			}
		}
		w := &breakingWriter{left: 1 << 20}
		require.NoError(t, o.flush(w, false))
		id := pingIn(w.got)
		assert.Equal(t, want+"<new/>"+string(testPing(id)), string(w.got), "cut off at %d", n)
		o.confirm(id)
		assert.True(t, o.empty())
		for i := range taken {
			assert.Equal(t, 1, taken[i])
		}
	}
}

// Whatever happens in whatever order: each is taken once, and not before a ping behind
// it was answered; nothing is lost or overtakes.
func TestOutboxRandom(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		o := newOutbox(1<<20, testPing)
		var order []int                     // as the host sees it
		var taken []int                     // as we are told
		var pings []func()                  // what answers would do
		put, confirmed := 0, map[int]bool{} // what the host has confirmed
		flush := func(left int) error {
			w := &breakingWriter{left: left}
			err := o.flush(w, r.IntN(5) == 0)
			for _, xml := range strings.SplitAfter(string(w.got), "/>") {
				var n int
				if _, err := fmt.Sscanf(xml, "<m n='%d'/>", &n); err == nil && strings.HasSuffix(xml, "/>") {
					order = append(order, n)
				} else if strings.HasPrefix(xml, "<p") && strings.HasSuffix(xml, "/>") {
					id, had := pingIn([]byte(xml)), slices.Clone(order)
					pings = append(pings, func() {
						for _, n := range had {
							confirmed[n] = true
						}
						o.confirm(id)
					})
				}
			}
			return err
		}
		for range 200 {
			switch r.IntN(6) {
			case 0, 1, 2:
				n := put
				put++
				o.put(context.Background(), fmt.Appendf(nil, "<m n='%d'/>", n), entry{again: true, taken: func() {
					require.True(t, confirmed[n])
					taken = append(taken, n)
				}}, 0)
			case 3:
				require.NoError(t, flush(1<<20))
			case 4:
				if len(pings) > 0 {
					pings[0]()
					pings = pings[1:]
				}
			case 5:
				if r.IntN(5) == 0 {
					_ = flush(r.IntN(100)) // may break
					o.requeue(false)
					pings = nil
				}
			}
		}
		for !o.empty() {
			require.NoError(t, flush(1<<20))
			for ; len(pings) > 0; pings = pings[1:] {
				pings[0]()
			}
		}
		require.Len(t, taken, put)
		next := 0 // what the host sees for the first time, it sees in order
		for _, n := range order {
			require.LessOrEqual(t, n, next)
			next = max(next, n+1)
		}
		require.True(t, slices.IsSorted(taken))
	}
}

// A stanza that makes the host close the connection is found, and costs no other.
func TestOutboxSuspect(t *testing.T) {
	for _, cut := range []bool{false, true} { // the host may see the end of it or not
		o := newOutbox(1<<20, testPing)
		taken := 0
		for i := range 10 {
			o.put(context.Background(), fmt.Appendf(nil, "<m n='%d'/>", i), entry{again: true, taken: func() { taken++ }}, 0)
		}
		got, breaks, found := "", 0, 0
		for !o.empty() {
			w := &breakingWriter{left: 1 << 20}
			if cut && breaks == 1 && strings.Contains(got, "n='4'") {
				w.left = 9
			}
			err := o.flush(w, false)
			if at := strings.Index(string(w.got), "n='5'"); at >= 0 {
				got += string(w.got[:at-3])
				if o.requeue(true) {
					found++
				}
				if breaks++; breaks == 1 {
					got = "" // all of it is written again
				}
				continue
			}
			require.NoError(t, err)
			got += string(w.got)
			o.confirm(pingIn(w.got))
		}
		assert.Equal(t, 2, breaks)
		assert.Equal(t, 1, found)
		assert.Equal(t, 10, taken)
		for i := range 10 {
			assert.Equal(t, i != 5, strings.Contains(got, fmt.Sprintf("<m n='%d'/>", i)), i)
		}
	}
}

// Behind every write is a ping, and behind every few stanzas that somebody waits for; but
// when there were too many, there is one behind the last write.
func TestOutboxPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(1<<20, testPing)
		taken := 0
		flush := func() string {
			w := &breakingWriter{left: 1 << 20}
			require.NoError(t, o.flush(w, false))
			return string(w.got)
		}
		put := func(n int) {
			for range n {
				o.put(context.Background(), []byte("<m/>"), entry{again: true, taken: func() { taken++ }}, 0)
			}
		}
		put(1)
		first := pingIn([]byte(flush()))
		put(1)
		second := pingIn([]byte(flush()))
		require.NotEmpty(t, second, "also while another is under way")
		o.confirm(second)
		assert.Equal(t, 2, taken, "the host answers in order")
		o.confirm(first)
		assert.Equal(t, 2, taken)

		put(2*pingEvery + 1)
		got := flush()
		parts := strings.Split(got, "<p ")
		require.Len(t, parts, 4)
		assert.Equal(t, pingEvery, strings.Count(parts[0], "<m/>"))
		assert.Equal(t, pingEvery, strings.Count(parts[1], "<m/>"))
		o.confirm(pingIn([]byte("<p " + parts[1])))
		assert.Equal(t, 2+pingEvery, taken, "what comes behind it is in doubt")
		o.confirm(pingIn([]byte(got)))
		assert.True(t, o.empty())

		for o.pings.Tokens() >= 1 {
			put(1)
			require.Contains(t, flush(), "<p ")
		}
		put(1)
		assert.Equal(t, "<m/>", flush())
		for len(o.wake) > 0 {
			<-o.wake
		}
		began := time.Now()
		<-o.wake
		assert.Equal(t, time.Second/pingRate, time.Since(began))
		last := flush()
		assert.NotContains(t, last, "<m/>")
		o.confirm(pingIn([]byte(last)))
		assert.True(t, o.empty())

		for range 3 * pingBurst {
			put(pingEvery)
			require.Contains(t, flush(), "<p ", "never are more in doubt")
		}
		time.Sleep(time.Second / 2)
		put(1)
		assert.Contains(t, flush(), "<p ", "and others do not wait long for that")
	})
}

// What nobody waits for costs one ping, however much it is.
func TestOutboxCopies(t *testing.T) {
	o := newOutbox(1<<20, testPing)
	for range 1000 {
		o.put(context.Background(), []byte("<m/>"), entry{again: true}, 0)
	}
	w := &breakingWriter{left: 1 << 20}
	require.NoError(t, o.flush(w, false))
	assert.Equal(t, 1, strings.Count(string(w.got), "<p "))
	o.confirm(pingIn(w.got))
	assert.True(t, o.empty())
}

// A write waits a moment for more, if one was just before and not much is there.
func TestOutboxEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(1<<20, nil)
		put := func() { o.put(context.Background(), []byte("<m/>"), entry{}, 0) }
		put()
		assert.LessOrEqual(t, o.early(3*time.Millisecond, 100), time.Duration(0), "the first one")
		require.NoError(t, o.flush(io.Discard, false))
		put()
		assert.Equal(t, 3*time.Millisecond, o.early(3*time.Millisecond, 100))
		time.Sleep(time.Millisecond)
		assert.Equal(t, 2*time.Millisecond, o.early(3*time.Millisecond, 100))
		for range 24 {
			put()
		}
		assert.Zero(t, o.early(3*time.Millisecond, 100), "much is there")
		time.Sleep(2 * time.Millisecond)
		assert.Zero(t, o.early(3*time.Millisecond, 1000), "the time has come")
	})
}
