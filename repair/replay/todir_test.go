package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/walinspect"
)

const (
	root    = "/node"
	outRoot = "/replayed"
)

// node is a broker on a disk in memory.
type node struct {
	t    testing.TB
	disk *vfs.Mem
	b    *broker.Broker
	rng  *rand.Rand
	next map[string]int32 // sequence per partition of producer 7

	plain bool // no idempotent producer: its sequences are not known here
}

func openNode(t testing.TB, disk *vfs.Mem, dir string, rng *rand.Rand) *node {
	t.Helper()
	cfg := config.New()
	for key, value := range map[string]string{
		"node.id": "3", "log.dirs": dir, "chronik.journal.segment.bytes": "65536", "chronik.journal.max.bytes": "8388608", "chronik.checkpoint.bytes": "65536",
		"chronik.checkpoint.interval.ms": strconv.Itoa(10 + rng.IntN(40)), "chronik.tail.memory.bytes": "1048576",
	} {
		if err := cfg.Set(key, value, config.Flag, "test"); err != nil {
			t.Fatal(err)
		}
	}
	b, err := broker.Open(context.Background(), broker.Options{DataDir: dir, Config: cfg, FS: disk, Logger: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return &node{t: t, disk: disk, b: b, rng: rng, next: map[string]int32{}}
}

// serve registers the broker, as `chronik serve` does.
func (n *node) serve() {
	if err := n.b.SetListeners(context.Background(), []metadata.Endpoint{{Name: "PLAINTEXT", Host: "localhost", Port: 9092}}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) create(topic string) {
	if r := n.b.CreateTopics(context.Background(), []broker.TopicSpec{{Name: topic, Partitions: int32(1 + n.rng.IntN(3)), ReplicationFactor: 1}}, false); r[0].Err != nil {
		n.t.Fatal(r[0].Err)
	}
}

// logs are all open partitions, in a random order; their segments are small.
func (n *node) logs() []*partition.Log {
	var out []*partition.Log
	for _, p := range n.b.Partitions() {
		l, err := n.b.Log(p.Topic, p.Partition)
		if err != nil {
			n.t.Fatal(err)
		}
		c := l.Config()
		c.SegmentBytes = 6000
		l.SetConfig(c)
		out = append(out, l)
	}
	n.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (n *node) append(l *partition.Log) {
	b := batch.NewBuilder(batch.Codec(n.rng.IntN(5)))
	count := 1 + n.rng.IntN(6)
	for i := range count {
		b.Append(int64(1_700_000_000_000+n.rng.IntN(1000)), fmt.Appendf(nil, "k%d", i), bytes.Repeat([]byte{byte('a' + n.rng.IntN(26))}, n.rng.IntN(700)), nil)
	}
	id, epoch, seq := int64(-1), int16(-1), int32(-1)
	if n.rng.IntN(2) == 0 && !n.plain {
		id, epoch, seq = 7, 0, n.next[l.Name()]
		n.next[l.Name()] += int32(count)
	}
	raw, err := b.Bytes(0, -1, id, epoch, seq)
	if err != nil {
		n.t.Fatal(err)
	}
	done := make(chan error, 1)
	n.b.Append(l, raw, func(_ partition.Appended, err error) { done <- err })
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// boundary is where some batch of a log begins, or the log ends.
func (n *node) boundary(l *partition.Log) int64 {
	at := []int64{l.LogEnd()}
	for next := l.LogStart(); next < l.LogEnd(); {
		raw, err := l.Read(partition.ReadRequest{Offset: next, UpTo: l.LogEnd(), MaxBytes: 1 << 20, AtLeastOne: true})
		if err == nil {
			err = batch.Each(raw, func(h batch.Header, _ []byte) error {
				if next = h.LastOffset() + 1; h.BaseOffset >= l.LogStart() {
					at = append(at, h.BaseOffset)
				}
				return nil
			})
		}
		if err != nil {
			n.t.Fatal(err)
		}
	}
	return at[n.rng.IntN(len(at))]
}

// work does random things; everything is acknowledged when it returns.
func (n *node) work() {
	topics := 1 + n.rng.IntN(3)
	for i := range topics {
		n.create(fmt.Sprintf("topic%d", i))
	}
	for range 10 + n.rng.IntN(120) {
		logs := n.logs()
		l := logs[0]
		switch n.rng.IntN(40) {
		case 0:
			done := make(chan error, 1)
			n.b.DeleteRecords(context.Background(), l, l.LogStart()+n.rng.Int64N(l.HighWatermark()-l.LogStart()+1), func(_ int64, err error) { done <- err })
			if err := <-done; err != nil {
				n.t.Fatal(err)
			}
		case 1:
			if err := l.Truncate(n.boundary(l)); err != nil {
				n.t.Fatal(err)
			}
			n.next[l.Name()] = 0
			for _, p := range l.Producers() {
				n.next[l.Name()] = p.LastSequence + 1
			}
		case 2:
			id := l.Identity()
			if err := n.b.DeleteTopic(context.Background(), id.ID); err != nil {
				n.t.Fatal(err)
			}
			for _, l := range logs {
				if l.Identity().ID == id.ID {
					delete(n.next, l.Name())
				}
			}
			n.create(id.Topic)
		default:
			n.append(l)
		}
	}
}

// hashes reads every partition as a consumer would: name to range and SHA-256 of the stored batches.
func (n *node) hashes() map[string]string {
	out := map[string]string{}
	for _, p := range n.b.Partitions() {
		l, err := n.b.Log(p.Topic, p.Partition)
		if err != nil {
			n.t.Fatal(err)
		}
		if l.HighWatermark() == 0 {
			continue // its first frame may be lost with the power: a node makes it anew
		}
		d := newDigest(l.LogStart(), l.HighWatermark())
		for at := l.LogStart(); at < l.HighWatermark(); at = d.next {
			raw, err := l.Read(partition.ReadRequest{Offset: at, UpTo: l.HighWatermark(), MaxBytes: 1 << 20, AtLeastOne: true})
			if err == nil && len(raw) == 0 {
				err = errors.New("nothing is read")
			}
			if err == nil {
				err = batch.Each(raw, func(h batch.Header, one []byte) error { return d.add(&h, one) })
			}
			if err != nil {
				n.t.Fatal(p.Topic, p.Partition, at, err)
			}
		}
		out[l.Name()] = fmt.Sprintf("[%d,%d) %s", l.LogStart(), l.HighWatermark(), d.hex())
	}
	return out
}

func (n *node) close() {
	if err := n.b.Close(context.Background()); err != nil {
		n.t.Fatal(err)
	}
}

// tree is a directory's files with their content.
func tree(t testing.TB, disk *vfs.Mem, dir string) map[string]string {
	out := map[string]string{}
	for _, name := range disk.Files() {
		if strings.HasPrefix(name, dir+"/") {
			data, err := disk.Bytes(name)
			if err != nil {
				t.Fatal(err)
			}
			out[name] = string(data)
		}
	}
	return out
}

// verifyClean fails unless `wal verify --deep` has nothing to say.
func verifyClean(t testing.TB, disk *vfs.Mem, dir string) {
	t.Helper()
	target, err := walinspect.Open(walinspect.Options{FS: disk, Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, err = target.Verify(walinspect.Deep, func(f *walinspect.Finding) error {
		t.Errorf("%s: %s byte %d: %s: %s: %s", f.Verdict, f.File, f.Offset, f.Record, f.Reason, f.Evidence)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestToDir replays the directories of 100 nodes after random work that ended with a clean stop, a kill or a power cut, and compares what
// the node itself served at the same LSN with what the replayed directory holds, says, and serves.
func TestToDir(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 5))
			n := openNode(t, vfs.NewMem(seed), root, rng)
			n.serve()
			n.work()
			lsn, want, image := wal.LSN(n.b.Stats().SyncedLSN), n.hashes(), n.b.Image()
			disk := n.disk
			switch seed % 3 {
			case 0:
				n.close()
				disk = disk.Kill()
			case 1:
				disk = disk.Kill()
				n.close()
			default:
				disk = disk.CrashClone(rng)
				n.close()
			}
			before := tree(t, disk, root)
			report, err := ToDir(DirOptions{FS: disk, Dir: root, Out: outRoot})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(before, tree(t, disk, root)) {
				t.Error("the source has changed")
			}
			checkReport(t, report, lsn, want, image)
			verifyClean(t, disk, outRoot)
			again := openNode(t, disk, outRoot, rng)
			if got := again.hashes(); !reflect.DeepEqual(got, want) {
				t.Errorf("a node on the replay serves\n%v, the node served\n%v", got, want)
			}
			if seed%10 == 0 {
				again.serve()
				again.plain = true
				again.append(again.logs()[0])
			}
			again.close()
			verifyClean(t, disk, outRoot)
		})
	}
}

func checkReport(t *testing.T, r *DirReport, lsn wal.LSN, want map[string]string, image *metadata.Image) {
	t.Helper()
	got := map[string]string{}
	for _, p := range r.Partitions {
		if p.End == 0 {
			continue
		}
		got[partition.DirName(p.Topic, p.Partition)] = fmt.Sprintf("[%d,%d) %s", p.LogStart, p.End, p.SHA256)
		if p.Result == Different {
			t.Errorf("%s-%d differs: %+v", p.Topic, p.Partition, p)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the replay says\n%v, the node served\n%v", got, want)
	}
	if r.LSN < lsn {
		t.Errorf("replayed to LSN %d, the node had synced %d", r.LSN, lsn)
	}
	if r.Metadata.Index != image.Index || r.Metadata.Topics != len(image.Topics) {
		t.Errorf("metadata %+v, the node had index %d and %d topics", r.Metadata, image.Index, len(image.Topics))
	}
	if len(r.Lost) != 0 || r.Different != 0 {
		t.Errorf("%+v", r)
	}
}

// TestToDirRefuses takes what must be refused, and leaves nothing behind.
func TestToDirRefuses(t *testing.T) {
	n := openNode(t, vfs.NewMem(1), root, rand.New(rand.NewPCG(1, 5)))
	n.serve()
	n.create("a")
	for range 40 {
		n.append(n.logs()[0])
	}
	refuse := func(what error, disk *vfs.Mem, out string) error {
		t.Helper()
		before := tree(t, disk, root)
		_, err := ToDir(DirOptions{FS: disk, Dir: root, Out: out})
		if !errors.Is(err, what) {
			t.Errorf("%v, want %v", err, what)
		}
		if there, _ := vfs.Exists(disk, outRoot); there || !reflect.DeepEqual(before, tree(t, disk, root)) {
			t.Error("something was changed or left behind")
		}
		return err
	}
	if _, err := ToDir(DirOptions{FS: n.disk, Dir: root, Out: outRoot}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("a node runs: %v", err)
	}
	n.close()
	disk := n.disk.Kill()
	refuse(ErrRefused, disk, filepath.Join(root, "wal"))
	disk.SetLimit(100)
	refuse(syscall.ENOSPC, disk, outRoot)
	disk.SetLimit(0)

	log := filepath.Join(root, "topics", n.b.Partitions()[0].Topic+"-0", "00000000000000000000.log")
	if err := disk.Flip(log, 200, 1); err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	_, err := ToDir(DirOptions{FS: disk, Dir: root, Out: outRoot})
	if !errors.As(err, &damage) || len(damage.Lost) != 1 || damage.Lost[0].Last < damage.Lost[0].First {
		t.Fatalf("%v", err)
	}
	if there, _ := vfs.Exists(disk, outRoot); there {
		t.Error("something was left behind")
	}
	report, err := ToDir(DirOptions{FS: disk, Dir: root, Out: outRoot, SkipDamaged: true})
	if err != nil || len(report.Lost) != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}
