package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// bare makes a batch of count records around their bytes.
func bare(count int32, body []byte) []byte {
	raw := append(make([]byte, HeaderSize, HeaderSize+len(body)), body...)
	raw[posMagic] = 2
	binary.BigEndian.PutUint32(raw[posLength:], uint32(len(raw)-lengthOverhead))
	binary.BigEndian.PutUint32(raw[posCount:], uint32(count))
	binary.BigEndian.PutUint32(raw[posLastDelta:], uint32(count-1))
	setCRC(raw)
	return raw
}

// kmsgRecords reads count records as franz-go's consumer does. exact says that the bytes are the only way to write them, with nothing behind.
func kmsgRecords(body []byte, count int32) (records []kmsg.Record, exact bool, err error) {
	exact = true
	for range count {
		size, n := binary.Varint(body)
		if n <= 0 || size < 0 || size > int64(len(body)-n) {
			return nil, false, errors.New("length")
		}
		var r kmsg.Record
		if err := r.ReadFrom(body[:n+int(size)]); err != nil {
			return nil, false, err
		}
		exact = exact && bytes.Equal(r.AppendTo(nil), body[:n+int(size)])
		records, body = append(records, r), body[n+int(size):]
	}
	return records, exact && len(body) == 0, nil
}

// same compares a record with kmsg's.
func same(r Record, k *kmsg.Record) bool {
	return r.Offset == int64(k.OffsetDelta) && r.Timestamp == k.TimestampDelta64 && bytes.Equal(r.Key, k.Key) && (r.Key == nil) == (k.Key == nil) &&
		bytes.Equal(r.Value, k.Value) && (r.Value == nil) == (k.Value == nil) &&
		slices.EqualFunc(r.Headers, k.Headers, func(a RecordHeader, b kmsg.Header) bool {
			return a.Key == b.Key && bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil)
		})
}

// FuzzRecordsLikeKmsg: what we accept, kmsg reads as the same records; what kmsg reads and would write in the very same bytes, in ascending
// offsets, we accept.
func FuzzRecordsLikeKmsg(f *testing.F) {
	for n := range 3 {
		raw := sample(f, None, 1+5*n)
		f.Add(raw[HeaderSize:], int32(1+5*n))
	}
	f.Add([]byte{22, 0, 0, 0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0}, int32(1)) // a length in more bytes than a varint may have
	f.Fuzz(func(t *testing.T, body []byte, count int32) {
		if count < 1 || count > 1000 {
			return
		}
		theirs, exact, kerr := kmsgRecords(body, count)
		var ours []Record
		err := Records(bare(count, body), len(body), func(r Record) error { ours = append(ours, r); return nil })
		if err != nil {
			last := int64(-1)
			for i := range theirs {
				d := int64(theirs[i].OffsetDelta)
				exact = exact && d > last && d < int64(count)
				last = d
			}
			if kerr == nil && exact {
				t.Fatalf("refused: %v; kmsg reads %+v", err, theirs)
			}
			return
		}
		if kerr != nil || len(theirs) != len(ours) {
			t.Fatalf("accepted %+v; kmsg: %v, %+v", ours, kerr, theirs)
		}
		for i := range ours {
			if !same(ours[i], &theirs[i]) {
				t.Fatalf("record %d is %+v, kmsg reads %+v", i, ours[i], theirs[i])
			}
		}
	})
}

// FuzzRecordsOfKmsg: what kmsg writes, we read.
func FuzzRecordsOfKmsg(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), "header", []byte("h"), int64(5), uint8(3), uint8(0))
	f.Add([]byte{}, []byte(nil), "", []byte{}, int64(-1)<<62, uint8(1), uint8(0xff))
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte, delta int64, count, null uint8) {
		var body []byte
		var want []kmsg.Record
		for i := range count {
			r := kmsg.Record{TimestampDelta64: delta, TimestampDelta: int32(delta), OffsetDelta: int32(i), Key: key, Value: value}
			for j := range i % 3 {
				r.Headers = append(r.Headers, kmsg.Header{Key: name[:len(name)*int(j)/3], Value: header})
			}
			for bit, p := range []*[]byte{&r.Key, &r.Value} {
				if null>>(bit+int(i%3))&1 == 1 {
					*p = nil
				} else if *p == nil {
					*p = []byte{}
				}
			}
			r.Length = int32(len(r.AppendTo(nil)) - 1) // the length 0 takes one byte
			body, want = r.AppendTo(body), append(want, r)
		}
		i := 0
		if err := Records(bare(int32(count), body), len(body), func(r Record) error {
			if !same(r, &want[i]) {
				t.Fatalf("record %d is %+v, kmsg wrote %+v", i, r, want[i])
			}
			i++
			return nil
		}); count > 0 && (err != nil || i != len(want)) {
			t.Fatalf("%d of %d records, %v", i, len(want), err)
		}
	})
}
