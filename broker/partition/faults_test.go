package partition

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// onFaulty puts a failing disk under a rig.
func (r *rig) onFaulty() *vfs.Faulty {
	f := vfs.NewFaulty(r.fs)
	r.env.FS = f
	return f
}

func TestFailedWriteStopsThePartition(t *testing.T) {
	r := newRig(t)
	var incidents []Incident
	r.env.Incident = func(i Incident) { incidents = append(incidents, i) }
	disk := r.onFaulty()
	l := r.create(DefaultConfig())
	woken := make(chan struct{}, 1)
	defer l.Watch(woken)()
	r.must(l, produce(2, "v", -1, -1, -1, r.now))
	<-woken
	disk.Inject(vfs.Fault{Op: vfs.OpWrite})
	if err := l.Flush(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	<-woken
	if _, err := r.append(l, produce(1, "v", -1, -1, -1, r.now)); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	if _, err := l.Read(ReadRequest{MaxBytes: 100, UpTo: 2}); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	if len(incidents) != 1 || incidents[0].Class != "partition-stopped" || incidents[0].Next != "chronik wal verify --live /data" {
		t.Fatalf("%+v", incidents)
	}
	if used := r.env.Pool.Used(); used != 0 {
		t.Fatalf("the stopped partition keeps %d bytes of the node's memory", used)
	}
	if disk.Count(vfs.OpSync) != 0 {
		t.Fatal("a failed write was followed by a sync")
	}
}

func TestStoppedPartitionDoesNotHoldTheJournal(t *testing.T) {
	r := newRig(t)
	var held []wal.LSN
	r.env.Hold = func(_ Identity, after, upTo wal.LSN) (string, wal.LSN, error) {
		held = append(held, after, upTo)
		return "evidence/held", upTo, nil
	}
	l := r.create(DefaultConfig())
	r.must(l, produce(1, "v", -1, -1, -1, r.now))
	r.journal.wait.Wait()
	st, _, err := l.Checkpoint(r.journal.Synced())
	if err != nil {
		t.Fatal(err)
	}
	r.must(l, produce(1, "w", -1, -1, -1, r.now))
	r.journal.wait.Wait()
	l.Stop(errDisk)
	for range 2 {
		now, ok, err := l.Checkpoint(r.journal.Synced())
		if err != nil || !ok || now.LSN != st.LSN || now.Held != r.journal.Synced() || now.HeldFile != "evidence/held" || now.End != 1 {
			t.Fatalf("%+v, %v, %v", now, ok, err)
		}
	}
	if !slices.Equal(held, []wal.LSN{st.LSN, r.journal.Synced()}) {
		t.Fatal(held)
	}
}

func TestFullDiskIsNoFailure(t *testing.T) {
	r := newRig(t)
	disk := r.onFaulty()
	l := r.create(DefaultConfig())
	var want []string
	for i := range 5 {
		a := r.must(l, produce(1, fmt.Sprint("v", i), -1, -1, -1, r.now))
		want = append(want, fmt.Sprintf("%d:v%d-0", a.Base, i))
	}
	disk.Inject(vfs.Fault{Op: vfs.OpWrite, Err: syscall.ENOSPC})
	if err := l.Flush(); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	disk.Inject(vfs.Fault{Op: vfs.OpWrite, Err: syscall.ENOSPC})
	if _, ok, err := l.Checkpoint(0); ok || !errors.Is(err, ErrNoSpace) {
		t.Fatal(ok, err)
	}
	if got := values(t, l); !slices.Equal(got, want) {
		t.Fatalf("%v", got)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := values(t, l); !slices.Equal(got, want) {
		t.Fatalf("%v", got)
	}
}

func TestPoisonedJournal(t *testing.T) {
	r := newRig(t)
	r.connect(&fakeJournal{})
	l := r.create(DefaultConfig())
	r.journal.sync(-1, nil)
	got := make(chan error, 2)
	l.Append(produce(1, "v", -1, -1, -1, r.now), AppendInfo{}, func(_ Appended, err error) { got <- err })
	r.journal.sync(-1, errDisk)
	if err := <-got; !errors.Is(err, errDisk) || !errors.Is(err, ErrStopped) || l.HighWatermark() != 0 {
		t.Fatal(err, l.HighWatermark())
	}
	l.Append(produce(1, "v", -1, -1, -1, r.now), AppendInfo{}, func(_ Appended, err error) { got <- err })
	if err := <-got; !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
}

func TestTailMemoryIsBounded(t *testing.T) {
	r := newRig(t)
	r.connect(&fakeJournal{auto: true})
	r.env.Pool = NewPool(64 << 10)
	defer r.env.Pool.Close()
	l := r.create(DefaultConfig())
	var all sync.WaitGroup
	most := int64(0)
	for i := range 400 {
		all.Add(1)
		l.Append(produce(20, fmt.Sprint("v", i), -1, -1, -1, r.now), AppendInfo{}, func(_ Appended, err error) {
			if err != nil {
				t.Error(err)
			}
			all.Done()
		})
		most = max(most, r.env.Pool.Used())
	}
	all.Wait()
	if most > 64<<10+maxChunk {
		t.Fatalf("%d bytes in memory", most)
	}
	if n := len(values(t, l)); n != 8000 {
		t.Fatal(n)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if used := r.env.Pool.Used(); used != 0 {
		t.Fatalf("%d bytes in memory after a flush", used)
	}
}

// TestTruncateToTheStart: a truncation that takes everything, and reached the files before the node was killed, leaves an empty log, not a damaged one.
func TestTruncateToTheStart(t *testing.T) {
	r := newRig(t)
	l := r.create(DefaultConfig())
	r.must(l, produce(1, "a", 1, 0, 0, r.now))
	st, _, err := l.Checkpoint(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Truncate(0); err != nil {
		t.Fatal(err)
	}
	r.journal.wait.Wait()
	again := &rig{t: t, fs: r.fs.Kill(), journal: r.journal, now: r.now, saved: map[string][]byte{}}
	l2, _ := again.reopen(st, DefaultConfig())
	if l2.LogEnd() != 0 || l2.Stopped() != nil {
		t.Fatalf("log end %d, stopped: %v", l2.LogEnd(), l2.Stopped())
	}
	again.must(l2, produce(1, "b", 1, 0, 0, r.now))
}

func TestTruncate(t *testing.T) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.SegmentBytes = 500
	l := r.create(cfg)
	fill := func(l *Log, seq int32, n int, v string) {
		for i := range n {
			r.must(l, produce(2, fmt.Sprint(v, i), 1, 0, seq+int32(2*i), r.now))
		}
	}
	fill(l, 0, 6, "a")
	st, _, err := l.Checkpoint(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.fs.SyncFS("/data"); err != nil {
		t.Fatal(err)
	}
	fill(l, 12, 4, "b")
	kept := values(t, l)[:8]
	if err := l.Truncate(8); err != nil {
		t.Fatal(err)
	}
	if got := values(t, l); !slices.Equal(got, kept) || l.LogEnd() != 8 {
		t.Fatalf("%v", got)
	}
	if _, err := r.append(l, produce(1, "x", 1, 0, 20, r.now)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
	if a := r.must(l, produce(2, "a3", 1, 0, 6, r.now)); !a.Duplicate || a.Base != 6 {
		t.Fatalf("%+v", a)
	}
	fill(l, 8, 5, "c")
	want := values(t, l)
	checkpoint := func(r *rig, l *Log) {
		t.Helper()
		st, ok, err := l.Checkpoint(r.journal.Synced())
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if err := summed(r.fs, "/data/topics/t-0", st); err != nil {
			t.Fatal(err)
		}
	}
	r.journal.wait.Wait()
	for seed := range uint64(20) { // the files may be cut or not, and grown again or not
		again := &rig{t: t, fs: r.fs.CrashClone(rand.New(rand.NewPCG(seed, 1))), journal: r.journal, now: r.now, saved: map[string][]byte{}}
		l2, _ := again.reopen(st, cfg)
		if got := values(t, l2); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %v, want %v", seed, got, want)
		}
		if a := again.must(l2, produce(2, "c4", 1, 0, 16, r.now)); !a.Duplicate || a.Base != 16 {
			t.Fatalf("%+v", a)
		}
		checkpoint(again, l2)
	}
	checkpoint(r, l)
}

func TestTornBlockIsRestored(t *testing.T) {
	r := newRig(t)
	l := r.create(DefaultConfig())
	r.must(l, produce(3, "a", -1, -1, -1, r.now))
	st, _, err := l.Checkpoint(0)
	if err != nil {
		t.Fatal(err)
	}
	r.must(l, produce(3, "b", -1, -1, -1, r.now))
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	want := values(t, l)
	r.journal.wait.Wait()
	path := "/data/topics/t-0/" + logName(0)
	data, err := r.fs.Bytes(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data { // the whole block was torn, below the checkpoint too
		data[i] = 0
	}
	if err := r.fs.SetBytes(path, data); err != nil {
		t.Fatal(err)
	}
	l2, rp := r.reopen(st, DefaultConfig())
	if got := values(t, l2); !slices.Equal(got, want) {
		t.Fatalf("%v", got)
	}
	kinds := []FindingKind{}
	for _, f := range rp.Findings() {
		kinds = append(kinds, f.Kind)
	}
	if !slices.Equal(kinds, []FindingKind{BlockFixed, Rewritten}) {
		t.Fatal(kinds)
	}
}

func TestCompact(t *testing.T) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.Compact, cfg.Delete = 600, true, false
	l := r.create(cfg)
	for i := range 40 {
		r.must(l, produce(1, fmt.Sprint("v", i), -1, -1, -1, r.now)) // one key
	}
	before := l.Size()
	if err := l.Compact(r.now); err != nil || l.Size() != before {
		t.Fatal("compacted above the last checkpoint", err)
	}
	st, _, err := l.Checkpoint(0)
	if err == nil {
		err = l.Checkpointed()
	}
	if err != nil {
		t.Fatal(err)
	}
	all := values(t, l)
	if err := l.Compact(r.now); err != nil {
		t.Fatal(err)
	}
	got := values(t, l)
	if len(got) >= 10 || l.Size() >= before/2 || got[len(got)-1] != all[len(all)-1] || l.LogEnd() != 40 {
		t.Fatalf("%d bytes, %v", l.Size(), got)
	}
	r.journal.wait.Wait()
	for _, mode := range []vfs.Mode{vfs.All, vfs.None, vfs.Random, vfs.ByFile} { // the new files, the old ones, some of each
		again := &rig{t: t, fs: r.fs.CrashMode(rand.New(rand.NewPCG(3, 1)), mode), journal: r.journal, now: r.now, saved: map[string][]byte{}}
		if mode != vfs.All {
			continue // nothing was synced in this test: only kill -9 leaves the checkpointed files
		}
		l2, _ := again.reopen(st, cfg)
		if now := values(t, l2); !slices.Equal(now, got) {
			t.Fatalf("mode %v: %v, want %v", mode, now, got)
		}
	}
}

// TestStopGivesMemoryBack: a stopped partition that kept its tail would let every producer of the node wait for ever.
func TestStopGivesMemoryBack(t *testing.T) {
	r := newRig(t)
	l := r.create(DefaultConfig())
	r.must(l, produce(1, "v", -1, -1, -1, r.now))
	r.journal.wait.Wait()
	if r.env.Pool.Used() == 0 {
		t.Fatal("the tail holds nothing")
	}
	l.Stop(errDisk)
	if used := r.env.Pool.Used(); used != 0 {
		t.Fatalf("%d bytes are still held", used)
	}
}

// TestRollWithoutRoom: neither a full disk nor a process out of descriptors, at any file that a roll makes, stops the partition; the next flush
// goes on.
func TestRollWithoutRoom(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		for _, file := range []string{".snapshot", ".log", ".index", ".timeindex", "leader-epoch-checkpoint"} {
			r := newRig(t)
			disk := r.onFaulty()
			cfg := DefaultConfig()
			cfg.SegmentBytes = 300
			l := r.create(cfg)
			var want []string
			for i := range 8 {
				a := r.must(l, produce(1, fmt.Sprint("v", i), 7, 0, int32(i), r.now))
				want = append(want, fmt.Sprintf("%d:v%d-0", a.Base, i))
			}
			disk.Inject(vfs.Fault{Op: vfs.OpCreate, Match: file, Err: cause})
			if err := l.Flush(); !errors.Is(err, ErrNoSpace) || !errors.Is(err, cause) {
				t.Fatalf("%v at %s: %v", cause, file, err)
			}
			if err := l.Flush(); err != nil {
				t.Fatalf("after %v at %s: %v", cause, file, err)
			}
			if got := values(t, l); !slices.Equal(got, want) {
				t.Fatalf("after %v at %s: %v", cause, file, got)
			}
		}
	}
}

// TestFailedJournalHoldsNoPartition: a journal that fails ends the node, not its partitions: a checkpoint that is under way must not list
// them as stopped, or they would still be after the restart.
func TestFailedJournalHoldsNoPartition(t *testing.T) {
	r := newRig(t)
	r.connect(&fakeJournal{})
	r.env.Hold = func(Identity, wal.LSN, wal.LSN) (string, wal.LSN, error) {
		t.Error("frames were set aside")
		return "evidence/held", 99, nil
	}
	l := r.create(DefaultConfig())
	r.journal.sync(-1, nil)
	st, ok, err := l.Checkpoint(r.journal.Synced())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	got := make(chan error, 1)
	l.Append(produce(1, "v", -1, -1, -1, r.now), AppendInfo{}, func(_ Appended, err error) { got <- err })
	r.journal.sync(-1, errDisk)
	<-got
	if now, ok, err := l.Checkpoint(r.journal.Synced()); err != nil || !ok || now.Held != 0 || now.LSN != st.LSN {
		t.Fatalf("%+v, %v, %v", now, ok, err)
	}
}

// TestInterruptedSnapshotGoes: a stop that a power loss interrupted may leave an empty producer snapshot at the log's end, which nothing would
// write again once the log goes on; a good one stays.
func TestInterruptedSnapshotGoes(t *testing.T) {
	for content, stays := range map[string]bool{"": false, string(segment.EncodeSnapshot(nil)): true} {
		r := newRig(t)
		l := r.create(DefaultConfig())
		r.must(l, produce(3, "a", -1, -1, -1, r.now))
		st, _, err := l.Checkpoint(0)
		if err != nil {
			t.Fatal(err)
		}
		r.journal.wait.Wait()
		name := filepath.Join("/data/topics/t-0", segment.Snapshot.Name(3))
		if err := vfs.WriteFile(r.fs, name, []byte(content)); err != nil {
			t.Fatal(err)
		}
		r.reopen(st, DefaultConfig())
		if there, err := vfs.Exists(r.fs, name); err != nil || there != stays {
			t.Errorf("a snapshot of %d bytes is there: %v, want %v (%v)", len(content), there, stays, err)
		}
	}
}

// TestShapes: every segment keeps the choices of its roll, through a change of configuration, truncations and replays, and its indexes follow them.
func TestShapes(t *testing.T) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 1000, 100
	l := r.create(cfg)
	fill := func(v string) {
		for i := range 15 {
			r.must(l, produce(2, fmt.Sprint(v, i), -1, 0, -1, r.now))
		}
	}
	truncate := func(to int64) {
		if err := l.Truncate(to); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, want ...int32) State {
		t.Helper()
		st, ok, err := l.Checkpoint(r.journal.Synced())
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		var got []int32
		for i, s := range st.Segments {
			if n := len(got); n == 0 || got[n-1] != s.Shape.IndexInterval {
				got = append(got, s.Shape.IndexInterval)
			}
			o := segment.VerifyOptions{Size: s.Size, Exact: true, IndexIntervalBytes: s.Shape.IndexInterval, Sealed: i < len(st.Segments)-1}
			if _, err := segment.Verify(r.fs, l.dir, s.Base, o, func(f segment.Finding) { t.Errorf("%s: %+v", when, f) }); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: intervals %v, want %v", when, got, want)
		}
		return st
	}
	fill("a")
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	truncate(0)
	cfg.IndexIntervalBytes = 300
	l.SetConfig(cfg)
	fill("b")
	r.journal.wait.Wait()
	other := cfg
	other.IndexIntervalBytes = 700
	l, _ = r.reopen(State{}, other)
	check("replay of everything", 100, 300)
	fill("c")
	st := check("another configuration", 100, 300, 700)
	truncate(40)
	fill("d")
	r.journal.wait.Wait()
	l, _ = r.reopen(st, other)
	check("a truncation across a roll", 100, 300, 700)
	truncate(2)
	check("a truncation to the first segment", 100)
}

// TestStopWithoutRoom: a stop that finds no room for the files of a clean stop says so, and no sum promises what was not written.
func TestStopWithoutRoom(t *testing.T) {
	for _, file := range []string{".snapshot", segment.EpochFileName} {
		r := newRig(t)
		disk := r.onFaulty()
		l := r.create(DefaultConfig())
		r.must(l, produce(1, "v", -1, -1, -1, r.now))
		disk.Inject(vfs.Fault{Op: vfs.OpWrite, Match: file, Err: syscall.ENOSPC})
		if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%s: %v", file, err)
		}
		if _, _, err := l.Checkpoint(r.journal.Synced()); err != nil {
			t.Fatal(err)
		}
		sums, err := segment.OpenSums(r.fs, "/data/topics/t-0")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sums.Entries() {
			if there, err := vfs.Exists(r.fs, filepath.Join("/data/topics/t-0", s.Kind.Name(s.Base))); err != nil || !there {
				t.Errorf("no room for %s: a sum of %s, which is not there, %v", file, s.Kind.Name(s.Base), err)
			}
		}
	}
}
