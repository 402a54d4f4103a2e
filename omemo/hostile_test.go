package omemo

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/allium-xmpp/allium/component"
)

// However big an element is, refusing it takes little memory.
func TestMemory(t *testing.T) {
	for name, f := range formats {
		bundle := load(t, "testdata", name+"-bundle")
		preKeys(9000)(f, bundle)
		long := load(t, "testdata", name+"-bundle")
		text("ik", func(s string) string { return s + strings.Repeat("\n", 1<<20) + strings.Repeat("A", 1<<20) })(f, long)
		list := parse(t, devices(f, many(9000)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err1 := f.ParseBundle(bundle)
		_, err2 := f.ParseBundle(long)
		_, err3 := f.ParseDevices(list)
		runtime.ReadMemStats(&after)
		assert.ErrorContains(t, err1, "more than", name)
		assert.ErrorContains(t, err2, "more than", name)
		assert.ErrorContains(t, err3, "more than", name)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(128<<10), name)
	}
}

// FuzzBundle: what is taken is written as a bundle that means the same.
func FuzzBundle(f *testing.F) {
	for name, format := range formats {
		e := load(f, "testdata", name+"-bundle")
		preKeys(2)(format, e) // a short one is tried more often
		f.Add(e.String())
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, format := range formats {
			b, err := format.ParseBundle(fuzzed(in))
			if err != nil {
				requireError(t, err)
				continue
			}
			require.NoError(t, b.Verify())
			require.LessOrEqual(t, len(b.PreKeys), MaxPreKeys)
			again, err := format.ParseBundle(parse(t, b.Element().String()))
			require.NoError(t, err)
			require.Equal(t, b, again)
		}
	})
}

// FuzzDevices: what is taken is written as a device list that means the same.
func FuzzDevices(f *testing.F) {
	for name := range formats {
		f.Add(load(f, "testdata", name+"-devices").String())
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, format := range formats {
			l, err := format.ParseDevices(fuzzed(in))
			if err != nil {
				requireError(t, err)
				continue
			}
			require.LessOrEqual(t, len(l.Devices), MaxDevices)
			out := l.Element().String()
			require.NotContains(t, out, "&lt;")
			again, err := format.ParseDevices(parse(t, out))
			require.NoError(t, err)
			require.Equal(t, l, again)
			l.VerifyLabels(func(uint32) (Key, bool) { return Key{2}, true })
		}
	})
}

// fuzzed is the element in the input, nil if there is none.
func fuzzed(in string) *component.Element {
	e, _ := component.NewContentDecoder(strings.NewReader(in), component.NSClient, component.Limits{}).Next()
	return e
}

func requireError(t *testing.T, err error) {
	t.Helper()
	var bad *Error
	require.ErrorAs(t, err, &bad)
	require.NotEmpty(t, bad.Fault)
}

// The time and memory to read and verify a bundle of 100 one-time pre-keys: from XML, and
// from the element that the Decoder made.
func BenchmarkBundle(b *testing.B) {
	for _, f := range []*Format{Legacy, OMEMO2} {
		e := newBundle(b, f, newSigner(b, f), 100).Element()
		xml := e.String()
		b.Run(f.String()+"/element", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.ParseBundle(e); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(f.String()+"/XML", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(xml)))
			for b.Loop() {
				if _, err := f.ParseBundle(fuzzed(xml)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
