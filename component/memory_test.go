package component

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A message takes few allocations: each element and its attributes, and its text.
func TestAllocations(t *testing.T) {
	const runs, tries, most = 1000, 50, 14
	least := math.Inf(1)
	// What tests before have left running may allocate too, and two names may have one place
	// in the table of a Decoder.
	for i := 0; i < tries && least > most; i++ {
		d := NewContentDecoder(strings.NewReader(strings.Repeat(message500, runs+1)), NSAccept, Limits{})
		least = min(least, testing.AllocsPerRun(runs, func() {
			_, err := d.Next()
			require.NoError(t, err)
		}))
	}
	assert.LessOrEqual(t, least, float64(most))
}

// What is kept of an element keeps nothing else of it, and nothing of the Decoder.
func TestKeptStrings(t *testing.T) {
	const n = 200
	in := strings.Repeat("<message id='1234567890'><body>"+strings.Repeat("x", 100<<10)+"</body></message>", n)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	d := NewContentDecoder(strings.NewReader(in), NSAccept, Limits{})
	before := heap()
	var ids []string
	for range n {
		e, err := d.Next()
		require.NoError(t, err)
		ids = append(ids, e.AttrValue("id"))
	}
	assert.Less(t, heap(), before+(4<<20))
	runtime.KeepAlive(ids)
	runtime.KeepAlive(in)
}

// A Decoder is small again after a large element, be it taken or not.
func TestTrim(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	attrs := " to='" + long[:1000] + "'"
	for i := range 200 {
		attrs += fmt.Sprintf(" a%d='%s'", i, long[:i])
	}
	for _, in := range []string{
		"<a b='" + long + "'>" + long + "</a>",
		"<a>" + strings.Repeat("<b/>", 5000) + "</a>",
		"<a>" + strings.Repeat("<b/>", 15000) + "</a>",
		"<a>" + strings.Repeat("<b"+attrs+"/>", 3) + "</a>",
		"<a><b" + attrs + "/><c/></a>",
		"<a><b/><b/><b/><b" + attrs + "/><c/></a>",
		"<a><b/><b/><c></d>",
		"<" + long + "/>",
		"<a xmlns='" + long + "'/>",
	} {
		d := NewContentDecoder(strings.NewReader(in), NSAccept, Limits{})
		d.Next()
		assert.LessOrEqual(t, cap(d.s.text), keepBytes)
		assert.LessOrEqual(t, cap(d.s.split), keepBytes)
		assert.LessOrEqual(t, cap(d.nodes), keepItems)
		assert.LessOrEqual(t, cap(d.s.tag.attrs), keepItems)
		for _, n := range d.nodes[:cap(d.nodes)] {
			assert.Zero(t, n)
		}
		for _, a := range d.s.tag.attrs[:cap(d.s.tag.attrs)] {
			assert.Zero(t, a)
		}
		for _, n := range d.s.names.names {
			assert.LessOrEqual(t, len(n.raw), maxRemembered)
		}
		for _, s := range d.s.names.spaces {
			assert.LessOrEqual(t, len(s), maxRemembered)
		}
	}
}
