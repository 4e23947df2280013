package kafka

import (
	"math/bits"
	"sync"
)

// Frames up to maxPooled are read into recycled buffers; a buffer is of the next power of two.
const (
	minPooledBits = 10
	maxPooledBits = 20
	maxPooled     = 1 << maxPooledBits
)

var framePools [maxPooledBits - minPooledBits + 1]sync.Pool

func poolClass(n int) int { return max(bits.Len(uint(max(n, 1)-1))-minPooledBits, 0) }

// getFrame returns a buffer of n bytes, at most maxPooled.
func getFrame(n int) *[]byte {
	class := poolClass(n)
	if b, ok := framePools[class].Get().(*[]byte); ok {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, 1<<(class+minPooledBits))
	return &b
}

// putFrame recycles a buffer of getFrame; others are left to the collector.
func putFrame(b *[]byte) {
	if c := cap(*b); c <= maxPooled && c >= 1<<minPooledBits && c&(c-1) == 0 {
		framePools[poolClass(c)].Put(b)
	}
}
