package segment

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// filled makes a sealed segment of n batches of one record each, of equal size, with times that rise by 10 ms from 1000.
func filled(t testing.TB, n int, o Options) (*vfs.Mem, *Segment, *model) {
	t.Helper()
	mem := vfs.NewMem(1)
	s, err := Create(mem, "", 0, o)
	if err != nil {
		t.Fatal(err)
	}
	m := &model{}
	for i := range n {
		m.add(makeBatch(t, batch.None, int64(i), 1, 1000+10*int64(i), 39)) // 110 bytes
	}
	if err := errors.Join(s.Append(m.bytes()), s.Seal()); err != nil {
		t.Fatal(err)
	}
	return mem, s, m
}

// TestIntervalIsExceeded: an entry comes when more than index.interval.bytes came, not when as many.
func TestIntervalIsExceeded(t *testing.T) {
	_, s, m := filled(t, 4, Options{})
	size := int32(m.heads[0].Size())
	for interval, want := range map[int32][]int64{size - 1: {1, 2, 3}, size: {2}, 2*size - 1: {2}, 2 * size: {3}} {
		mem := vfs.NewMem(1)
		if err := vfs.WriteFile(mem, Log.Name(0), m.bytes()); err != nil {
			t.Fatal(err)
		}
		r, err := RebuildIndexes(mem, "", 0, -1, interval, true)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for b := r.Index; len(b) > 0; b = b[IndexEntrySize:] {
			got = append(got, decodeEntry(b, 0).Offset)
		}
		if !slices.Equal(got, want) {
			t.Errorf("interval %d of batches of %d: entries at %v, want %v", interval, size, got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestPlausibleRot: index entries that look right and are not cost nothing but time.
func TestPlausibleRot(t *testing.T) {
	o := Options{IndexIntervalBytes: 300}
	for name, rot := range map[string]func(index, times []byte){
		"last entry's offset": func(index, _ []byte) { index[len(index)-5]++ },
		"an entry's offset":   func(index, _ []byte) { index[3]++ },
		"an entry's position": func(index, _ []byte) { index[7]++ },
		"an entry skips a batch": func(index, _ []byte) {
			binary.BigEndian.PutUint32(index[4:], binary.BigEndian.Uint32(index[4:])+110)
		},
		"an entry's time, earlier":    func(_, times []byte) { binary.BigEndian.PutUint64(times[12:], 1031) },
		"last time entry, later":      func(_, times []byte) { times[len(times)-12+4]++ },
		"a time entry's offset, more": func(_, times []byte) { times[11]++ },
	} {
		mem, s, m := filled(t, 40, o)
		index, times := content(t, mem, Index.Name(0)), content(t, mem, TimeIndex.Name(0))
		index, times = slices.Clone(index), slices.Clone(times)
		rot(index, times)
		if err := errors.Join(s.Close(), mem.SetBytes(Index.Name(0), index), mem.SetBytes(TimeIndex.Name(0), times)); err != nil {
			t.Fatal(err)
		}
		s, err := Open(mem, "", 0, -1, o)
		if err != nil {
			t.Fatal(err)
		}
		for offset := range m.next() {
			if _, want := m.find(offset); true {
				if got, err := s.FindOffset(offset); err != nil || got != want {
					t.Errorf("%s: offset %d at %d, want %d, %v", name, offset, got, want, err)
				}
			}
			want, _ := m.forTime(1000+10*offset-5, 0)
			if got, ok, err := s.OffsetForTime(1000+10*offset-5, 0); err != nil || !ok || got != want {
				t.Errorf("%s: time of offset %d: %+v, want %+v, %v", name, offset, got, want, err)
			}
		}
		if next, err := s.NextOffset(); err != nil || next != m.next() {
			t.Errorf("%s: next %d, %v", name, next, err)
		}
		if ms, at, err := s.MaxTimestamp(); err != nil || ms != 1390 || at != 39 {
			t.Errorf("%s: newest time %d at %d, %v", name, ms, at, err)
		}
		found := 0
		if _, err := Verify(mem, "", 0, VerifyOptions{Size: -1, Exact: true, IndexIntervalBytes: 300}, func(Finding) { found++ }); err != nil || found == 0 {
			t.Errorf("%s: Verify finds nothing, %v", name, err)
		}
		if err := errors.Join(s.Append(makeBatch(t, batch.None, 40, 1, 1400, 39)), s.Seal()); err != nil {
			t.Fatal(err)
		}
		r, err := RebuildIndexes(mem, "", 0, -1, 300, false)
		if err != nil || strings.HasPrefix(name, "last") && !(r.SameIndex && r.SameTimeIdx) {
			t.Errorf("%s: not mended: %v", name, err)
		}
	}
}

// TestTrueBatchFalseClaim: a time entry of a damaged file may name a batch that is there with its true time, although an earlier batch has a later
// one. Lookups, and the newest time by which retention deletes, go by the batches.
func TestTrueBatchFalseClaim(t *testing.T) {
	o := Options{IndexIntervalBytes: 300}
	m := &model{}
	for i := range 40 {
		at := int64(1000)
		if i == 10 {
			at = 5000
		}
		m.add(makeBatch(t, batch.None, int64(i), 1, at+int64(i), 39))
	}
	mem := vfs.NewMem(1)
	if err := vfs.WriteFile(mem, Log.Name(0), m.bytes()); err != nil {
		t.Fatal(err)
	}
	r, err := RebuildIndexes(mem, "", 0, -1, o.IndexIntervalBytes, true)
	if err != nil {
		t.Fatal(err)
	}
	lie := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, 1030), 30)
	for name, times := range map[string][]byte{"alone": lie, "behind a true one": append(slices.Clone(r.TimeIndex[:TimeEntrySize]), lie...)} {
		if err := mem.SetBytes(TimeIndex.Name(0), times); err != nil {
			t.Fatal(err)
		}
		for _, asked := range []string{"newest", "time", "time after a write"} {
			s, err := Open(mem, "", 0, -1, o)
			if err != nil {
				t.Fatal(err)
			}
			switch asked {
			case "newest":
				if ms, at, err := s.MaxTimestamp(); err != nil || ms != 5010 || at != 10 {
					t.Errorf("%s: newest time %d at %d, %v", name, ms, at, err)
				}
			case "time after a write":
				if err := s.Append(makeBatch(t, batch.None, 40, 1, 1040, 39)); err != nil {
					t.Fatal(err)
				}
			}
			for _, ms := range []int64{1035, 5000} {
				want, found := m.forTime(ms, 0)
				if got, ok, err := s.OffsetForTime(ms, 0); err != nil || ok != found || got != want {
					t.Errorf("%s, %s: time %d at %+v %v, want %+v, %v", name, asked, ms, got, ok, want, err)
				}
			}
			if err := errors.Join(s.TruncateSize(int64(len(m.bytes()))), s.Close(), mem.SetBytes(Index.Name(0), r.Index), mem.SetBytes(TimeIndex.Name(0), times)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestOrderOfBatches: a batch twice, or two swapped, is seen by every reader although each CRC is right.
func TestOrderOfBatches(t *testing.T) {
	_, _, m := filled(t, 6, Options{})
	for name, order := range map[string][]int{"twice": {0, 1, 1, 2, 3, 4, 5}, "swapped": {0, 2, 1, 3, 4, 5}} {
		var log []byte
		for _, i := range order {
			log = append(log, m.batches[i]...)
		}
		mem := vfs.NewMem(1)
		for k, b := range map[Kind][]byte{Log: log, Index: nil, TimeIndex: nil} {
			if err := vfs.WriteFile(mem, k.Name(0), b); err != nil {
				t.Fatal(err)
			}
		}
		_, err := RebuildIndexes(mem, "", 0, -1, 0, false)
		var e *Error
		if !errors.As(err, &e) || e.Reason != BadOffset || e.File != Log.Name(0) || e.Offset != 220 {
			t.Errorf("%s: rebuild: %v", name, err)
		}
		var found []Finding
		if _, err := Verify(mem, "", 0, VerifyOptions{Size: -1}, func(f Finding) {
			if f.File == Log.Name(0) {
				found = append(found, f)
			}
		}); err != nil || len(found) != 1 || found[0].Reason != BadOffset || found[0].Length != 110 {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		s, err := Open(mem, "", 0, -1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.NextOffset(); !errors.As(err, &e) || e.Reason != BadOffset {
			t.Errorf("%s: NextOffset: %v", name, err)
		}
	}
}
