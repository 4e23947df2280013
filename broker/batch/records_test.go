package batch

import (
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// rawBatch lays out a batch of count records around an uncompressed body, with right length and CRC.
func rawBatch(flags int16, count, lastDelta int32, body []byte) []byte {
	raw := append(make([]byte, HeaderSize), body...)
	be := binary.BigEndian
	be.PutUint32(raw[posLength:], uint32(len(raw)-lengthOverhead))
	raw[posMagic] = 2
	be.PutUint16(raw[posAttributes:], uint16(flags))
	be.PutUint32(raw[posLastDelta:], uint32(lastDelta))
	be.PutUint32(raw[posCount:], uint32(count))
	setCRC(raw)
	return raw
}

func TestMalformedRecords(t *testing.T) {
	rec := func(delta int64) []byte { return appendRecord(nil, 0, delta, nil, []byte("v"), nil) }
	head := func(size int64, rest ...byte) []byte { return append(binary.AppendVarint(nil, size), rest...) }
	varint := func(v int64) []byte { return binary.AppendVarint(nil, v) }
	control := func(key []byte) []byte { return appendRecord(nil, 0, 0, key, make([]byte, 6), nil) }
	for name, c := range map[string]struct {
		flags            int16
		count, lastDelta int32
		body             []byte
		want             Reason
	}{
		"good":                     {0, 2, 1, slices.Concat(rec(0), rec(1)), "ok"},
		"compacted":                {0, 2, 9, slices.Concat(rec(3), rec(9)), "ok"},
		"empty":                    {0, 0, 9, nil, "ok"},
		"same offset twice":        {0, 2, 1, slices.Concat(rec(1), rec(1)), BadDelta},
		"offsets fall":             {0, 2, 1, slices.Concat(rec(1), rec(0)), BadDelta},
		"offset past the last":     {0, 1, 0, rec(1), BadDelta},
		"negative offset":          {0, 1, 0, rec(-1), BadDelta},
		"offset beyond int32":      {0, 1, 1<<31 - 1, rec(1 << 32), BadRecord},
		"fewer than counted":       {0, 2, 1, appendRecord(nil, 0, 0, nil, make([]byte, 20), nil), BadRecord},
		"more than counted":        {0, 1, 1, slices.Concat(rec(0), rec(1)), BadTrailing},
		"count beyond the bytes":   {0, 1000, 999, rec(0), BadCount},
		"length past the end":      {0, 1, 0, head(100, 0, 0, 0, 1, 1, 0, 0, 0), BadRecord},
		"length too small":         {0, 1, 0, head(3, 0, 0, 0, 1, 1, 0), BadRecord},
		"length negative":          {0, 1, 0, head(-8, 0, 0, 0, 1, 1, 0), BadRecord},
		"length too large by one":  {0, 1, 0, head(7, 0, 0, 0, 1, 1, 0, 0), BadRecord},
		"varint without end":       {0, 1, 0, head(11, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), BadRecord},
		"key of -2 bytes":          {0, 1, 0, head(6, 0, 0, 0, 3, 1, 0), BadRecord},
		"value past the record":    {0, 1, 0, head(6, 0, 0, 0, 1, 20, 0), BadRecord},
		"null header key":          {0, 1, 0, head(8, 0, 0, 0, 1, 1, 2, 1, 1), BadRecord},
		"more headers than bytes":  {0, 1, 0, head(8, 0, 0, 0, 1, 1, 6, 0, 0), BadRecord},
		"negative count of them":   {0, 1, 0, head(6, 0, 0, 0, 1, 1, 1), BadRecord},
		"huge key":                 {0, 1, 0, slices.Concat(head(15, 0, 0, 0), varint(1<<60), make([]byte, 3)), BadRecord},
		"control record":           {FlagControl, 1, 0, control(make([]byte, 4)), "ok"},
		"control with a short key": {FlagControl, 1, 0, control(make([]byte, 3)), BadControl},
		"control without a key":    {FlagControl, 1, 0, control(nil), BadControl},
		"two control records":      {FlagControl, 2, 1, slices.Concat(control(make([]byte, 4)), appendRecord(nil, 0, 1, make([]byte, 4), nil, nil)), BadControl},
	} {
		raw := rawBatch(c.flags, c.count, c.lastDelta, c.body)
		if _, err := CheckStored(raw); err != nil {
			t.Errorf("%s: CheckStored: %v", name, err)
		}
		if err := CheckRecords(raw, testLimit); reason(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	late := rawBatch(0, 1, 0, rec(0))
	binary.BigEndian.PutUint64(late[posMaxTimestamp:], 5)
	setCRC(late)
	if err := CheckRecords(late, testLimit); reason(err) != BadTimestamp {
		t.Errorf("max timestamp above the records': %v", err)
	}
	h, err := MendTimestamp(late, testLimit)
	if err != nil || h.MaxTimestamp == 5 {
		t.Errorf("set right: %d, %v", h.MaxTimestamp, err)
	}
	if stored, err := Check(late); err != nil || stored != h || CheckRecords(late, testLimit) != nil {
		t.Errorf("set right: %+v, %v, %v", stored, err, CheckRecords(late, testLimit))
	}
}

// TestBounded: what takes more than 16 times its size is decoded once more, alone; anything else once. However many ask, few are at it.
func TestBounded(t *testing.T) {
	for _, c := range allCodecs {
		b := NewBuilder(c)
		b.Append(1000, nil, make([]byte, 4<<20), nil)
		b.Append(2000, nil, []byte("later"), nil)
		raw, err := b.Bytes(7, 0, -1, -1, -1)
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		if err := Bounded(raw, testLimit, func(limit int) error { calls++; return CheckRecords(raw, limit) }); err != nil {
			t.Errorf("%v: %v", c, err)
		}
		if want := map[bool]int{true: 1, false: 2}[c == None]; calls != want {
			t.Errorf("%v: %d calls for %d bytes", c, calls, len(raw))
		}
		if r, found, err := FirstSince(raw, testLimit, 7, 1001); err != nil || !found || r.Offset != 8 || r.Timestamp != 2000 {
			t.Errorf("%v: %+v %v, %v", c, r, found, err)
		}
		if _, found, err := FirstSince(raw, testLimit, 9, 0); err != nil || found {
			t.Errorf("%v: found behind the end, %v", c, err)
		}
	}
	raw := sample(t, Zstd, 10)
	var inside, most atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			_ = Bounded(raw, testLimit, func(int) error {
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				runtime.Gosched()
				inside.Add(-1)
				return nil
			})
		})
	}
	all.Wait()
	if n := most.Load(); n > int64(cap(decoding)) {
		t.Errorf("%d at once, %d are allowed", n, cap(decoding))
	}
}
