package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const topic = "replaycheck"

// node runs `chronik serve` on a fixed loopback port.
type node struct {
	bin, dir, listen string
	cmd              *exec.Cmd
	exited           chan error
}

func newNode(bin, dir string) (*node, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return &node{bin: bin, dir: dir, listen: l.Addr().String()}, nil
}

// start runs the node and waits for its ready line.
func (n *node) start() error {
	n.cmd = exec.Command(n.bin, "serve", "--data-dir", n.dir, "--listen", n.listen, "--admin-listen", "", "--peer-listen", "",
		"--set", "log.segment.bytes=1048576", "--set", "chronik.journal.segment.bytes=1048576", "--set", "chronik.checkpoint.bytes=4194304")
	stderr, err := n.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan struct{})
	var log strings.Builder
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			fmt.Fprintln(&log, lines.Text())
			if strings.HasPrefix(lines.Text(), "ready: ") {
				close(ready)
				break
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
	}()
	n.exited = make(chan error, 1)
	go func() { n.exited <- n.cmd.Wait() }()
	select {
	case <-ready:
		return nil
	case err := <-n.exited:
		return fmt.Errorf("the node ended before it was ready: %v", err)
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the node is not ready after a minute"), n.kill())
	}
}

func (n *node) kill() error {
	if err := n.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-n.exited
	return nil
}

func (n *node) stop() error {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return <-n.exited
}

// render is a record as one comparable text.
func render(r *kgo.Record) string {
	return fmt.Sprintf("%d %t %q %t %q %q", r.Timestamp.UnixMilli(), r.Key == nil, r.Key, r.Value == nil, r.Value, r.Headers)
}

// fill produces records of every kind into the source, reads back what it holds, and kills it, so that the newest are in its journal only.
func (p *program) fill(source *node, count int) (map[int32][]string, error) {
	if err := source.start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(), kgo.GzipCompression()}
	for i, codec := range codecs {
		cl, err := kgo.NewClient(kgo.SeedBrokers(source.listen), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
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
	want, err := readAll(source.listen, topic, p.partitions)
	return want, errors.Join(err, source.kill())
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
