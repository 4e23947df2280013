package kafka

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/partition"
)

// TestLatencyBuckets: every duration is in the bucket whose bounds enclose it.
func TestLatencyBuckets(t *testing.T) {
	bounds := LatencyBounds()
	if !slices.IsSorted(bounds) || bounds[0] != 64e-6 || bounds[1] != 96e-6 || bounds[2] != 128e-6 {
		t.Fatalf("bounds %v", bounds)
	}
	for _, d := range []time.Duration{-1, 0, 1, 63999, 64000, 95999, 96000, 100000, 128000, time.Millisecond, 1023 * time.Microsecond, time.Second, 9 * time.Second, time.Hour} {
		i, s := latencyBucket(d), d.Truncate(time.Microsecond).Seconds()
		if i < len(bounds) && s >= bounds[i] || i > 0 && s < bounds[i-1] {
			t.Errorf("%v is in bucket %d of %v", d, i, bounds)
		}
	}
	if n := len(served()); n > maxAPIs {
		t.Errorf("%d APIs are served, counted are %d", n, maxAPIs)
	}
}

// TestCounts: what clients wrote and read is counted once, per partition and in total, also when its topic is gone; and every answer is
// among the latencies, without what a fetch waited for records.
func TestCounts(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	sent := append(records("a", "b", "c"), records("d")...)
	for range 2 {
		call1[*kmsg.ProduceResponse](p, produceTo(9, "t", id, 0, -1, sent))
	}
	call1[*kmsg.ProduceResponse](p, produceTo(9, "t", id, 0, -1, sent[:len(sent)-1])) // refused
	dup := produceTo(9, "t", id, 0, -1, built(batch.None, 0, 7, 0, 0, "e"))
	for range 2 {
		call1[*kmsg.ProduceResponse](p, dup)
	}
	fetched := call1[*kmsg.FetchResponse](p, fetchFrom(13, "", id, 0, 0)).Topics[0].Partitions[0].RecordBatches
	poll := fetchFrom(13, "", id, 0, 9)
	poll.MaxWaitMillis, poll.MinBytes = 300, 1
	call1[*kmsg.FetchResponse](p, poll)
	want := partition.Traffic{
		ProducedRecords: 9, ProducedBytes: uint64(2*len(sent) + len(built(batch.None, 0, 7, 0, 0, "e"))), FetchedRecords: 9, FetchedBytes: uint64(len(fetched)),
	}
	if got := n.b.Partitions()[0].Traffic; got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames, req.TimeoutMillis = []string{"t"}, 10000
	call1[*kmsg.DeleteTopicsResponse](p, at(req, 5))
	if got := n.b.Stats().Traffic; got != want {
		t.Errorf("when the topic is gone: counted %+v, want %+v", got, want)
	}
	eventually(t, "all answers are counted", func() bool {
		s := n.s.Stats()
		return total(s.Latencies["Produce"]) == 5 && s.Requests["Produce"] == 5 && total(s.Latencies["Fetch"]) == 2
	})
	if s := n.s.Stats().Latencies["Fetch"]; s.Nanos == 0 || s.Nanos >= uint64(300*time.Millisecond) {
		t.Errorf("a fetch that waited 300 ms took %v", time.Duration(s.Nanos))
	}
}

func total(l Latency) (n uint64) {
	for _, c := range l.Buckets {
		n += c
	}
	return n
}

// BenchmarkAnswered is what the counters cost one request: two readings of the clock and three additions.
func BenchmarkAnswered(b *testing.B) {
	s := &Server{began: time.Now()}
	c := &conn{s: s, stripe: &s.stripes[0]}
	batch := []*call{{c: c, api: &api{}}}
	b.ReportAllocs()
	for b.Loop() {
		batch[0].began, batch[0].timed = s.clock(), true
		c.stripe.apis[0].requests.Add(1)
		c.answered(batch, nil)
	}
}
