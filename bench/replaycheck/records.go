package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/bench/node"
)

const topic = "replaycheck"

// newNode is a node in a folder of the working directory.
func (p *program) newNode(name string) (*node.Node, error) {
	listen, err := node.FreeAddress()
	if err != nil {
		return nil, err
	}
	return &node.Node{Bin: p.bin, Dir: filepath.Join(p.work, name), Listen: listen, Settings: node.SmallFiles}, nil
}

// render is a record as one comparable text.
func render(r *kgo.Record) string {
	return fmt.Sprintf("%d %t %q %t %q %q", r.Timestamp.UnixMilli(), r.Key == nil, r.Key, r.Value == nil, r.Value, r.Headers)
}

// fill produces records of every kind into the source, reads back what it holds, and kills it, so that the newest are in its journal only.
func (p *program) fill(source *node.Node, count int) (map[int32][]string, error) {
	if _, err := source.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(), kgo.GzipCompression()}
	for i, codec := range codecs {
		cl, err := kgo.NewClient(kgo.SeedBrokers(source.Listen), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(time.Duration(i)*time.Millisecond), kgo.MaxBufferedRecords(1000), kgo.ProducerBatchMaxBytes(int32(4096<<i)))
		if err != nil {
			return nil, err
		}
		if i == 0 {
			if r, err := kadm.NewClient(cl).CreateTopic(ctx, int32(p.partitions), 1, nil, topic); err != nil || r.Err != nil {
				return nil, errors.Join(err, r.Err)
			}
		}
		if err := p.produce(ctx, cl, i, count/len(codecs)); err != nil {
			return nil, err
		}
		cl.Close()
	}
	want, err := readAll(source.Listen, topic, p.partitions)
	return want, errors.Join(err, source.Kill())
}

func (p *program) produce(ctx context.Context, cl *kgo.Client, client, count int) error {
	failed := make(chan error, 1)
	for i := range count {
		r := &kgo.Record{
			Partition: int32(p.rng.IntN(p.partitions)), Timestamp: time.UnixMilli(1_700_000_000_000 + p.rng.Int64N(1e9)),
			Key: fmt.Appendf(nil, "%d-%d", client, i), Value: noise(p.rng, p.rng.IntN(400)),
		}
		decorate(r, p.rng)
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// noise does not compress, so that there are many batches.
func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// decorate gives a record headers, or takes its key or value away; the header "id" keeps it unique.
func decorate(r *kgo.Record, rng *rand.Rand) {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "id", Value: r.Key})
	for range rng.IntN(3) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: fmt.Sprint("h", rng.IntN(9)), Value: []byte(strings.Repeat("v", rng.IntN(20)))})
	}
	switch rng.IntN(10) {
	case 0:
		r.Key = nil
	case 1:
		r.Value = nil
	}
}

// readAll reads a topic up to its end, per partition in order.
func readAll(address, topic string, partitions int) (map[int32][]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	out := map[int32][]string{}
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			out[r.Partition] = append(out[r.Partition], render(r))
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return out, nil
}
