package segment

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// slackBytes are what the test itself and buffers of a fixed size may allocate, whatever the input.
const slackBytes = 1 << 20

// bounded fails if fn takes more than 16 times n bytes of heap.
func bounded(t *testing.T, n int, fn func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(16*n+slackBytes) {
		t.Fatalf("%d bytes allocated for %d bytes of input", took, n)
	}
}

// addFiles seeds a target with Kafka's files of some kinds.
func addFiles(f *testing.F, kinds ...Kind) {
	f.Add([]byte{})
	for _, dir := range kafkaDirs(f) {
		files, err := os.ReadDir(dir)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			for _, k := range kinds {
				if got, _, ok := ParseName(file.Name()); ok && got == k {
					b, err := os.ReadFile(filepath.Join(dir, file.Name()))
					if err != nil {
						f.Fatal(err)
					}
					f.Add(b[:min(len(b), 20_000)])
				}
			}
		}
	}
}

// FuzzSmallFiles: every decoder of a small file gives an *Error, or what encodes to the same bytes.
func FuzzSmallFiles(f *testing.F) {
	addFiles(f, Snapshot, TxnIndex, EpochFile, MetaFile)
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(got []byte, err error) {
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("%v is no *Error", err)
			}
			if err == nil && !bytes.Equal(got, b) {
				t.Fatalf("%x becomes %x", b, got)
			}
		}
		bounded(t, len(b), func() {
			entries, err := DecodeSnapshot(b)
			check(EncodeSnapshot(entries), err)
			txns, err := DecodeAbortedTxns(b)
			check(EncodeAbortedTxns(txns), err)
			epochs, err := DecodeEpochs(b)
			check(EncodeEpochs(epochs), err)
			id, err := DecodeMetadata(bytes.TrimSuffix(b, []byte{'\n'}))
			if err == nil {
				check(append(EncodeMetadata(id), b[len(bytes.TrimSuffix(b, []byte{'\n'})):]...), nil)
			}
		})
	})
}

// FuzzSums: the tolerant reader accounts for every byte, and what it read encodes to itself.
func FuzzSums(f *testing.F) {
	f.Add(EncodeSums([]Sum{{Log, 0, 0, 100, 7}, {Log, 0, 100, 200, 8}, {EpochFile, 0, 0, 9, 9}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() {
			sums, end, faults := DecodeSums(b)
			if len(sums)+len(faults) != (len(b)+SumSize-1)/SumSize || end > int64(len(b)) {
				t.Fatalf("%d entries, %d faults, end %d of %d bytes", len(sums), len(faults), end, len(b))
			}
			again, _, faults := DecodeSums(EncodeSums(sums))
			if len(again) != len(sums) || len(faults) > 0 {
				t.Fatal(faults)
			}
			_ = Live(sums, func(Kind, int64) int64 { return math.MaxInt64 })
		})
	})
}

// FuzzIndexes: whatever the index files hold, every record of the log is found, and a sealed segment has the right indexes again.
func FuzzIndexes(f *testing.F) {
	m := &model{base: 10}
	for i := range 30 {
		m.add(makeBatch(f, batch.None, m.next(), 1+i%3, int64(1000+i*7%50), 60))
	}
	log := m.bytes()
	o := Options{IndexIntervalBytes: 200}
	good := vfs.NewMem(1)
	if err := vfs.WriteFile(good, Log.Name(10), log); err != nil {
		f.Fatal(err)
	}
	r, err := RebuildIndexes(good, "", 10, -1, 200, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Index, r.TimeIndex)
	f.Add([]byte{}, r.TimeIndex)
	f.Add(r.Index, []byte{})
	f.Add(append(bytes.Clone(r.Index), make([]byte, 80)...), append(bytes.Clone(r.TimeIndex), make([]byte, 120)...))
	f.Fuzz(func(t *testing.T, index, times []byte) {
		mem := vfs.NewMem(1)
		for k, b := range map[Kind][]byte{Log: log, Index: index, TimeIndex: times} {
			if err := vfs.WriteFile(mem, k.Name(10), b); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Verify(mem, "", 10, VerifyOptions{Size: -1}, func(f Finding) {
			if f.File == Log.Name(10) {
				t.Fatalf("the log is blamed: %+v", f)
			}
		}); err != nil {
			t.Fatal(err)
		}
		s, err := Open(mem, "", 10, -1, o)
		if err != nil {
			t.Fatal(err)
		}
		for offset := m.base; offset <= m.next(); offset++ {
			_, want := m.find(offset)
			if got, err := s.FindOffset(offset); err != nil || got != want {
				t.Fatalf("offset %d at %d, want %d, %v", offset, got, want, err)
			}
		}
		for ms := int64(998); ms < 1054; ms++ {
			want, found := m.forTime(ms, m.base)
			if got, ok, err := s.OffsetForTime(ms, m.base); err != nil || ok != found || got != want {
				t.Fatalf("time %d at %+v, want %+v, %v", ms, got, want, err)
			}
		}
	})
}

// FuzzLog: Verify ends on any .log file, reports inside the file only, and every byte is either in a good batch or in a finding.
func FuzzLog(f *testing.F) {
	addFiles(f, Log)
	f.Fuzz(func(t *testing.T, b []byte) {
		mem := vfs.NewMem(1)
		for k, b := range map[Kind][]byte{Log: b, Index: nil, TimeIndex: nil} {
			if err := vfs.WriteFile(mem, k.Name(0), b); err != nil {
				t.Fatal(err)
			}
		}
		var good, bad int64
		sum, err := Verify(mem, "", 0, VerifyOptions{Size: -1, Batch: func(_ int64, _ batch.Header, raw []byte) error {
			good += int64(len(raw))
			return nil
		}}, func(f Finding) {
			if f.File == Log.Name(0) {
				bad += f.Length
			}
			if f.Offset < 0 || f.Length < 0 || f.Offset+f.Length > int64(len(b)) && f.File == Log.Name(0) {
				t.Fatalf("finding %+v in %d bytes", f, len(b))
			}
		})
		if err != nil || good+bad != int64(len(b)) || sum.Bytes != good {
			t.Fatalf("%d good and %d bad of %d bytes, %v", good, bad, len(b), err)
		}
	})
}
