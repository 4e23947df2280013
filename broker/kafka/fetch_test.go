package kafka

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/batch"
)

// values decodes the records of a fetched partition from an offset on.
func values(t *testing.T, data []byte, from int64) []string {
	t.Helper()
	var all []string
	err := batch.Each(data, func(_ batch.Header, raw []byte) error {
		return batch.Records(raw, 1<<20, func(r batch.Record) error {
			if r.Offset >= from {
				all = append(all, string(r.Value))
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFetchRange (traps 10, 11): offsets inside a batch, at the end, and outside on both sides.
func TestFetchRange(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	p.put("t", 0, "a", "b", "c")
	p.put("t", 0, "d")
	for _, c := range []struct {
		offset int64
		code   int16
		want   string
	}{{0, 0, "a b c d"}, {1, 0, "b c d"}, {3, 0, "d"}, {4, 0, ""}, {5, kerr.OffsetOutOfRange.Code, ""}, {-1, kerr.OffsetOutOfRange.Code, ""}} {
		r := call1[*kmsg.FetchResponse](p, fetchFrom(11, "t", id, 0, c.offset)).Topics[0].Partitions[0]
		if got := strings.Join(values(t, r.RecordBatches, c.offset), " "); r.ErrorCode != c.code || got != c.want {
			t.Errorf("offset %d: error %d, %q", c.offset, r.ErrorCode, got)
		}
		if c.code == 0 && (r.HighWatermark != 4 || r.LastStableOffset != 4 || r.LogStartOffset != 0) {
			t.Errorf("offset %d: %+v", c.offset, r)
		}
	}
	del := at(kmsg.NewPtrDeleteRecordsRequest(), 2)
	del.TimeoutMillis = 5000
	del.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 2}}}}
	if r := call1[*kmsg.DeleteRecordsResponse](p, del).Topics[0].Partitions[0]; r.ErrorCode != 0 || r.LowWatermark != 2 {
		t.Fatalf("delete records: %+v", r)
	}
	if r := call1[*kmsg.FetchResponse](p, fetchFrom(11, "t", id, 0, 1)).Topics[0].Partitions[0]; r.ErrorCode != kerr.OffsetOutOfRange.Code {
		t.Errorf("below the log start: %+v", r)
	}
	if r := call1[*kmsg.FetchResponse](p, fetchFrom(11, "t", id, 0, 2)).Topics[0].Partitions[0]; r.ErrorCode != 0 || r.LogStartOffset != 2 {
		t.Errorf("at the log start: %+v", r)
	}
	del.Topics[0].Partitions[0].Offset = 5
	if r := call1[*kmsg.DeleteRecordsResponse](p, del).Topics[0].Partitions[0]; r.ErrorCode != kerr.OffsetOutOfRange.Code || r.LowWatermark != -1 {
		t.Errorf("delete beyond the end: %+v", r)
	}
	del.Topics[0].Partitions[0].Offset = -2
	if r := call1[*kmsg.DeleteRecordsResponse](p, del).Topics[0].Partitions[0]; r.ErrorCode != kerr.OffsetOutOfRange.Code {
		t.Errorf("delete up to -2: %+v", r)
	}
}

// TestFetchLimits (trap 10): the first batch comes whatever its size; totals hold over many partitions.
func TestFetchLimits(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 10)
	p := n.dial()
	big := strings.Repeat("x", 10_000)
	for i := range int32(10) {
		p.put("t", i, big)
		p.put("t", i, big)
	}
	req := fetchFrom(12, "t", id, 0, 0)
	req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = 1, 1
	if r := call1[*kmsg.FetchResponse](p, req).Topics[0].Partitions[0]; len(values(t, r.RecordBatches, 0)) != 1 {
		t.Errorf("an oversized first batch: %d bytes", len(r.RecordBatches))
	}
	req.MaxBytes = 45_000
	req.Topics[0].Partitions = nil
	for i := range int32(10) {
		part := kmsg.NewFetchRequestTopicPartition()
		part.Partition, part.PartitionMaxBytes = i, 15_000
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
	}
	total := 0
	resp := call1[*kmsg.FetchResponse](p, req)
	for _, r := range resp.Topics[0].Partitions {
		if len(r.RecordBatches) > 15_000 {
			t.Errorf("partition %d: %d bytes", r.Partition, len(r.RecordBatches))
		}
		total += len(r.RecordBatches)
	}
	if total > 45_000 || total < 40_000 || len(resp.Topics[0].Partitions) != 10 {
		t.Errorf("%d bytes of %d partitions", total, len(resp.Topics[0].Partitions))
	}
	eventually(t, "the memory of what was written is given back", func() bool { return n.s.Stats().FetchMemory == 0 })
}

// TestFetchMinBytes: a fetch waits for min bytes and no longer than max wait; what comes meanwhile is added up.
func TestFetchMinBytes(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 2)
	p, q := n.dial(), n.dial()
	req := fetchFrom(12, "t", id, 0, 0)
	second := req.Topics[0].Partitions[0]
	second.Partition = 1
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, second)
	req.MaxWaitMillis, req.MinBytes = 25_000, 2*int32(len(records("aaaa")))+1
	p.send(req)
	q.put("t", 1, "aaaa")
	q.put("t", 0, "bbbb")
	q.put("t", 1, "cccc")
	resp := receive[*kmsg.FetchResponse](p, req, 1)
	got := append(values(t, resp.Topics[0].Partitions[0].RecordBatches, 0), values(t, resp.Topics[0].Partitions[1].RecordBatches, 0)...)
	if strings.Join(got, " ") != "bbbb aaaa cccc" {
		t.Errorf("%q", got)
	}
	req.MaxWaitMillis, req.MinBytes = 30, 1<<20
	begin := time.Now()
	resp = call1[*kmsg.FetchResponse](p, req)
	if len(resp.Topics[0].Partitions[1].RecordBatches) == 0 {
		t.Error("what there was is missing when the wait is over")
	}
	if took := time.Since(begin); took < 30*time.Millisecond {
		t.Errorf("answered after %v of 30 ms", took)
	}
}

// TestFetchErrors: unknown partitions, ids and epochs, each at once and beside what goes well.
func TestFetchErrors(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	p.put("t", 0, "a")
	cases := []struct {
		name    string
		version int16
		change  func(r *kmsg.FetchRequest)
		want    *kerr.Error
	}{
		{"unknown topic", 12, func(r *kmsg.FetchRequest) { r.Topics[0].Topic = "absent" }, kerr.UnknownTopicOrPartition},
		{"unknown partition", 12, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = 1 }, kerr.UnknownTopicOrPartition},
		{"unknown id", 13, func(r *kmsg.FetchRequest) { r.Topics[0].TopicID[3]++ }, kerr.UnknownTopicID},
		{"unknown partition of id", 18, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = -1 }, kerr.UnknownTopicOrPartition},
		{"future leader epoch", 9, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 99 }, kerr.UnknownLeaderEpoch},
		{"future fetched epoch", 12, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].LastFetchedEpoch = 99 }, kerr.OffsetOutOfRange},
	}
	for _, c := range cases {
		req := fetchFrom(c.version, "t", id, 0, 0)
		req.MaxWaitMillis = 25_000
		c.change(req)
		r := call1[*kmsg.FetchResponse](p, req).Topics[0].Partitions[0]
		if r.ErrorCode != c.want.Code || len(r.RecordBatches) != 0 || r.HighWatermark != -1 {
			t.Errorf("%s: %v, %+v", c.name, kerr.ErrorForCode(r.ErrorCode), r)
		}
	}
}

// TestTopicIDs (trap 6): a topic created again is another topic: its old id, with old offsets, leads nowhere.
func TestTopicIDs(t *testing.T) {
	n := start(t, Options{})
	old := n.create("t", 1)
	p := n.dial()
	p.put("t", 0, "old")
	del := at(kmsg.NewPtrDeleteTopicsRequest(), 6)
	del.Topics, del.TimeoutMillis = []kmsg.DeleteTopicsRequestTopic{{TopicID: old}}, 10_000
	if r := call1[*kmsg.DeleteTopicsResponse](p, del).Topics[0]; r.ErrorCode != 0 || r.Topic == nil || *r.Topic != "t" {
		t.Fatalf("delete: %+v", r)
	}
	if r := call1[*kmsg.DeleteTopicsResponse](p, del).Topics[0]; r.ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("deleted again: %+v", r)
	}
	fresh := n.create("t", 1)
	if fresh == old {
		t.Fatal("the new topic has the id of the old one")
	}
	if r := call1[*kmsg.FetchResponse](p, fetchFrom(13, "", old, 0, 0)).Topics[0].Partitions[0]; r.ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("fetch by the old id: %+v", r)
	}
	if r := call1[*kmsg.FetchResponse](p, fetchFrom(13, "", fresh, 0, 0)).Topics[0].Partitions[0]; r.ErrorCode != 0 || r.HighWatermark != 0 {
		t.Errorf("fetch by the new id: %+v", r)
	}
}

// TestDeleteEndsWait: a topic that is deleted while a fetch waits for it is told at once.
func TestDeleteEndsWait(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	req := fetchFrom(13, "", id, 0, 0)
	req.MaxWaitMillis = 25_000
	p.send(req)
	eventually(t, "the fetch is taken", func() bool { return n.s.Stats().Requests["Fetch"] > 0 })
	if err := n.b.DeleteTopic(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	r := receive[*kmsg.FetchResponse](p, req, 1).Topics[0].Partitions[0]
	if r.ErrorCode != kerr.UnknownTopicOrPartition.Code && r.ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("%+v", r)
	}
}
