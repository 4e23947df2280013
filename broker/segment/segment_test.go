package segment

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// makeBatch builds a batch of n records of about size bytes, times rising by 1 ms from ts.
func makeBatch(t tester, c batch.Codec, base int64, n int, ts int64, size int) []byte {
	t.Helper()
	b := batch.NewBuilder(c)
	rng := rand.New(rand.NewPCG(uint64(base), uint64(ts)))
	for i := range n {
		value := make([]byte, size)
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		b.Append(ts+int64(i), []byte("key"), value, nil)
	}
	raw, err := b.Bytes(base, 3, -1, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// model is what a segment should hold.
type model struct {
	base    int64
	batches [][]byte
	heads   []batch.Header
}

func (m *model) next() int64 {
	if n := len(m.heads); n > 0 {
		return m.heads[n-1].LastOffset() + 1
	}
	return m.base
}

func (m *model) add(raw []byte) {
	h, err := batch.Check(raw)
	if err != nil {
		panic(err)
	}
	m.batches, m.heads = append(m.batches, raw), append(m.heads, h)
}

func (m *model) bytes() []byte { return slices.Concat(m.batches...) }

// find is the index of the first batch that ends with offset or later.
func (m *model) find(offset int64) (i int, pos int64) {
	for i, h := range m.heads {
		if h.LastOffset() >= offset {
			return i, pos
		}
		pos += int64(h.Size())
	}
	return len(m.heads), pos
}

// compare checks everything that can be asked of the segment against the model.
func (m *model) compare(t *rapid.T, s *Segment) {
	next, err := s.NextOffset()
	if err != nil || next != m.next() || s.Size() != int64(len(m.bytes())) {
		t.Fatalf("next %d size %d, want %d %d, %v", next, s.Size(), m.next(), len(m.bytes()), err)
	}
	newest, at := int64(-1), m.base
	for _, h := range m.heads {
		if h.MaxTimestamp > newest {
			newest, at = h.MaxTimestamp, h.LastOffset()
		}
	}
	if ts, off, err := s.MaxTimestamp(); err != nil || ts != newest || off != at {
		t.Fatalf("max timestamp %d at %d, want %d at %d, %v", ts, off, newest, at, err)
	}
	for range 5 {
		offset := rapid.Int64Range(m.base-1, m.next()+1).Draw(t, "offset")
		i, want := m.find(offset)
		if pos, err := s.FindOffset(offset); err != nil || pos != want {
			t.Fatalf("find %d: %d, want %d, %v", offset, pos, want, err)
		}
		limit, one := rapid.IntRange(0, 9000).Draw(t, "max"), rapid.Bool().Draw(t, "one")
		upTo := rapid.Int64Range(m.base, m.next()+1).Draw(t, "upTo")
		var expect []byte
		for _, raw := range m.batches[i:] {
			h, _ := batch.Parse(raw)
			if h.LastOffset() >= upTo || len(expect)+len(raw) > limit && (len(expect) > 0 || !one) {
				break
			}
			expect = append(expect, raw...)
		}
		if got, err := s.Read(offset, limit, one, upTo, false, nil); err != nil || !bytes.Equal(got, expect) {
			t.Fatalf("read %d max %d one %v up to %d: %d bytes, want %d, %v", offset, limit, one, upTo, len(got), len(expect), err)
		}
		m.compareTime(t, s, newest)
	}
}

// forTime is what OffsetForTime should find.
func (m *model) forTime(ms, from int64) (want Found, found bool) {
	for _, raw := range m.batches {
		_ = batch.Records(raw, 1<<20, func(r batch.Record) error {
			if !found && r.Timestamp >= ms && r.Offset >= from {
				want, found = Found{r.Offset, r.Timestamp, 3}, true
			}
			return nil
		})
	}
	return want, found
}

func (m *model) compareTime(t *rapid.T, s *Segment, newest int64) {
	ms, from := rapid.Int64Range(0, newest+2).Draw(t, "ms"), rapid.Int64Range(m.base, m.next()).Draw(t, "from")
	want, found := m.forTime(ms, from)
	if got, ok, err := s.OffsetForTime(ms, from); err != nil || ok != found || got != want {
		t.Fatalf("time %d from %d: %+v %v, want %+v %v, %v", ms, from, got, ok, want, found, err)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{IndexIntervalBytes: int32(rapid.SampledFrom([]int{1, 200, 4096}).Draw(t, "interval"))}
		mem := vfs.NewMem(1)
		m := &model{base: rapid.SampledFrom([]int64{0, 7, 1 << 40}).Draw(t, "base")}
		s, err := Create(mem, "", m.base, o)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				if err := s.Seal(); err != nil {
					t.Fatal(err)
				}
			case 1:
				offset := rapid.Int64Range(m.base, m.next()+1).Draw(t, "truncate")
				if err := s.Truncate(offset); err != nil {
					t.Fatal(err)
				}
				i, _ := m.find(offset)
				m.batches, m.heads = m.batches[:i:i], m.heads[:i:i]
			case 2:
				seal := rapid.Bool().Draw(t, "seal")
				if seal {
					if err := s.Seal(); err != nil {
						t.Fatal(err)
					}
				}
				size := s.Size()
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = Open(mem, "", m.base, size, o); err != nil {
					t.Fatal(err)
				}
			case 3: // the indexes rot
				k := rapid.SampledFrom([]Kind{Index, TimeIndex}).Draw(t, "rot")
				junk := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "junk")
				size := s.Size()
				if err := errors.Join(s.Close(), mem.SetBytes(k.Name(m.base), junk)); err != nil {
					t.Fatal(err)
				}
				if s, err = Open(mem, "", m.base, size, o); err != nil {
					t.Fatal(err)
				}
			default:
				var chunk []byte
				for range rapid.IntRange(1, 6).Draw(t, "batches") {
					n := rapid.IntRange(1, 4).Draw(t, "n")
					gap := rapid.Int64Range(0, 2).Draw(t, "gap")
					raw := makeBatch(t, rapid.SampledFrom([]batch.Codec{batch.None, batch.LZ4}).Draw(t, "codec"), m.next()+gap, n,
						rapid.Int64Range(0, 300).Draw(t, "ts"), rapid.IntRange(0, 900).Draw(t, "size"))
					chunk = append(chunk, raw...)
					m.add(raw)
				}
				if err := s.Append(chunk); err != nil {
					t.Fatal(err)
				}
			}
			m.compare(t, s)
		}
		m.finish(t, mem, s, o)
	})
}

// finish seals and checks that the files are exactly what the batches imply, unless a rotten but plausible index says otherwise.
func (m *model) finish(t *rapid.T, mem *vfs.Mem, s *Segment, o Options) {
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	if got, err := mem.Bytes(Log.Name(m.base)); err != nil || !bytes.Equal(got, m.bytes()) {
		t.Fatalf("log: %d bytes, %v", len(got), err)
	}
	r, err := RebuildIndexes(mem, "", m.base, -1, o.IndexIntervalBytes, false)
	if err != nil || !r.SameIndex || !r.SameTimeIdx {
		t.Fatalf("indexes differ from the batches: %+v, %v", r, err)
	}
	if _, err := Verify(mem, "", m.base, VerifyOptions{Size: -1, Deep: true, Exact: true, IndexIntervalBytes: o.IndexIntervalBytes},
		func(f Finding) { t.Fatalf("finding %+v", f) }); err != nil {
		t.Fatal(err)
	}
}

// tester is what *testing.T and *rapid.T share.
type tester interface {
	Helper()
	Fatal(args ...any)
}

func TestAppendRefusesDisorder(t *testing.T) {
	s, err := Create(vfs.NewMem(1), "", 100, Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := makeBatch(t, batch.None, 100, 3, 5, 10)
	for name, chunk := range map[string][]byte{
		"below base": makeBatch(t, batch.None, 99, 1, 5, 10), "too far": makeBatch(t, batch.None, 101+math.MaxInt32, 1, 5, 10),
		"overlap": slices.Concat(good, makeBatch(t, batch.None, 102, 1, 5, 10)), "cut": good[:len(good)-1],
	} {
		if err := s.Append(chunk); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if s.Size() != 0 {
		t.Errorf("size %d after refused appends", s.Size())
	}
	if err := s.Append(good); err != nil {
		t.Error(err)
	}
	if _, err := Create(s.fs, "", 100, Options{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: %v", err)
	}
	if _, err := Open(s.fs, "", 100, s.Size()+1, Options{}); err == nil {
		t.Error("opened with more bytes than the file has")
	}
	if _, err := Open(s.fs, "", 101, -1, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of a missing segment: %v", err)
	}
}

// TestAdopt keeps bytes that a crash left and finds the first that differs.
func TestAdopt(t *testing.T) {
	mem := vfs.NewMem(1)
	s, err := Create(mem, "", 0, Options{IndexIntervalBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for i := range 20 {
		all = append(all, makeBatch(t, batch.None, int64(i), 1, int64(i), 80))
	}
	if err := s.Append(slices.Concat(all...)); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	whole := map[Kind][]byte{}
	for _, k := range []Kind{Log, Index, TimeIndex} {
		whole[k] = content(t, mem, k.Name(0))
	}
	size := int64(len(all[0]))
	if s, err = Open(mem, "", 0, 3*size, s.o); err != nil { // the checkpoint knew of three
		t.Fatal(err)
	}
	for _, raw := range all[3:10] {
		if same, n, err := s.Adopt(raw); err != nil || !same || n != size {
			t.Fatal(same, n, err)
		}
	}
	other := makeBatch(t, batch.None, 10, 1, 10, 81)
	if same, n, err := s.Adopt(other); err != nil || same || n >= size {
		t.Fatal(same, n, err)
	}
	if have, err := s.FileSize(); err != nil || have != 20*size {
		t.Fatal(have, err)
	}
	if err := s.Cut(); err != nil {
		t.Fatal(err)
	}
	if same, n, err := s.Adopt(all[10]); err != nil || same || n != 0 {
		t.Fatal(same, n, err)
	}
	if err := s.Append(slices.Concat(all[10:]...)); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	for k, want := range whole {
		if got := content(t, mem, k.Name(0)); !bytes.Equal(got, want) {
			t.Errorf("%s differs", k.Name(0))
		}
	}
}

// TestFailedAppendChangesNothing fails each write of an append in turn, then repeats it.
func TestFailedAppendChangesNothing(t *testing.T) {
	for fail := range 3 {
		mem := vfs.NewMem(1)
		s, err := Create(mem, "", 0, Options{IndexIntervalBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		first := makeBatch(t, batch.None, 0, 1, 1, 50)
		if err := s.Append(first); err != nil {
			t.Fatal(err)
		}
		files := []*vfs.File{&s.log, &s.index, &s.times}
		real := *files[fail]
		*files[fail] = full{real}
		more := slices.Concat(makeBatch(t, batch.None, 1, 1, 2, 50), makeBatch(t, batch.None, 2, 1, 3, 50))
		if err := s.Append(more); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("file %d: %v", fail, err)
		}
		if n, err := s.NextOffset(); err != nil || n != 1 || s.Size() != int64(len(first)) {
			t.Errorf("file %d: next %d size %d after a failed append", fail, n, s.Size())
		}
		*files[fail] = real
		if err := s.Append(more); err != nil {
			t.Fatal(err)
		}
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
		r, err := RebuildIndexes(mem, "", 0, -1, 1, false)
		if err != nil || !r.SameIndex || !r.SameTimeIdx {
			t.Errorf("file %d: %+v, %v", fail, r, err)
		}
	}
}

// full is a file on a full disk.
type full struct{ vfs.File }

func (full) WriteAt([]byte, int64) (int, error) { return 0, syscall.ENOSPC }

// TestReadersBesideAppender is for the race detector.
func TestReadersBesideAppender(t *testing.T) {
	s, err := Create(vfs.NewMem(1), "", 0, Options{IndexIntervalBytes: 200})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for next := int64(0); next < 200; {
				b, err := s.Read(next, 600, true, math.MaxInt64, true, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if err := batch.Each(b, func(h batch.Header, _ []byte) error {
					if h.BaseOffset != next {
						t.Errorf("offset %d where %d is next", h.BaseOffset, next)
					}
					next = h.LastOffset() + 1
					return nil
				}); err != nil {
					t.Error(err)
				}
				if _, _, err := s.OffsetForTime(next, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 200 {
		if err := s.Append(makeBatch(t, batch.None, int64(i), 1, int64(i), 100)); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func TestFull(t *testing.T) {
	s, err := Create(vfs.NewMem(1), "", 0, Options{IndexIntervalBytes: 1, IndexBytes: 50}) // 6 entries, 4 time entries
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		if err := s.Append(makeBatch(t, batch.None, int64(i), 1, int64(i), 10)); err != nil {
			t.Fatal(err)
		}
		full, err := s.Full()
		if err != nil || full != (i >= 3) { // the first batch has no entry
			t.Errorf("after %d batches full is %v, %v", i+1, full, err)
		}
	}
}
