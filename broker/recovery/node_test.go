package recovery

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// node is a data directory on a disk in memory, with partitions and a journal, as a broker would have them open.
type node struct {
	t         testing.TB
	fs        *vfs.Mem
	disk      vfs.FS // in front of fs, if not nil
	now       int64
	result    *Result
	pool      *partition.Pool
	env       *partition.Env // completed by Boot
	logs      map[string]*partition.Log
	incidents []datadir.Incident
	config    partition.Config
	release   bool   // boot as a repair does
	cut       []byte // content of the file that was cut last
}

const root = "/data"

func newNode(t testing.TB) *node {
	n := &node{t: t, fs: vfs.NewMem(1), now: 1_700_000_000_000, config: partition.DefaultConfig()}
	n.config.SegmentBytes = 4000
	if err := vfs.MkdirAll(n.fs, root); err != nil {
		t.Fatal(err)
	}
	if err := n.boot(true); err != nil {
		t.Fatal(err)
	}
	return n
}

// boot opens the directory as it is on the disk.
func (n *node) boot(founding bool) error {
	n.pool = partition.NewPool(0)
	pool := n.pool
	n.t.Cleanup(pool.Close)
	seed := rand.New(rand.NewPCG(uint64(n.now), 1))
	n.env = &partition.Env{Pool: n.pool, Now: func() int64 { return n.now }}
	disk := n.disk
	if disk == nil {
		disk = n.fs
	}
	var err error
	n.result, err = Boot(Options{
		FS: disk, Dir: root, DirID: [16]byte{1}, Founding: founding,
		Wal: wal.Options{SegmentSize: 64 << 10, FirstSegmentSize: 16 << 10, Spares: -1, Still: true, Idle: -1, Rand: seed.Uint64},
		Env: n.env, Release: n.release,
		Config: func(string) partition.Config { return n.config },
		Report: func(i datadir.Incident) (string, error) {
			n.incidents = append(n.incidents, i)
			return fmt.Sprintf("inc-%d", len(n.incidents)), nil
		},
	})
	if err != nil {
		return err
	}
	if l := n.result.Log; l != nil {
		n.t.Cleanup(func() { _ = l.Close() })
	}
	n.logs = map[string]*partition.Log{}
	for _, l := range n.result.Partitions {
		n.logs[l.Name()] = l
	}
	return nil
}

func (n *node) create(topic string, id byte) *partition.Log {
	n.t.Helper()
	l, err := partition.Create(n.env, partition.Identity{Topic: topic, ID: [16]byte{id}, RaftIndex: uint64(id)}, n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	n.logs[l.Name()] = l
	for n.result.Log.Synced()+1 < n.result.Log.Next() {
		runtime.Gosched() // so that transcripts have the same groups each time
	}
	return l
}

// produce appends count batches of two records and waits until they are durable.
func (n *node) produce(l *partition.Log, count int, v string) {
	n.t.Helper()
	for i := range count {
		b := batch.NewBuilder(batch.None)
		b.Append(n.now, nil, fmt.Appendf(nil, "%s%d.a %s", v, i, strings.Repeat("x", 200)), nil)
		b.Append(n.now, nil, fmt.Appendf(nil, "%s%d.b", v, i), nil)
		raw, err := b.Bytes(0, 0, -1, -1, -1)
		if err != nil {
			n.t.Fatal(err)
		}
		done := make(chan error, 1)
		l.Append(raw, partition.AppendInfo{LeaderEpoch: max(0, l.LeaderEpoch())}, func(_ partition.Appended, err error) { done <- err })
		if err := <-done; err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *node) checkpoint() {
	n.t.Helper()
	if err := n.result.Checkpointer.Run(); err != nil {
		n.t.Fatal(err)
	}
}

// crash cuts the power: only what was synced is left.
func (n *node) crash(mode vfs.Mode) {
	n.fs = n.fs.CrashMode(rand.New(rand.NewPCG(7, 7)), mode)
	n.now += 1000
}

// read returns the first word of every record.
func (n *node) read(l *partition.Log) []string {
	n.t.Helper()
	if l == nil {
		text, _ := n.result.Report.JSON()
		n.t.Fatalf("the partition is not open: %s", text)
	}
	out := []string{}
	for at := l.LogStart(); at < l.HighWatermark(); {
		raw, err := l.Read(partition.ReadRequest{Offset: at, UpTo: l.HighWatermark(), MaxBytes: 1 << 20, AtLeastOne: true})
		if err != nil {
			n.t.Fatal(err)
		}
		err = batch.Each(raw, func(h batch.Header, one []byte) error {
			if h.BaseOffset != at {
				return fmt.Errorf("offset %d, want %d", h.BaseOffset, at)
			}
			at = h.LastOffset() + 1
			return batch.Records(one, 1<<20, func(r batch.Record) error {
				word, _, _ := strings.Cut(string(r.Value), " ")
				out = append(out, word)
				return nil
			})
		})
		if err != nil {
			n.t.Fatal(err)
		}
	}
	return out
}
