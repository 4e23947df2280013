package segment

import (
	"math"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// bigSegment makes a sealed segment of about 64 MiB of batches of about 16 KiB on the host's disk.
func bigSegment(b *testing.B) (dir string, s *Segment, size int) {
	b.Helper()
	dir = b.TempDir()
	s, err := Create(vfs.OS, dir, 0, Options{})
	if err != nil {
		b.Fatal(err)
	}
	raw := makeBatch(b, batch.None, 0, 16, 1000, 1000)
	var chunk []byte
	for next := int64(0); s.Size() < 64<<20; next += 16 {
		batch.SetBaseOffset(raw, next)
		if chunk = append(chunk, raw...); len(chunk) >= 256<<10 {
			if err := s.Append(chunk); err != nil {
				b.Fatal(err)
			}
			chunk = chunk[:0]
		}
	}
	if err := s.Seal(); err != nil {
		b.Fatal(err)
	}
	return dir, s, len(raw)
}

func BenchmarkVerify(b *testing.B) {
	dir, s, _ := bigSegment(b)
	for name, deep := range map[string]bool{"default": false, "deep": true} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(s.Size())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(vfs.OS, dir, 0, VerifyOptions{Size: -1, Deep: deep, Exact: true}, func(f Finding) { b.Fatal(f) }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	_, s, size := bigSegment(b)
	next, err := s.NextOffset()
	if err != nil {
		b.Fatal(err)
	}
	for name, jump := range map[string]int64{"onward": 0, "random": 7919} {
		b.Run(name, func(b *testing.B) {
			offset := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				got, err := s.Read(offset, 64<<10, true, math.MaxInt64, true, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(got)))
				if offset += jump; jump == 0 {
					offset += int64(len(got)/size) * 16
				}
				if offset >= next-64 {
					offset = 0
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	s, err := Create(vfs.NewMem(1), "", 0, Options{})
	if err != nil {
		b.Fatal(err)
	}
	s.log, s.index, s.times = nowhere{s.log}, nowhere{s.index}, nowhere{s.times}
	raw := makeBatch(b, batch.None, 0, 16, 1000, 1000)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	next := int64(0)
	for b.Loop() {
		if next > math.MaxInt32-32 {
			b.Fatal("too many")
		}
		batch.SetBaseOffset(raw, next)
		if err := s.Append(raw); err != nil {
			b.Fatal(err)
		}
		next += 16
	}
}

// nowhere is a file that drops what is written.
type nowhere struct{ vfs.File }

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// BenchmarkFirstTime is the first lookup by time of a segment that an earlier life wrote: a walk over all its batch headers.
func BenchmarkFirstTime(b *testing.B) {
	dir, sealed, _ := bigSegment(b)
	b.SetBytes(sealed.Size())
	for b.Loop() {
		s, err := Open(vfs.OS, dir, 0, -1, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := s.MaxTimestamp(); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
