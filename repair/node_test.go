package repair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/walinspect"
)

// node is a whole node on a disk in memory.
type node struct {
	t  testing.TB
	fs *vfs.Mem
	b  *broker.Broker

	large int // bytes of the first record of a batch; 0 is 500
}

// startNode starts a node on a disk, a new one if it is empty.
func startNode(t testing.TB, fs *vfs.Mem) *node {
	t.Helper()
	cfg := config.New()
	for _, p := range []string{"chronik.journal.segment.bytes=65536", "chronik.checkpoint.bytes=1099511627776", "offsets.topic.num.partitions=1"} {
		must(t, cfg.SetPair(p, config.Flag, "test"))
	}
	b, err := broker.Open(t.Context(), broker.Options{DataDir: root, Config: cfg, FS: fs, Logger: slog.New(slog.DiscardHandler), Version: "test"})
	must(t, err)
	n := &node{t: t, fs: fs, b: b}
	t.Cleanup(n.stop)
	must(t, b.SetListeners(t.Context(), []metadata.Endpoint{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092}}))
	return n
}

// stop stops the node cleanly; a second call does nothing.
func (n *node) stop() {
	if n.b != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.b.Close(ctx); err != nil {
			n.t.Errorf("close: %v", err)
		}
		n.b = nil
	}
}

// kill returns the disk that kill -9 leaves. The node goes on with its own and is stopped.
func (n *node) kill() *vfs.Mem {
	left := n.fs.Kill()
	n.stop()
	return left
}

func (n *node) create(topic string, partitions int32, pairs ...string) {
	n.t.Helper()
	configs := map[string]*string{}
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		configs[k] = &v
	}
	r := n.b.CreateTopics(n.t.Context(), []broker.TopicSpec{{Name: topic, Partitions: partitions, ReplicationFactor: 1, Configs: configs}}, false)
	if r[0].Err != nil {
		n.t.Fatal(r[0].Err)
	}
}

func (n *node) log(topic string, number int32) *partition.Log {
	n.t.Helper()
	l, err := n.b.Log(topic, number)
	must(n.t, err)
	return l
}

// produce appends batches of two records, value "prefix<i>", acknowledged.
func (n *node) produce(topic string, number int32, batches int, prefix string) {
	n.t.Helper()
	l := n.log(topic, number)
	size := max(n.large, 500)
	for i := range batches {
		b := batch.NewBuilder(batch.None)
		b.Append(time.Now().UnixMilli(), nil, fmt.Appendf(nil, "%s%d.a %s", prefix, i, strings.Repeat("x", size)), nil)
		b.Append(time.Now().UnixMilli(), nil, fmt.Appendf(nil, "%s%d.b", prefix, i), nil)
		n.append(l, b)
	}
}

func (n *node) append(l *partition.Log, b *batch.Builder) {
	n.t.Helper()
	raw, err := b.Bytes(0, 0, -1, -1, -1)
	must(n.t, err)
	done := make(chan error, 1)
	l.Append(raw, partition.AppendInfo{LeaderEpoch: l.LeaderEpoch(), Internal: true}, func(_ partition.Appended, err error) { done <- err })
	must(n.t, <-done)
}

// read returns the first word of every record of a partition.
func (n *node) read(topic string, number int32) []string {
	n.t.Helper()
	l := n.log(topic, number)
	out := []string{}
	for at := l.LogStart(); at < l.HighWatermark(); {
		raw, err := l.Read(partition.ReadRequest{Offset: at, UpTo: l.HighWatermark(), MaxBytes: 1 << 20, AtLeastOne: true})
		must(n.t, err)
		must(n.t, batch.Each(raw, func(h batch.Header, one []byte) error {
			at = h.LastOffset() + 1
			return batch.Records(one, 1<<20, func(r batch.Record) error {
				word, _, _ := strings.Cut(string(r.Value), " ")
				out = append(out, word)
				return nil
			})
		}))
	}
	return out
}

// verify runs wal verify --deep and returns the findings that are more than notices.
func verify(t testing.TB, fs vfs.FS) []walinspect.Finding {
	t.Helper()
	target, err := walinspect.Open(walinspect.Options{FS: fs, Path: root})
	must(t, err)
	var out []walinspect.Finding
	_, err = target.Verify(walinspect.Deep, func(f *walinspect.Finding) error {
		if f.Verdict != wal.Notice {
			out = append(out, *f)
		}
		return nil
	})
	must(t, err)
	return out
}

// mustVerify is for directories that must be clean.
func mustVerify(t testing.TB, fs vfs.FS) {
	t.Helper()
	if found := verify(t, fs); len(found) > 0 {
		t.Fatalf("wal verify --deep: %+v", found)
	}
}

// repaired makes and applies a plan, checks that the directory is clean and that undo restores it, and starts a node on it.
func repaired(t testing.TB, m *vfs.Mem, verb func(*Draft) error) (*Plan, *node) {
	t.Helper()
	old := treeHash(t, m)
	p := newPlan(t, m, verb)
	if treeHash(t, m) != old {
		t.Fatal("the plan changed the directory")
	}
	o := ApplyOptions{FS: m, Dir: root, Now: clock}
	if len(p.NeedsAccept) > 0 {
		_, err := Apply(o, p)
		wantIs(t, err, ErrRefused, "--accept-loss")
		o.AcceptLoss = &p.LossTotal
	}
	_, err := Apply(o, p)
	must(t, err)
	mustVerify(t, m)
	back := m.Kill()
	must(t, undo(back, p))
	if treeHash(t, back) != old {
		t.Fatal("undo did not restore the tree")
	}
	return p, startNode(t, m)
}

func write(fsys vfs.FS, name string, at int64, data string) error {
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(data), at)
	return errors.Join(err, f.Close())
}

func truncate(fsys vfs.FS, name string, size int64) error {
	f, err := fsys.OpenFile(name, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
