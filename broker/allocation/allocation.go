// Package allocation says in tests what a decoder may take: at most 16 times its input, so that no length that a damaged or hostile input names is
// believed before the bytes are there.
//
// API: Bounded, for every fuzz target of a decoder.
package allocation

import (
	"runtime"
	"testing"
)

// Factor is what each byte of input may cost in bytes of heap, all allocations of a call together.
const Factor = 16

// Bounded fails the test if fn, which decodes n bytes, allocates more than Factor times n bytes and slack: what buffers of a fixed size take, and
// what other goroutines of the test allocate meanwhile.
func Bounded(t testing.TB, n, slack int, fn func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(Factor*n+slack) {
		t.Errorf("%d bytes allocated for %d bytes of input", took, n)
	}
}
