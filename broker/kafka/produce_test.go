package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/batch"
)

// patched returns a copy of a batch with bytes replaced and the CRC made right again.
func patched(b []byte, at int, bytes ...byte) []byte {
	b = append([]byte(nil), b...)
	copy(b[at:], bytes)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// built makes a batch with flags, and the sequence of a producer.
func built(codec batch.Codec, flags int16, id int64, epoch int16, sequence int32, values ...string) []byte {
	b := batch.NewBuilder(codec)
	b.SetFlags(flags)
	for _, v := range values {
		b.Append(1000, []byte("k"), []byte(v), nil)
	}
	data, err := b.Bytes(0, 0, id, epoch, sequence)
	if err != nil {
		panic(err)
	}
	return data
}

// TestProduceRefusals (traps 7, 8): what is refused, with which code, and that nothing of it is stored.
func TestProduceRefusals(t *testing.T) {
	n := start(t, Options{}, "message.max.bytes=2000")
	n.create("t", 1)
	p := n.dial()
	good := records("a", "b")
	wrongCRC := append([]byte(nil), good...)
	wrongCRC[len(wrongCRC)-1] ^= 1
	transactional := "x"
	cases := []struct {
		name    string
		version int16
		records []byte
		change  func(r *kmsg.ProduceRequest)
		want    *kerr.Error
	}{
		{"wrong CRC", 9, wrongCRC, nil, kerr.CorruptMessage},
		{"cut short", 9, good[:len(good)-1], nil, kerr.CorruptMessage},
		{"no records", 9, []byte{}, nil, kerr.InvalidRecord},
		{"null records", 9, nil, nil, kerr.InvalidRecord},
		{"magic 1", 9, patched(good, 16, 1), nil, kerr.InvalidRecord},
		{"count 0", 9, patched(good, 57, 0, 0, 0, 0), nil, kerr.InvalidRecord},
		{"last offset delta", 9, patched(good, 23, 0, 0, 0, 5), nil, kerr.InvalidRecord},
		{"control batch", 9, patched(good, 21, 0, 0x20), nil, kerr.InvalidRecord},
		{"transactional batch", 9, built(batch.None, batch.FlagTransactional, 5, 0, 0, "a"), nil, kerr.InvalidRequest},
		{"too large", 9, records(string(make([]byte, 3000))), nil, kerr.MessageTooLarge},
		{"zstd before version 7", 6, built(batch.Zstd, 0, -1, -1, -1, "a"), nil, kerr.UnsupportedCompressionType},
		{"acks 2", 9, good, func(r *kmsg.ProduceRequest) { r.Acks = 2 }, kerr.InvalidRequiredAcks},
		{"acks -2", 9, good, func(r *kmsg.ProduceRequest) { r.Acks = -2 }, kerr.InvalidRequiredAcks},
		{"transactional id", 9, good, func(r *kmsg.ProduceRequest) { r.TransactionID = &transactional }, kerr.InvalidRequest},
		{"unknown topic", 9, good, func(r *kmsg.ProduceRequest) { r.Topics[0].Topic = "absent" }, kerr.UnknownTopicOrPartition},
		{"unknown partition", 9, good, func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = 1 }, kerr.UnknownTopicOrPartition},
		{"negative partition", 9, good, func(r *kmsg.ProduceRequest) { r.Topics[0].Partitions[0].Partition = math.MinInt32 }, kerr.UnknownTopicOrPartition},
		{"unknown id", 13, good, func(r *kmsg.ProduceRequest) { r.Topics[0].TopicID = [16]byte{9} }, kerr.UnknownTopicID},
		{"version 2", 2, good, nil, kerr.UnsupportedVersion},
		{"version 0", 0, good, nil, kerr.UnsupportedVersion},
	}
	for _, c := range cases {
		req := produceTo(c.version, "t", [16]byte{}, 0, -1, c.records)
		if c.change != nil {
			c.change(req)
		}
		r := call1[*kmsg.ProduceResponse](p, req).Topics[0].Partitions[0]
		if r.ErrorCode != c.want.Code || r.BaseOffset != -1 {
			t.Errorf("%s: %v, base offset %d, want %v", c.name, kerr.ErrorForCode(r.ErrorCode), r.BaseOffset, c.want)
		}
		if c.version >= 8 && (r.ErrorMessage == nil || *r.ErrorMessage == "") {
			t.Errorf("%s: no message", c.name)
		}
	}
	if base := p.put("t", 0, "first"); base != 0 {
		t.Errorf("the first good record has offset %d", base)
	}
}

// TestCorruptRecords: for each codec, records that are damaged under a CRC that is right are refused as those under a wrong one: no consumer could
// read them. So is what decompresses to more than anything may.
func TestCorruptRecords(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 1)
	p := n.dial()
	send := func(raw []byte) int16 {
		t.Helper()
		return call1[*kmsg.ProduceResponse](p, produceTo(9, "t", [16]byte{}, 0, -1, raw)).Topics[0].Partitions[0].ErrorCode
	}
	for _, codec := range []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd} {
		good := built(codec, 0, -1, -1, -1, strings.Repeat("a", 100), strings.Repeat("b", 300))
		short := append(append([]byte(nil), good[:8]...), 0, 0, 0, 0)
		short = append(short, good[12:len(good)-20]...)
		binary.BigEndian.PutUint32(short[8:], uint32(len(short)-12))
		for what, raw := range map[string][]byte{
			"garbage": patched(good, 61, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "cut short": patched(short, 60, 2), "another codec": patched(good, 22, byte(codec%4+1)),
		} {
			if got := send(raw); got != kerr.CorruptMessage.Code {
				t.Errorf("%v, %s: %v", codec, what, kerr.ErrorForCode(got))
			}
		}
		if got := send(patched(good, 42, 1)); got != 0 {
			t.Errorf("%v, max timestamp: %v", codec, kerr.ErrorForCode(got))
		}
		if got := send(good); got != 0 {
			t.Errorf("%v: %v", codec, kerr.ErrorForCode(got))
		}
	}
	if got := send(built(batch.Zstd, 0, -1, -1, -1, strings.Repeat("a", 65<<20))); got != kerr.MessageTooLarge.Code {
		t.Errorf("65 MiB in a few: %v", kerr.ErrorForCode(got))
	}
	if got := send(built(batch.Zstd, 0, -1, -1, -1, strings.Repeat("a", 10<<20))); got != 0 {
		t.Errorf("10 MiB in a few: %v", kerr.ErrorForCode(got))
	}
}

// TestProduceManyPartitions: each partition of a request is answered for itself, under the topic's name or id.
func TestProduceManyPartitions(t *testing.T) {
	n := start(t, Options{})
	a, b := n.create("a", 3), n.create("b", 1)
	p := n.dial()
	for _, version := range []int16{3, 8, 12, 13} {
		req := produceTo(version, "a", a, 0, 1, records("x"))
		req.Topics[0].Partitions = append(req.Topics[0].Partitions,
			kmsg.ProduceRequestTopicPartition{Partition: 7, Records: records("x")}, kmsg.ProduceRequestTopicPartition{Partition: 2, Records: records("x", "y")})
		req.Topics = append(req.Topics, produceTo(version, "b", b, 0, 1, records("x")).Topics...)
		resp := call1[*kmsg.ProduceResponse](p, req)
		if len(resp.Topics) != 2 || len(resp.Topics[0].Partitions) != 3 || len(resp.Topics[1].Partitions) != 1 {
			t.Fatalf("version %d: %+v", version, resp)
		}
		if version < 13 && (resp.Topics[0].Topic != "a" || resp.Topics[1].Topic != "b") || version == 13 && (resp.Topics[0].TopicID != a || resp.Topics[1].TopicID != b) {
			t.Errorf("version %d: topics %+v", version, resp.Topics)
		}
		for i, want := range []int16{0, kerr.UnknownTopicOrPartition.Code, 0} {
			if r := resp.Topics[0].Partitions[i]; r.ErrorCode != want || r.Partition != []int32{0, 7, 2}[i] {
				t.Errorf("version %d, partition %d: %+v", version, r.Partition, r)
			}
		}
	}
	for _, part := range []struct {
		topic     string
		partition int32
		end       int64
	}{{"a", 0, 4}, {"a", 1, 0}, {"a", 2, 8}, {"b", 0, 4}} {
		l, err := n.b.Log(part.topic, part.partition)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.LogEnd(); got != part.end {
			t.Errorf("%s-%d ends at %d, want %d", part.topic, part.partition, got, part.end)
		}
	}
}

// TestSeveralBatches (trap 7): several batches in one payload are legal; the client's base offsets mean nothing; the stored bytes are the
// client's but for base offset and leader epoch.
func TestSeveralBatches(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	first, second := records("a", "b", "c"), records("d")
	batch.SetBaseOffset(first, 999)
	req := produceTo(9, "t", id, 0, -1, append(append([]byte(nil), first...), second...))
	if r := call1[*kmsg.ProduceResponse](p, req).Topics[0].Partitions[0]; r.ErrorCode != 0 || r.BaseOffset != 0 {
		t.Fatalf("%+v", r)
	}
	got := call1[*kmsg.FetchResponse](p, fetchFrom(13, "", id, 0, 0)).Topics[0].Partitions[0].RecordBatches
	want := append(append([]byte(nil), first...), second...)
	if len(got) != len(want) {
		t.Fatalf("%d bytes stored, %d sent", len(got), len(want))
	}
	for i := range got {
		head := i < 16 || i >= len(first) && i < len(first)+16 // base offset, length, leader epoch
		if !head && got[i] != want[i] {
			t.Fatalf("byte %d is %x, sent was %x", i, got[i], want[i])
		}
	}
	if h, err := batch.Parse(got[len(first):]); err != nil || h.BaseOffset != 3 {
		t.Errorf("the second batch begins at %d, %v", h.BaseOffset, err)
	}
}

// TestAcksNone: acks=0 is never answered; what fails ends the connection.
func TestAcksNone(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	for range 3 {
		p.send(produceTo(9, "t", id, 0, 0, records("x")))
	}
	metadata := at(kmsg.NewPtrMetadataRequest(), 12)
	p.send(metadata)
	receive[*kmsg.MetadataResponse](p, metadata, 4)
	if base := p.put("t", 0, "y"); base != 3 {
		t.Errorf("offset %d after three records", base)
	}
	p.send(produceTo(9, "absent", id, 0, 0, records("x")))
	p.closed()
}

// TestIdempotence (trap 9): a duplicate is success with the first offset, a gap is refused, ids are never given twice.
func TestIdempotence(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	init := at(kmsg.NewPtrInitProducerIDRequest(), 4)
	who := call1[*kmsg.InitProducerIDResponse](p, init)
	other := call1[*kmsg.InitProducerIDResponse](p, init)
	if who.ErrorCode != 0 || who.ProducerID < 0 || who.ProducerEpoch != 0 || who.ProducerID == other.ProducerID {
		t.Fatalf("%+v and %+v", who, other)
	}
	send := func(sequence int32, values ...string) kmsg.ProduceResponseTopicPartition {
		req := produceTo(9, "t", id, 0, -1, built(batch.None, 0, who.ProducerID, who.ProducerEpoch, sequence, values...))
		return call1[*kmsg.ProduceResponse](p, req).Topics[0].Partitions[0]
	}
	for i := range int32(5) {
		if r := send(2*i, "a", "b"); r.ErrorCode != 0 || r.BaseOffset != int64(2*i) {
			t.Fatalf("batch %d: %+v", i, r)
		}
	}
	for _, i := range []int32{0, 2, 4} {
		if r := send(2*i, "a", "b"); r.ErrorCode != 0 || r.BaseOffset != int64(2*i) {
			t.Errorf("duplicate of batch %d: %+v", i, r)
		}
	}
	if r := send(12, "a"); r.ErrorCode != kerr.OutOfOrderSequenceNumber.Code {
		t.Errorf("a gap: %+v", r)
	}
	transactional := "x"
	init.TransactionalID = &transactional
	if r := call1[*kmsg.InitProducerIDResponse](p, init); r.ErrorCode != kerr.InvalidRequest.Code || r.ProducerID != -1 {
		t.Errorf("transactional id: %+v", r)
	}
}
