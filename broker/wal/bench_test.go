package wal

import (
	"fmt"
	"sync"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

// BenchmarkCommit appends from many producers, each waiting for its record, on the host's disk: recycled segments once they are there.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, producers := range []int{1, 64} {
			for _, buffered := range []bool{false, true} {
				b.Run(fmt.Sprintf("%dKiB/%d/%s", size>>10, producers, ioName(buffered)), func(b *testing.B) {
					benchCommit(b, size, producers, buffered)
				})
			}
		}
	}
}

func ioName(buffered bool) string {
	if buffered {
		return "buffered"
	}
	return "direct"
}

func benchCommit(b *testing.B, size, producers int, buffered bool) {
	l, err := Create(Options{FS: vfs.OS, Dir: b.TempDir() + "/wal", Kind: Journal, Buffered: buffered})
	must(b, err)
	waitSpare(l)
	b.SetBytes(int64(size))
	b.ResetTimer()
	var wg sync.WaitGroup
	for p := range producers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			frames := []Frame{{Type: Batch, ID: [16]byte{1}, Partition: int32(p), Payload: make([]byte, size)}}
			done := make(chan error, 1)
			answer := func(err error) { done <- err }
			for i := p; i < b.N; i += producers {
				lsn := l.Append(frames, answer)
				if err := <-done; err != nil {
					b.Error(err)
					return
				}
				if i%20000 == 0 && lsn > 5000 {
					if err := l.FreeBelow(lsn - 5000); err != nil {
						b.Error(err)
					}
				}
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	s := l.Stats()
	b.ReportMetric(float64(s.Frames)/float64(s.Groups), "frames/sync")
	b.ReportMetric(float64(s.Sync.Nanos)/float64(s.Syncs)/1e3, "µs/sync")
	must(b, l.Close())
}

// BenchmarkEncode makes a group of 64 KiB in memory: the cost of tables, checks and copies that a commit adds to its write.
func BenchmarkEncode(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			frames := make([]Frame, 64<<10/size)
			for i := range frames {
				frames[i] = testFrame(int32(i), int64(i), size)
			}
			e := encoder{keep: 1 << 20}
			b.SetBytes(64 << 10)
			b.ReportAllocs()
			for b.Loop() {
				h := Head{Generation: 5, FirstLSN: 1}
				e.data(&h, frames, nil)
			}
		})
	}
}

// BenchmarkSectors checks 64 KiB of sectors: the part of a commit that the stamps cost.
func BenchmarkSectors(b *testing.B) {
	buf := make([]byte, 16*BlockSize)
	payload := make([]byte, 16*blockPayload)
	b.Run("copy", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		for b.Loop() {
			copy(buf, payload)
		}
	})
	b.Run("copy and check", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		for b.Loop() {
			p := packer{buf: buf, generation: 9}
			p.write(payload)
		}
	})
}

// BenchmarkInspect reads a journal of 64 MiB from the page cache.
func BenchmarkInspect(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			o := Options{FS: vfs.OS, Dir: b.TempDir() + "/wal", Kind: Journal, Buffered: true, Spares: -1}
			l, err := Create(o)
			must(b, err)
			frames := []Frame{testFrame(1, 1, size)}
			var wg sync.WaitGroup
			for range 64 << 20 / size {
				wg.Add(1)
				l.Append(frames, func(error) { wg.Done() })
			}
			wg.Wait()
			must(b, l.Close())
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				inv, err := Inspect(inspectOptions(o), nil)
				must(b, err)
				wantClean(b, inv)
				b.SetBytes(inv.Bytes)
			}
		})
	}
}
