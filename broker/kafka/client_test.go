package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// client makes a franz-go client of a node.
func (n *node) client(opts ...kgo.Opt) *kgo.Client {
	n.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.addr), kgo.RetryTimeout(10 * time.Second)}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(cl.Close)
	return cl
}

// TestClientCodecs: an idempotent producer with each codec, and a consumer that reads the same values back.
func TestClientCodecs(t *testing.T) {
	n := start(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	codecs := []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	}
	want := map[string]bool{}
	for i, codec := range codecs {
		cl := n.client(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation())
		var all []*kgo.Record
		for j := range 100 {
			v := fmt.Sprintf("codec %d record %d", i, j)
			want[v] = true
			all = append(all, &kgo.Record{Key: []byte("k"), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{1}}}})
		}
		if err := cl.ProduceSync(ctx, all...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	cl := n.client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for len(want) > 0 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%d records are missing: %v", len(want), err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if !want[string(r.Value)] || string(r.Key) != "k" || len(r.Headers) != 1 {
				t.Errorf("invented or duplicated: %+v", r)
			}
			delete(want, string(r.Value))
		})
	}
}

// TestClientGroups: two members share the partitions, offsets survive them, and the admin APIs show and delete the group (trap 13).
func TestClientGroups(t *testing.T) {
	for _, v := range []struct {
		name string
		opt  kgo.Opt
	}{{"newest", nil}, {"2.4", kgo.MaxVersions(kversion.V2_4_0())}} {
		t.Run(v.name, func(t *testing.T) { groupRound(t, v.opt) })
	}
}

func groupRound(t *testing.T, versions kgo.Opt) {
	n := start(t, Options{})
	n.create("t", 4)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	opts := []kgo.Opt{kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit()}
	var common []kgo.Opt
	if versions != nil {
		common = append(common, versions)
	}
	producer := n.client(append(common, kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...)
	put := func(from, to int) {
		for i := from; i < to; i++ {
			if err := producer.ProduceSync(ctx, &kgo.Record{Value: fmt.Appendf(nil, "%d", i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	drain := func(count int, clients ...*kgo.Client) {
		t.Helper()
		got := make(chan int)
		for _, cl := range clients {
			go func() {
				for {
					f := cl.PollFetches(ctx)
					if ctx.Err() != nil || f.IsClientClosed() {
						return
					}
					if f.NumRecords() > 0 {
						if err := cl.CommitRecords(ctx, f.Records()...); err != nil {
							t.Error(err)
						}
						got <- f.NumRecords()
					}
				}
			}()
		}
		for count > 0 {
			select {
			case k := <-got:
				count -= k
			case <-ctx.Done():
				t.Fatalf("%d records are missing", count)
			}
		}
	}
	put(0, 40)
	a, b := n.client(append(common, opts...)...), n.client(append(common, opts...)...)
	drain(40, a, b)
	a.Close()
	b.Close()
	put(40, 60)
	c := n.client(append(common, opts...)...)
	drain(20, c)
	adm := kadm.NewClient(n.client(common...))
	lag, err := adm.Lag(ctx, "g")
	if err != nil || lag["g"].Lag.Total() != 0 {
		t.Errorf("lag %d, %v", lag["g"].Lag.Total(), err)
	}
	if d := lag["g"]; d.State == "" || d.DescribeErr != nil {
		t.Errorf("described: %+v", d)
	}
	c.Close()
	groups, err := adm.ListGroups(ctx)
	if err != nil || len(groups.Groups()) != 1 {
		t.Errorf("groups %v, %v", groups.Groups(), err)
	}
	if _, err := adm.DeleteGroup(ctx, "g"); err != nil {
		t.Errorf("delete: %v", err)
	}
	offsets, err := adm.FetchOffsets(ctx, "g")
	if err != nil || len(offsets) != 0 {
		t.Errorf("offsets of the deleted group: %v, %v", offsets, err)
	}
}

// TestClientTransactions: a transactional producer is told so at once instead of waiting for a coordinator.
func TestClientTransactions(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cl := n.client(kgo.TransactionalID("x"), kgo.DefaultProduceTopic("t"))
	if cl.BeginTransaction() != nil {
		return // refused already
	}
	if err := cl.ProduceSync(ctx, kgo.StringRecord("v")).FirstErr(); err == nil || ctx.Err() != nil {
		t.Errorf("a transactional record: %v", err)
	}
}

// TestClientAdmin: what kadm does to a cluster.
func TestClientAdmin(t *testing.T) {
	n := start(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cl := n.client()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, 3, 1, map[string]*string{"retention.ms": kadm.StringPtr("1000000")}, "t"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(ctx, 3, 1, nil, "t"); err != kerr.TopicAlreadyExists {
		t.Errorf("created again: %v", err)
	}
	for i := range 30 {
		r := &kgo.Record{Topic: "t", Partition: int32(i % 3), Value: []byte("v")}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	ends, err := adm.ListEndOffsets(ctx, "t")
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	var del kadm.Offsets
	ends.Each(func(o kadm.ListedOffset) {
		del.Add(kadm.Offset{Topic: o.Topic, Partition: o.Partition, At: o.Offset, LeaderEpoch: -1})
	})
	if r, err := adm.DeleteRecords(ctx, del); err != nil || r.Error() != nil {
		t.Errorf("delete records: %v, %v", err, r.Error())
	}
	starts, err := adm.ListStartOffsets(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	starts.Each(func(o kadm.ListedOffset) {
		if end, _ := ends.Lookup("t", o.Partition); end.Offset != o.Offset {
			t.Errorf("partition %d starts at %d, ended at %d", o.Partition, o.Offset, end.Offset)
		}
	})
	if r, err := adm.UpdatePartitions(ctx, 5, "t"); err != nil || r.Error() != nil {
		t.Errorf("partitions: %v, %v", err, r.Error())
	}
	if m, err := adm.BrokerMetadata(ctx); err != nil || len(m.Brokers) != 1 || m.Controller != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	if err != nil || len(dirs) != 1 {
		t.Errorf("%+v, %v", dirs, err)
	}
	configs, err := adm.DescribeBrokerConfigs(ctx, 1)
	if err != nil || len(configs) != 1 || configs[0].Err != nil || len(configs[0].Configs) < 50 {
		t.Errorf("%d, %v", len(configs), err)
	}
	if r, err := adm.DeleteTopics(ctx, "t", "absent"); err != nil || r["t"].Err != nil || r["absent"].Err != kerr.UnknownTopicOrPartition {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestJournalAtItsCap: a journal that reaches its cap before it has grown by chronik.checkpoint.bytes takes a checkpoint, and producers go on.
func TestJournalAtItsCap(t *testing.T) {
	n := start(t, Options{}, "chronik.journal.segment.bytes=1048576", "chronik.journal.max.bytes=4194304", "chronik.checkpoint.bytes=1073741824", "chronik.checkpoint.interval.ms=3600000")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cl := n.client(kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 12 {
		if err := cl.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 900_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyPartitions: a topic may have as many partitions as a request may ask for, and is there after a restart.
func TestManyPartitions(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 1000)
	if err := n.b.CreatePartitions(t.Context(), "t", 2000, nil, false); err != nil {
		t.Fatal(err)
	}
	fs := n.fs
	n.stop()
	if got := len(startOn(t, fs, Options{}).b.Image().Topics["t"].Partitions); got != 2000 {
		t.Errorf("%d partitions after a restart", got)
	}
}
