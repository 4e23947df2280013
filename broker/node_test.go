package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/walinspect"
)

// small makes a node whose journal is small enough for a test to fill.
var small = []string{"chronik.journal.segment.bytes=65536", "chronik.journal.max.bytes=262144"}

// open opens a node on a disk; it is not ready yet. pairs are KEY=VALUE of its configuration.
func open(t testing.TB, fs vfs.FS, pairs ...string) (*Broker, error) {
	t.Helper()
	cfg := config.New()
	for _, p := range append(slices.Clone(small), pairs...) {
		if err := cfg.SetPair(p, config.Flag, "test"); err != nil {
			t.Fatal(err)
		}
	}
	return Open(t.Context(), Options{DataDir: "data", Config: cfg, FS: fs, Logger: slog.New(slog.DiscardHandler), Version: "test", OpenFiles: 4})
}

// start opens a node and registers it. The test ends with a clean stop and a deep look at what is on the disk, which is mem below fs, or mem alone.
func start(t testing.TB, mem *vfs.Mem, fs vfs.FS, pairs ...string) *Broker {
	t.Helper()
	if fs == nil {
		fs = mem
	}
	b, err := open(t, fs, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
		verify(t, mem)
	})
	b.register(t)
	return b
}

// register makes the node ready.
func (b *Broker) register(t testing.TB) {
	t.Helper()
	if err := b.SetListeners(t.Context(), []metadata.Endpoint{{Name: "PLAINTEXT", Host: "localhost", Port: 9092}}); err != nil {
		t.Fatal(err)
	}
}

// verify fails for everything that wal verify --deep finds.
func verify(t testing.TB, mem *vfs.Mem) {
	t.Helper()
	target, err := walinspect.Open(walinspect.Options{FS: mem, Path: "data"})
	if err == nil {
		_, err = target.Verify(walinspect.Deep, func(f *walinspect.Finding) error {
			if f.Verdict != wal.Notice {
				t.Errorf("verify: %+v", *f)
			}
			return nil
		})
	}
	if err != nil {
		t.Errorf("verify: %v", err)
	}
}

// create makes a topic of one partition and returns its log.
func (b *Broker) create(t testing.TB, name string) *partition.Log {
	t.Helper()
	r := b.CreateTopics(t.Context(), []TopicSpec{{Name: name, Partitions: 1, ReplicationFactor: -1}}, false)[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	l, err := b.Log(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// put starts to append a record of size bytes; the channel gets the outcome.
func (b *Broker) put(t testing.TB, l *partition.Log, size int) <-chan error {
	t.Helper()
	builder := batch.NewBuilder(batch.None)
	builder.Append(time.Now().UnixMilli(), nil, make([]byte, size), nil)
	raw, err := builder.Bytes(0, 0, -1, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go b.Append(l, raw, func(_ partition.Appended, err error) { done <- err })
	return done
}

// stuck is a disk on which SyncFS, and so a checkpoint, hangs between hang and the closing of gate.
type stuck struct {
	vfs.FS
	hang atomic.Bool
	gate chan struct{}
}

func (s *stuck) SyncFS(name string) error {
	if s.hang.Load() {
		<-s.gate
	}
	return s.FS.SyncFS(name)
}

// TestDrainAtCap: with the journal at its cap, and no checkpoint that makes room, a stop does not wait for the producers that do.
func TestDrainAtCap(t *testing.T) {
	mem := vfs.NewMem(1)
	disk := &stuck{FS: mem, gate: make(chan struct{})}
	b := start(t, mem, disk)
	l := b.create(t, "t")
	disk.hang.Store(true)
	for !b.journal.Full() {
		if err := <-b.put(t, l, 10_000); err != nil {
			t.Fatal(err)
		}
	}
	waiting := b.put(t, l, 10)
	b.Drain()
	later := b.put(t, l, 10)
	for _, done := range []<-chan error{waiting, later} {
		var refused *Error
		if err := <-done; !errors.As(err, &refused) || refused.Code != kerr.RequestTimedOut.Code || !strings.Contains(err.Error(), "stopping") {
			t.Errorf("a producer at the cap of a node that stops: %v", err)
		}
	}
	if err := b.waitRoom(); err == nil {
		t.Error("a group's commit waits")
	}
	if b.Health().Ready {
		t.Error("the node is still ready")
	}
	close(disk.gate)
}

// shortage is a disk whose SyncFS finds no file descriptor for a time.
type shortage struct {
	vfs.FS
	short    atomic.Bool
	failures atomic.Int64
}

func (s *shortage) SyncFS(name string) error {
	if s.short.Load() {
		s.failures.Add(1)
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	return s.FS.SyncFS(name)
}

// TestCheckpointWithoutDescriptor: a checkpoint that finds no file descriptor is made later. Until then the journal keeps everything, and the node
// serves.
func TestCheckpointWithoutDescriptor(t *testing.T) {
	mem := vfs.NewMem(1)
	disk := &shortage{FS: mem}
	b := start(t, mem, disk, "chronik.checkpoint.bytes=65536", "chronik.journal.max.bytes=1048576")
	l := b.create(t, "t")
	disk.short.Store(true)
	const put = 20
	for range put {
		if err := <-b.put(t, l, 10_000); err != nil {
			t.Fatal(err)
		}
	}
	for disk.failures.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	before, killed := b.checkpointCount.Load(), mem.Kill()
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	disk.short.Store(false)
	for b.checkpointCount.Load() == before {
		time.Sleep(time.Millisecond)
	}
	again := start(t, killed, killed)
	if l, err := again.Log("t", 0); err != nil || l.LogEnd() < put {
		t.Errorf("after a kill the log of %d records ends early, %v", put, err)
	}
}

// TestVanishedDirectory: a node whose directory is taken away stops instead of acknowledging what no restart would find; put back, it starts.
func TestVanishedDirectory(t *testing.T) {
	mem := vfs.NewMem(1)
	b, err := open(t, mem)
	if err != nil {
		t.Fatal(err)
	}
	b.register(t)
	l := b.create(t, "t")
	if err := <-b.put(t, l, 10); err != nil {
		t.Fatal(err)
	}
	if err := mem.Rename("data", "elsewhere"); err != nil {
		t.Fatal(err)
	}
	<-b.Failed()
	if h := b.Health(); h.Live || !strings.Contains(b.Err().Error(), "data/wal") {
		t.Errorf("%v, %+v", b.Err(), h)
	}
	if err := errors.Join(b.Close(t.Context()), mem.Rename("elsewhere", "data")); err != nil {
		t.Fatal(err)
	}
	b = start(t, mem, mem)
	if l, err := b.Log("t", 0); err != nil || l.HighWatermark() != 1 {
		t.Errorf("the record is not there, %v", err)
	}
}

// TestPartitionWithoutDescriptor: a partition whose files could not be made leaves nothing behind, and is made as soon as it can be.
func TestPartitionWithoutDescriptor(t *testing.T) {
	mem := vfs.NewMem(1)
	disk := vfs.NewFaulty(mem)
	b := start(t, mem, disk)
	for skip, file := range []string{"partition.metadata", ".log", ".index", ".timeindex"} {
		name := fmt.Sprint("t", skip)
		disk.Inject(vfs.Fault{Op: vfs.OpCreate, Match: name + "-1", Skip: skip, Err: syscall.EMFILE})
		r := b.CreateTopics(t.Context(), []TopicSpec{{Name: name, Partitions: 2, ReplicationFactor: -1}}, false)[0]
		if r.Err == nil {
			t.Fatalf("%s: the topic was made", file)
		}
		b.clean(time.Now().UnixMilli())
		l, err := b.Log(name, 1)
		if err != nil {
			t.Fatalf("%s: after a round of maintenance: %v", file, err)
		}
		if err := <-b.put(t, l, 10); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyPartitions: the files of 50 partitions share four descriptors, before and after a restart.
func TestManyPartitions(t *testing.T) {
	mem := vfs.NewMem(1)
	const n = 50
	b := start(t, mem, nil)
	if r := b.CreateTopics(t.Context(), []TopicSpec{{Name: "t", Partitions: n, ReplicationFactor: -1}}, false)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	round := func(b *Broker, want int64) {
		t.Helper()
		for i := range int32(n) {
			l, err := b.Log("t", i)
			if err != nil {
				t.Fatal(err)
			}
			if err := <-b.put(t, l, 100); err != nil {
				t.Fatal(err)
			}
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
			if data, err := l.Read(partition.ReadRequest{Offset: want - 1, UpTo: want, MaxBytes: 1000}); err != nil || len(data) == 0 || l.LogEnd() != want {
				t.Fatalf("partition %d of %d records: %d bytes, %v", i, l.LogEnd(), len(data), err)
			}
			if open := b.env.FS.(*vfs.Handles).Open(); open > 4 {
				t.Fatalf("%d descriptors", open)
			}
		}
	}
	round(b, 1)
	round(b, 2)
	killed := mem.Kill()
	round(start(t, killed, nil), 3)
}
