package walinspect

import (
	"math"
	"math/bits"
	"slices"
)

// distinct counts different keys in memory of a fixed size: exactly up to maxExact, else as HyperLogLog does (Flajolet et al., 2007) with a
// standard error of 1.04/√2048 = 2.3 %.
type distinct struct {
	exact     []uint64 // sorted hashes; not used once there are registers
	registers []uint8  // nil, or 1<<registerBits
}

const (
	registerBits = 11
	maxExact     = 128
)

// add takes a key.
func (d *distinct) add(key []byte) {
	h := hashKey(key)
	if d.registers != nil {
		d.register(h)
		return
	}
	i, there := slices.BinarySearch(d.exact, h)
	switch {
	case there:
	case len(d.exact) < maxExact:
		d.exact = slices.Insert(d.exact, i, h)
	default:
		d.registers = make([]uint8, 1<<registerBits)
		for _, e := range d.exact {
			d.register(e)
		}
		d.exact = nil
		d.register(h)
	}
}

func (d *distinct) register(h uint64) {
	r := &d.registers[h>>(64-registerBits)]
	*r = max(*r, uint8(1+bits.LeadingZeros64(h<<registerBits|1<<(registerBits-1))))
}

// count returns the number of different keys; estimated says that it is not exact.
func (d *distinct) count() (n int64, estimated bool) {
	if d.registers == nil {
		return int64(len(d.exact)), false
	}
	const m = 1 << registerBits
	sum, zeros := 0.0, 0
	for _, r := range d.registers {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zeros++
		}
	}
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && zeros > 0 {
		e = m * math.Log(float64(m)/float64(zeros)) // linear counting
	}
	return int64(math.Round(e)), true
}

// hashKey is FNV-1a of 64 bits with the finalizer of MurmurHash3, which spreads it over the high bits.
func hashKey(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
