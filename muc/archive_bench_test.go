package muc

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cpuTime is what the process has used, the kernel's work for it included.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkArchive is what one message in the archive costs, as many as can be under way:
// in one room, and in many.
func BenchmarkArchive(b *testing.B) {
	for _, rooms := range []int{1, 2000} {
		b.Run(fmt.Sprintf("rooms=%d", rooms), func(b *testing.B) {
			st, err := OpenStore(filepath.Join(b.TempDir(), "rooms.sqlite"))
			require.NoError(b, err)
			defer st.Close()
			names := make([]string, rooms)
			for i := range names {
				names[i] = fmt.Sprint("room", i)
				require.NoError(b, st.do(saveRoom{Name: names[i], Config: new(KindConfig("open"))}))
			}
			xml := []byte("<message>" + strings.Repeat("x", 500) + "</message>")
			body := strings.Repeat("b", 100)
			var wg sync.WaitGroup
			var failed error
			done := func(err error) {
				if err != nil {
					failed = err
				}
				wg.Done()
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime()
			for i := range b.N {
				wg.Add(1)
				st.submit([]change{saveMessage{Room: names[i%rooms], ID: int64(i + 1), Nick: "firstwitch", JID: crone1,
					OccupantID: "0123456789abcdef0123456789abcdef", Body: body, XML: xml, Replay: replayedLate}}, done)
			}
			wg.Wait()
			used := cpuTime() - before
			b.StopTimer()
			require.NoError(b, failed)
			var n int
			require.NoError(b, st.db.QueryRow("SELECT COUNT(*) FROM message").Scan(&n))
			require.Equal(b, b.N, n)
			b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkArchivePage is what a page of 50 messages costs, from a large archive.
func BenchmarkArchivePage(b *testing.B) {
	st, err := OpenStore(filepath.Join(b.TempDir(), "rooms.sqlite"))
	require.NoError(b, err)
	defer st.Close()
	require.NoError(b, st.do(saveRoom{Name: "coven", Config: new(KindConfig("open"))}))
	const n = 20_000
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		st.submit([]change{saveMessage{Room: "coven", ID: int64(i + 1), Body: fmt.Sprint("word", i), XML: []byte("<message></message>")}}, func(error) { wg.Done() })
	}
	wg.Wait()
	for name, q := range map[string]query{
		"last":   {max: 50, backwards: true},
		"middle": {max: 50, after: n / 2, known: []int64{n / 2}},
		"search": {max: 50, words: []string{"word9999"}},
	} {
		b.Run(name, func(b *testing.B) {
			q.room, q.to, q.before = "coven", 1<<62, 1<<62
			for b.Loop() {
				p, err := st.search(&q)
				require.NoError(b, err)
				require.NotEmpty(b, p.messages)
			}
		})
	}
}
