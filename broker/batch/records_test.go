package batch

import (
	"encoding/binary"
	"slices"
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
		"offset beyond int32":      {0, 1, 1<<31 - 1, rec(1 << 32), BadDelta},
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
}
