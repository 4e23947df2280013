package batch

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestFormatPage decodes the hex of docs/format/batch.md and encodes it again.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/batch.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```hex batch\n(.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatal("docs/format/batch.md has no batch")
	}
	raw, err := hex.DecodeString(strings.Join(strings.Fields(string(m[1])), ""))
	if err != nil {
		t.Fatal(err)
	}
	h, err := Check(raw)
	if err != nil || CheckRecords(raw, 1<<10) != nil {
		t.Fatal(h, err)
	}
	if h.BaseOffset != 42 || h.LeaderEpoch != 3 || h.ProducerID != 9 || h.ProducerEpoch != 1 || h.BaseSequence != 7 || h.LastSequence() != 8 {
		t.Errorf("header %+v", h)
	}
	want := []Record{
		{Offset: 42, Timestamp: 1700000000000, Key: []byte("k1"), Value: []byte("hello")},
		{Offset: 43, Timestamp: 1700000000005, Headers: []RecordHeader{{"h", []byte("v")}, {"n", nil}}},
	}
	b := NewBuilder(h.Codec())
	for i, r := range recordsOf(t, raw) {
		if i >= len(want) || !sameRecord(r, want[i]) {
			t.Errorf("record %d is %+v", i, r)
		}
		b.Append(r.Timestamp, r.Key, r.Value, r.Headers)
	}
	again, err := b.Bytes(h.BaseOffset, h.LeaderEpoch, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	if err != nil || !bytes.Equal(again, raw) {
		t.Errorf("encoded again: %x, %v", again, err)
	}
}
