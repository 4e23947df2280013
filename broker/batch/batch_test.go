package batch

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

const testLimit = 64 << 20

var allCodecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// sample builds a batch of n records with every shape of key, value and headers.
func sample(t testing.TB, c Codec, n int) []byte {
	t.Helper()
	b := NewBuilder(c)
	for i := range n {
		var key, value []byte
		var headers []RecordHeader
		if i%3 != 0 {
			key = fmt.Appendf(nil, "key-%d", i)
		}
		if i%5 != 4 {
			value = bytes.Repeat([]byte{byte(i)}, i%97)
		}
		if i%7 == 0 {
			headers = []RecordHeader{{Key: "", Value: nil}, {Key: "h", Value: []byte{}}, {Key: "trace", Value: []byte("x")}}
		}
		b.Append(1_700_000_000_000+int64(i%11), key, value, headers)
	}
	raw, err := b.Bytes(1000, 7, 42, 3, math.MaxInt32-1)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// reason is the reason of a batch error, or what else happened.
func reason(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	if err == nil {
		return "ok"
	}
	return Reason(err.Error())
}

func TestHeader(t *testing.T) {
	raw := sample(t, Zstd, 10)
	h, err := Check(raw)
	if err != nil {
		t.Fatal(err)
	}
	if h.Size() != len(raw) || h.LastOffset() != 1009 || h.Codec() != Zstd || h.Count != 10 || h.LeaderEpoch != 7 {
		t.Errorf("header %+v", h)
	}
	if h.LastSequence() != 7 { // wraps after MaxInt32
		t.Errorf("last sequence %d", h.LastSequence())
	}
	if h.IsControl() || h.IsTransactional() || h.LogAppendTime() || !h.HasProducer() {
		t.Errorf("flags of %+v", h)
	}
	if _, set := h.DeleteHorizon(); set {
		t.Error("a delete horizon")
	}
	if h.BaseSequence = NoSequence; h.LastSequence() != NoSequence {
		t.Error("a sequence without a producer")
	}
}

func TestPatch(t *testing.T) {
	raw := sample(t, None, 3)
	SetBaseOffset(raw, 5_000_000_000)
	SetLeaderEpoch(raw, 9)
	h, err := Check(raw) // neither is under the CRC
	if err != nil || h.BaseOffset != 5_000_000_000 || h.LeaderEpoch != 9 || h.LastOffset() != 5_000_000_002 {
		t.Fatalf("%+v, %v", h, err)
	}
	SetAppendTime(raw, 123)
	if h, err = Check(raw); err != nil || !h.LogAppendTime() || h.MaxTimestamp != 123 {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := Records(raw, testLimit, func(r Record) error {
		if r.Timestamp != 123 {
			t.Errorf("record time %d", r.Timestamp)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestRefused breaks one field at a time; with fix the CRC is made right again.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		at    int
		bytes []byte
		fix   bool
		want  Reason
	}{
		{"magic 1", posMagic, []byte{1}, false, BadMagic},
		{"length 0", posLength, []byte{0, 0, 0, 0}, false, BadLength},
		{"length negative", posLength, []byte{0xff, 0xff, 0xff, 0xff}, false, BadLength},
		{"length huge", posLength, []byte{0x7f, 0xff, 0xff, 0xff}, false, BadLength},
		{"length one less", posLength, nil, false, BadLength},
		{"crc", posCRC, []byte{1, 2, 3, 4}, false, BadCRC},
		{"payload", HeaderSize + 5, []byte{0xee}, false, BadCRC},
		{"count 0", posCount, []byte{0, 0, 0, 0}, true, BadCount},
		{"count negative", posCount, []byte{0x80, 0, 0, 0}, true, BadCount},
		{"count larger", posCount, []byte{0, 0, 0, 4}, true, BadCount},
		{"count smaller", posCount, []byte{0, 0, 0, 2}, true, BadCount},
		{"delta negative", posLastDelta, []byte{0xff, 0xff, 0xff, 0xff}, true, BadDelta},
		{"delta beyond int64", 0, []byte{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, false, BadDelta},
		{"codec 5", posAttributes + 1, []byte{5}, true, BadCodec},
		{"codec 7", posAttributes + 1, []byte{7}, true, BadCodec},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := sample(t, None, 3)
			copy(raw[c.at:], c.bytes)
			if c.bytes == nil {
				raw[posLength+3]--
			}
			if c.fix {
				setCRC(raw)
			}
			if _, err := Check(raw); reason(err) != c.want {
				t.Errorf("Check: %v, want reason %s", err, c.want)
			}
		})
	}
	for n := range HeaderSize {
		if _, err := Parse(make([]byte, n)); reason(err) != Short {
			t.Errorf("Parse of %d bytes: %v", n, err)
		}
	}
}

func TestCheckStoredAllowsGaps(t *testing.T) {
	raw := sample(t, LZ4, 10)
	out, kept, err := Filter(raw, testLimit, func(r Record) bool { return r.Offset == 1003 || r.Offset == 1008 })
	if err != nil || kept != 2 {
		t.Fatal(kept, err)
	}
	if _, err := CheckStored(out); err != nil {
		t.Error(err)
	}
	if _, err := Check(out); reason(err) != BadCount {
		t.Errorf("a producer may send a batch with gaps: %v", err)
	}
}

// TestFlips: no single bit outside base offset, length and leader epoch changes unseen.
func TestFlips(t *testing.T) {
	raw := sample(t, Snappy, 20)
	for i := range raw {
		if i < posLength || i >= posLeaderEpoch && i < posMagic {
			continue
		}
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if _, err := Check(raw); err == nil {
				t.Fatalf("flip of bit %d of byte %d is not seen", bit, i)
			}
			raw[i] ^= 1 << bit
		}
	}
}

func TestEach(t *testing.T) {
	a, b := sample(t, None, 1), sample(t, Gzip, 4)
	payload := slices.Concat(a, b, a)
	var sizes []int
	if err := Each(payload, func(h Header, raw []byte) error {
		sizes = append(sizes, len(raw))
		return nil
	}); err != nil || !slices.Equal(sizes, []int{len(a), len(b), len(a)}) {
		t.Error(sizes, err)
	}
	err := Each(payload[:len(payload)-1], func(Header, []byte) error { return nil })
	var e *Error
	if !errors.As(err, &e) || e.Reason != Short || e.Offset != int64(len(a)+len(b)+posLength) {
		t.Errorf("cut payload: %v", err)
	}
	payload[len(a)+posMagic] = 0
	if err = Each(payload, func(Header, []byte) error { return nil }); !errors.As(err, &e) || e.Offset != int64(len(a)+posMagic) {
		t.Errorf("bad second batch: %v", err)
	}
	stop := errors.New("stop")
	if err = Each(payload, func(Header, []byte) error { return stop }); err != stop {
		t.Errorf("got %v", err)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	raw := sample(t, Zstd, 100)
	n := testing.AllocsPerRun(100, func() {
		if _, err := Check(raw); err != nil {
			t.Fatal(err)
		}
		if err := Each(raw, func(Header, []byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
		SetBaseOffset(raw, 77)
		SetLeaderEpoch(raw, 1)
		SetAppendTime(raw, 5)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// recordsOf collects a batch's records.
func recordsOf(t testing.TB, raw []byte) (all []Record) {
	t.Helper()
	if err := Records(raw, testLimit, func(r Record) error { all = append(all, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func genRecords(t *rapid.T) []Record {
	maybe := rapid.Custom(func(t *rapid.T) []byte {
		if rapid.Bool().Draw(t, "null") {
			return nil
		}
		return append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")...)
	})
	n := rapid.IntRange(1, 60).Draw(t, "records")
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{
			Offset: int64(i), Timestamp: rapid.Int64Range(0, 1<<45).Draw(t, "time"), Key: maybe.Draw(t, "key"), Value: maybe.Draw(t, "value"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			records[i].Headers = append(records[i].Headers, RecordHeader{rapid.StringN(0, 20, 40).Draw(t, "name"), maybe.Draw(t, "header")})
		}
	}
	return records
}

func sameRecord(a, b Record) bool {
	null := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
	return a.Offset == b.Offset && a.Timestamp == b.Timestamp && null(a.Key, b.Key) && null(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y RecordHeader) bool { return x.Key == y.Key && null(x.Value, y.Value) })
}

func TestBuildThenRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genRecords(t)
		b := NewBuilder(rapid.SampledFrom(allCodecs).Draw(t, "codec"))
		base := rapid.Int64Range(0, 1<<50).Draw(t, "base")
		for i := range want {
			b.Append(want[i].Timestamp, want[i].Key, want[i].Value, want[i].Headers)
			want[i].Offset += base
		}
		raw, err := b.Bytes(base, 0, -1, -1, -1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Check(raw); err != nil {
			t.Fatal(err)
		}
		if err := CheckRecords(raw, testLimit); err != nil {
			t.Fatal(err)
		}
		var got []Record
		if err := Records(raw, testLimit, func(r Record) error { got = append(got, r); return nil }); err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got, want, sameRecord) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestFilter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := genRecords(t)
		codec := rapid.SampledFrom(allCodecs).Draw(t, "codec")
		b := NewBuilder(codec)
		for _, r := range records {
			b.Append(r.Timestamp, r.Key, r.Value, r.Headers)
		}
		raw, err := b.Bytes(100, 3, 9, 1, 5)
		if err != nil {
			t.Fatal(err)
		}
		mask := rapid.SliceOfN(rapid.Bool(), len(records), len(records)).Draw(t, "keep")
		out, kept, err := Filter(raw, testLimit, func(r Record) bool { return mask[r.Offset-100] })
		if err != nil {
			t.Fatal(err)
		}
		var want, got []Record
		for i, r := range records {
			if mask[i] {
				r.Offset += 100
				want = append(want, r)
			}
		}
		h, err := CheckStored(out)
		if err != nil || kept != len(want) || int(h.Count) != kept {
			t.Fatalf("%+v, kept %d of %d, %v", h, kept, len(want), err)
		}
		if h.BaseOffset != 100 || h.LastOffset() != 99+int64(len(records)) || h.ProducerID != 9 || h.BaseSequence != 5 || h.LeaderEpoch != 3 {
			t.Fatalf("header %+v", h)
		}
		if kept > 0 && h.Codec() != codec {
			t.Fatalf("codec %s, want %s", h.Codec(), codec)
		}
		if err := CheckRecords(out, testLimit); err != nil {
			t.Fatal(err)
		}
		if err := Records(out, testLimit, func(r Record) error { got = append(got, r); return nil }); err != nil || !slices.EqualFunc(got, want, sameRecord) {
			t.Fatalf("got %v, want %v, %v", got, want, err)
		}
	})
}

func TestEmptyBuilder(t *testing.T) {
	if _, err := NewBuilder(None).Bytes(0, 0, -1, -1, -1); reason(err) != BadCount {
		t.Error(err)
	}
	b := NewBuilder(Codec(6))
	b.Append(0, nil, nil, nil)
	if _, err := b.Bytes(0, 0, -1, -1, -1); reason(err) != BadCodec {
		t.Error(err)
	}
}
