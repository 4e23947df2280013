package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/walinspect"
)

// node is chronik as `chronik serve` runs it, without listeners: produced by its own append path, started by its boot recovery, read by its fetch
// path. `chronik wal verify --deep` looks at the directory before the start.
type node struct{}

const (
	topic      = "orders"
	partitions = 3
)

func openNode(dir string, log slog.Handler) (*broker.Broker, error) {
	cfg := config.New()
	for _, pair := range []string{"chronik.journal.segment.bytes=65536", "chronik.checkpoint.bytes=131072"} { // so that several segments and checkpoints come
		if err := cfg.SetPair(pair, config.Flag, "bench/damage"); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b, err := broker.Open(ctx, broker.Options{DataDir: dir, Config: cfg, FS: vfs.OS, Logger: slog.New(log), Version: "bench/damage"})
	if err != nil {
		return nil, err
	}
	if err := b.SetListeners(ctx, []metadata.Endpoint{{Name: "PLAINTEXT", Host: "localhost", Port: 9092}}); err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	return b, nil
}

func (node) write(dir string, half func() error) (func() error, error) {
	b, err := openNode(dir+"/data", slog.DiscardHandler)
	if err != nil {
		return nil, err
	}
	if r := b.CreateTopics(context.Background(), []broker.TopicSpec{{Name: topic, Partitions: partitions, ReplicationFactor: -1}}, false)[0]; r.Err != nil {
		return nil, r.Err
	}
	for i := 0; i < entries; i += group {
		if i == entries/2 {
			if err := half(); err != nil {
				return nil, err
			}
		}
		acks := make(chan error, group)
		for j := i; j < i+group; j++ {
			l, err := b.Log(topic, int32(j%partitions))
			if err != nil {
				return nil, err
			}
			one := batch.NewBuilder(batch.None)
			one.Append(1_700_000_000_000+int64(j), nil, value(j), nil)
			raw, err := one.Bytes(0, 0, -1, -1, -1)
			if err != nil {
				return nil, err
			}
			b.Append(l, raw, func(_ partition.Appended, err error) { acks <- err })
		}
		for range group {
			if err := <-acks; err != nil {
				return nil, err
			}
		}
	}
	time.Sleep(100 * time.Millisecond) // past the marker that an idle node writes
	return func() error { return b.Close(context.Background()) }, nil
}

func (node) start(dir string) (*seen, error) {
	dir += "/data"
	s := newSeen()
	s.verify = verify(dir)
	if s.verify != "" {
		s.reports = append(s.reports, "wal verify: "+s.verify)
	}
	b, err := openNode(dir, slog.DiscardHandler)
	if err != nil {
		return s, err
	}
	s.reports = append(s.reports, said(b.Report())...)
	for p := range int32(partitions) {
		if err := readPartition(b, p, s); err != nil {
			for i := int(p); i < entries; i += partitions {
				s.unreadable[i] = err.Error()
			}
		}
		lostOf(b.Report(), p, s)
	}
	if err := b.Close(context.Background()); err != nil {
		s.reports = append(s.reports, "stop: "+err.Error())
	}
	return s, nil
}

// readPartition reads a partition from its start to its end; a record at offset o of partition p is entry o*partitions+p.
func readPartition(b *broker.Broker, p int32, s *seen) error {
	l, err := b.Log(topic, p)
	if err != nil {
		return err
	}
	for at := l.LogStart(); at < l.HighWatermark(); {
		data, err := l.Read(partition.ReadRequest{Offset: at, UpTo: math.MaxInt64, MaxBytes: 1 << 20, AtLeastOne: true})
		if err != nil {
			return err
		}
		if len(data) == 0 {
			return nil // a client would wait here for ever; what is missing is missing in silence
		}
		err = batch.Each(data, func(h batch.Header, raw []byte) error {
			if _, err := batch.CheckStored(raw); err != nil {
				return err // as every client does
			}
			at = h.LastOffset() + 1
			return batch.Records(raw, 1<<20, func(r batch.Record) error {
				s.values[int(r.Offset)*partitions+int(p)] = r.Value
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lostOf notes the entries that the boot's report gives up by name.
func lostOf(r *recovery.Report, p int32, s *seen) {
	for i := range r.Partitions {
		q := &r.Partitions[i]
		if q.Topic != topic || q.Partition != p {
			continue
		}
		for _, g := range q.GivenUp {
			for o := g.First; o <= g.Last || g.Last < 0 && o < entries; o++ {
				s.named[int(o)*partitions+int(p)] = fmt.Sprintf("%s: offsets %d to %d given up: %s", q.Name(), g.First, g.Last, q.Reason)
			}
		}
	}
}

// said is what a boot reports of damage.
func said(r *recovery.Report) (out []string) {
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Verdict != wal.Notice {
			out = append(out, fmt.Sprintf("boot: %s: %s byte %d: %s", f.Verdict, f.File, f.Offset, f.Reason))
		}
	}
	for i := range r.Partitions {
		q := &r.Partitions[i]
		if q.Status != recovery.OK && q.Status != recovery.Dropped {
			out = append(out, fmt.Sprintf("boot: %s %s: %s", q.Name(), q.Status, q.Reason))
		}
		for _, f := range q.Findings {
			out = append(out, fmt.Sprintf("boot: %s %s: %s byte %d: %s", q.Name(), f.Kind, f.File, f.Offset, f.Message))
		}
	}
	for _, m := range r.Moved {
		out = append(out, fmt.Sprintf("boot: %s is moved to %s: %s", m.From, m.To, m.Why))
	}
	return out
}

// verify is `chronik wal verify --deep`: its first findings, or empty.
func verify(dir string) string {
	t, err := walinspect.Open(walinspect.Options{FS: vfs.OS, Path: dir})
	if err != nil {
		return err.Error()
	}
	var out []string
	_, err = t.Verify(walinspect.Deep, func(f *walinspect.Finding) error {
		if len(out) < 3 {
			out = append(out, fmt.Sprintf("%s: %s byte %d: %s", f.Verdict, f.File, f.Offset, f.Reason))
		}
		return nil
	})
	if err != nil {
		out = append(out, err.Error())
	}
	return strings.Join(out, "; ")
}
