package walinspect

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"chronik.dev/chronik/broker/segment"
)

// TestFlippedFindsEveryBit flips every bit of messages, and of their CRC, and two bits, which is never taken for one.
func TestFlippedFindsEveryBit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 7, 508, 1500} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		sum := crc32.Checksum(b, castagnoli)
		for i := range 8 * n {
			b[i/8] ^= 1 << (i % 8)
			at, bit, ok := flipped(n, crc32.Checksum(b, castagnoli)^sum)
			if !ok || at != i/8 || bit != i%8 {
				t.Fatalf("%d bytes, bit %d: %d %d %v", n, i, at, bit, ok)
			}
			if j := rng.IntN(8 * n); j != i {
				b[j/8] ^= 1 << (j % 8)
				if _, _, ok := flipped(n, crc32.Checksum(b, castagnoli)^sum); ok {
					t.Fatalf("%d bytes, bits %d and %d are taken for one", n, i, j)
				}
				b[j/8] ^= 1 << (j % 8)
			}
			b[i/8] ^= 1 << (i % 8)
		}
		for i := range 32 {
			if at, bit, ok := flipped(n, 1<<i); !ok || at != n+i/8 || bit != i%8 {
				t.Fatalf("%d bytes, bit %d of the CRC: %d %d %v", n, i, at, bit, ok)
			}
		}
	}
}

// TestBitflipInABatch: verify names the byte in the file, in the covered part and in the stored CRC.
func TestBitflipInABatch(t *testing.T) {
	for _, at := range []int64{18, 20, 40, 80} {
		fs := kafkaFixture(t, 18, true)
		must(t, fs.Flip("/kafka/orders-0/"+segment.Log.Name(0), at, 0x20))
		target, err := Open(Options{FS: fs, Path: "/kafka"})
		must(t, err)
		target.Bitflip = true
		var got *Bit
		_, err = target.Verify(Default, func(f *Finding) error {
			if f.Bitflip != nil {
				got = f.Bitflip
			}
			return nil
		})
		must(t, err)
		if got == nil || got.Byte != at || got.Bit != 5 || got.Was != got.Read^0x20 {
			t.Errorf("byte %d: %v", at, got)
		}
	}
}
