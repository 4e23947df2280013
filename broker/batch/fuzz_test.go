package batch

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/allocation"
)

// poolSlack is what pooled decoders, buffers of a minimum size and the test itself may allocate at once, whatever the input.
const poolSlack = 2 << 20

// allocated returns how many bytes of heap fn took in all.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func seeds(f *testing.F) {
	for _, c := range allCodecs {
		f.Add(sample(f, c, 1))
		f.Add(sample(f, c, 30))
	}
	f.Add([]byte{})
	f.Add(make([]byte, HeaderSize))
}

// FuzzHeader: Parse agrees with kmsg field by field.
func FuzzHeader(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Header
		var err error
		allocation.Bounded(t, len(b), 64<<10, func() { h, err = Parse(b); _, _ = Check(b) })
		if err != nil {
			return
		}
		var k kmsg.RecordBatch
		whole := make([]byte, HeaderSize) // kmsg reads records by the length; give it none
		copy(whole, b)
		binary.BigEndian.PutUint32(whole[posLength:], HeaderSize-lengthOverhead)
		if err := k.ReadFrom(whole); err != nil {
			t.Fatalf("kmsg: %v", err)
		}
		same := Header{
			k.FirstOffset, h.Length, k.PartitionLeaderEpoch, k.Magic, uint32(k.CRC), k.Attributes, k.LastOffsetDelta, k.FirstTimestamp,
			k.MaxTimestamp, k.ProducerID, k.ProducerEpoch, k.FirstSequence, k.NumRecords,
		}
		if same != h {
			t.Fatalf("got %+v, kmsg %+v", h, same)
		}
	})
}

// FuzzBatch: whatever passes CheckRecords, franz-go's consumer reads the same; Filter keeps it well-formed; memory is bounded.
func FuzzBatch(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= HeaderSize {
			setCRC(b) // so that mutations get past the CRC
		}
		_ = Each(b, func(h Header, raw []byte) error { return nil })
		limit := 8 * len(b)
		var checked error
		if took := allocated(func() { checked = CheckRecords(b, limit) }); took > uint64(16*len(b)+2*limit+poolSlack) {
			t.Fatalf("%d bytes allocated for %d bytes of input", took, len(b))
		}
		if _, err := CheckStored(b); err != nil || checked != nil {
			return
		}
		agree(t, b)
		i := 0
		out, kept, err := Filter(b, limit, func(Record) bool { i++; return i%2 == 0 })
		if err != nil || kept != i/2 {
			t.Fatalf("filter kept %d of %d: %v", kept, i, err)
		}
		if _, err := CheckStored(out); err != nil {
			t.Fatalf("filtered: %v", err)
		}
		if err := CheckRecords(out, max(limit, len(out))); err != nil {
			t.Fatalf("filtered: %v", err)
		}
	})
}

// agree compares our records with those of franz-go's fetch path.
func agree(t *testing.T, b []byte) {
	t.Helper()
	h, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if h.BaseOffset < 0 || h.LastOffset() == 1<<63-1 || h.IsControl() {
		return // a consumer never asks for those
	}
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.RecordBatches = b
	part, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: h.BaseOffset}, &rp, kgo.DefaultDecompressor(), nil)
	if part.Err != nil {
		t.Fatalf("franz-go: %v", part.Err)
	}
	ours := recordsOf(t, b)
	if len(part.Records) != len(ours) {
		t.Fatalf("franz-go reads %d records, we %d", len(part.Records), len(ours))
	}
	for i, k := range part.Records {
		r := ours[i]
		same := k.Offset == r.Offset && bytes.Equal(k.Key, r.Key) && bytes.Equal(k.Value, r.Value) && (k.Value == nil) == (r.Value == nil) &&
			slices.EqualFunc(k.Headers, r.Headers, func(a kgo.RecordHeader, b RecordHeader) bool {
				return a.Key == b.Key && bytes.Equal(a.Value, b.Value)
			})
		if !same || !h.LogAppendTime() && r.Timestamp > 0 && r.Timestamp < 1<<45 && k.Timestamp.UnixMilli() != r.Timestamp {
			t.Fatalf("record %d: franz-go %+v, we %+v", i, k, r)
		}
	}
}

// FuzzRecords: the record decoder on bare bytes, under every codec, without the help of a CRC.
func FuzzRecords(f *testing.F) {
	for _, c := range allCodecs {
		raw := sample(f, c, 12)
		f.Add(uint8(c), int32(12), raw[HeaderSize:])
	}
	f.Fuzz(func(t *testing.T, codec uint8, count int32, body []byte) {
		raw := make([]byte, HeaderSize, HeaderSize+len(body))
		raw = append(raw, body...)
		raw[posMagic] = 2
		raw[posAttributes+1] = codec & codecMask
		binary.BigEndian.PutUint32(raw[posLength:], uint32(len(raw)-lengthOverhead))
		binary.BigEndian.PutUint32(raw[posCount:], uint32(count))
		binary.BigEndian.PutUint32(raw[posLastDelta:], uint32(count-1))
		setCRC(raw)
		limit := 8 * len(raw)
		n, size := 0, 0
		var err error
		took := allocated(func() {
			err = Records(raw, limit, func(r Record) error {
				n++
				size += len(r.Key) + len(r.Value)
				return nil
			})
		})
		if took > uint64(16*len(raw)+24*limit+poolSlack) { // a record's header of two bytes becomes forty
			t.Fatalf("%d bytes allocated for %d bytes of input", took, len(raw))
		}
		if size > limit {
			t.Fatalf("%d bytes of records, the limit is %d", size, limit)
		}
		if err == nil && n != int(count) {
			t.Fatalf("%d records, the header says %d", n, count)
		}
	})
}

func TestFranzReadsOurBatches(t *testing.T) {
	for _, c := range allCodecs {
		for _, n := range []int{1, 50, 2000} {
			agree(t, sample(t, c, n))
		}
	}
}
