package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const group = "killcheck"

// codecs give every producer another compression, so that recovery meets all of them.
var codecs = []kgo.CompressionCodec{kgo.NoCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(), kgo.GzipCompression()}

func value(kind string, n int) string {
	return fmt.Sprintf("%s:%d:%s", kind, n, strings.Repeat("x", n*37%900))
}

func sequenceOf(v string) int {
	parts := strings.SplitN(v, ":", 3)
	if len(parts) < 2 {
		return -1
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return -1
	}
	return n
}

// load is a set of producers that outlive every kill of the broker, as an application's would.
type load struct {
	ledger *ledger
	seeds  string
	topic  string
	rate   time.Duration // pause between two records of one producer
	stop   chan struct{}
	wg     sync.WaitGroup
}

func (ld *load) start(producers int) error {
	ld.stop = make(chan struct{})
	for i := range producers {
		opts := []kgo.Opt{
			kgo.SeedBrokers(ld.seeds), kgo.DefaultProduceTopic(ld.topic), kgo.ProducerLinger(0),
			kgo.ProducerBatchCompression(codecs[i%len(codecs)]), kgo.RecordRetries(1 << 30), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
			kgo.MetadataMinAge(50 * time.Millisecond), kgo.DialTimeout(2 * time.Second), kgo.RequestTimeoutOverhead(5 * time.Second),
			kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		}
		kind := fmt.Sprintf("idem%d", i)
		if i%4 == 3 {
			kind = "plain"
			opts = append(opts, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
		}
		cl, err := kgo.NewClient(opts...)
		if err != nil {
			return err
		}
		ld.wg.Add(1)
		go ld.produce(cl, kind, i)
	}
	return nil
}

func (ld *load) produce(cl *kgo.Client, kind string, id int) {
	defer ld.wg.Done()
	defer cl.Close()
	window := make(chan struct{}, 256)
	n := 0
	for {
		select {
		case <-ld.stop:
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			_ = cl.Flush(ctx) // what does not get through stays unacknowledged
			cancel()
			return
		case window <- struct{}{}:
		}
		v := value(kind, n*1000+id)
		n++
		ld.ledger.attempt(v, kind)
		cl.Produce(context.Background(), kgo.StringRecord(v), func(r *kgo.Record, err error) {
			if err == nil { // a record that the client gave up on may be there or not
				ld.ledger.ack(v, place{r.Topic, r.Partition, r.Offset})
			}
			<-window
		})
		if ld.rate > 0 {
			time.Sleep(ld.rate)
		}
	}
}

func (ld *load) finish() {
	close(ld.stop)
	ld.wg.Wait()
}

// follow consumes in a group and commits all the while; committed remembers what the broker acknowledged per partition.
type follow struct {
	mu        sync.Mutex
	committed map[int32]int64
	cancel    context.CancelFunc
	done      chan struct{}
}

func startFollow(seeds, topic string) (*follow, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.RebalanceTimeout(6*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &follow{committed: map[int32]int64{}, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		defer cl.Close()
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			next := map[int32]int64{}
			fetches.EachRecord(func(r *kgo.Record) { next[r.Partition] = r.Offset + 1 })
			if len(next) == 0 || cl.CommitUncommittedOffsets(ctx) != nil {
				continue
			}
			f.mu.Lock()
			for p, o := range next {
				f.committed[p] = max(f.committed[p], o)
			}
			f.mu.Unlock()
		}
	}()
	return f, nil
}

func (f *follow) close() {
	f.cancel()
	<-f.done
}

// checkCommits fails if the broker remembers an older offset than it acknowledged.
func (f *follow) checkCommits(ctx context.Context, adm *kadm.Client, topic string) error {
	got, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return fmt.Errorf("fetch committed offsets: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, want := range f.committed {
		o, ok := got.Lookup(topic, p)
		if !ok || o.At < want {
			return fmt.Errorf("group %s, %s-%d: committed offset %d was acknowledged, the broker remembers %d", group, topic, p, want, o.At)
		}
	}
	return nil
}

// readAll reads every record of the topic up to the high watermarks that the broker states.
func readAll(ctx context.Context, seeds, topic string, adm *kadm.Client) (map[place]string, error) {
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := ends.Error(); err != nil {
		return nil, err
	}
	want := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			want[o.Partition] = o.Offset
		}
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	read := map[place]string{}
	next := map[int32]int64{}
	for len(want) > 0 {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read %s: %w; still missing %v, read up to %v", topic, ctx.Err(), want, next)
		}
		if errs := fetches.Errors(); len(errs) > 0 {
			return nil, fmt.Errorf("read %s-%d: %w", errs[0].Topic, errs[0].Partition, errs[0].Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read[place{r.Topic, r.Partition, r.Offset}] = string(r.Value)
			next[r.Partition] = r.Offset + 1
			if end, ok := want[r.Partition]; ok && r.Offset+1 >= end {
				delete(want, r.Partition)
			}
		})
	}
	return read, nil
}
