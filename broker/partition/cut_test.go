package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

// durable makes a checkpoint and what it names durable.
func (r *rig) durable(l *Log) State {
	r.t.Helper()
	r.journal.wait.Wait()
	st, ok, err := l.Checkpoint(r.journal.Synced())
	if err != nil || !ok {
		r.t.Fatal(ok, err)
	}
	if err := l.Checkpointed(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.fs.SyncFS("/data"); err != nil {
		r.t.Fatal(err)
	}
	return st
}

// TestTruncateIntoACleanedSegment cuts a compacted log at every offset, goes on for a while, and crashes: of each segment the old file or the new one
// may be there, cut or not. It is no damage, and the log ends where it ended; also if a checkpoint came between the cleaner and the cut, whose
// place is then behind a batch that is gone.
func TestTruncateIntoACleanedSegment(t *testing.T) {
	for to := int64(1); to < 24; to++ {
		for _, more := range []int{0, 1, 12} {
			for _, known := range []bool{false, true} {
				cutCleaned(t, to, more, known)
			}
		}
	}
}

// cutCleaned truncates to an offset, appends more records, and crashes; known says that a checkpoint has the cleaned segments.
func cutCleaned(t *testing.T, to int64, more int, known bool) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.Compact, cfg.Delete, cfg.SegmentBytes = true, false, 500
	l := r.create(cfg)
	for i := range 24 {
		r.must(l, produce(1, fmt.Sprint("v", i), 3, 0, int32(i), r.now))
	}
	st := r.durable(l)
	if err := l.Compact(r.now); err != nil {
		t.Fatal(err)
	}
	if known {
		st = r.durable(l)
	}
	if err := l.Truncate(to); err != nil {
		t.Fatal(err)
	}
	for i := range more {
		r.must(l, produce(1, fmt.Sprint("w", i), -1, 0, -1, r.now))
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	r.journal.wait.Wait()
	want := values(t, l)
	for seed := range uint64(10) {
		disk := r.fs.Kill()
		if seed > 0 {
			disk = r.fs.CrashClone(rand.New(rand.NewPCG(seed, 1)))
		}
		again := &rig{t: t, fs: disk, journal: r.journal, now: r.now, saved: map[string][]byte{}}
		l2, _ := again.reopen(st, cfg)
		got := values(t, l2)
		if seed == 0 && !slices.Equal(got, want) || l2.LogEnd() != l.LogEnd() || !slices.Equal(got[len(got)-min(more, len(got)):], want[len(want)-more:]) {
			t.Errorf("truncated to %d, %d more, checkpoint behind the cleaner %v, crash %d: [0, %d) %v, want [0, %d) %v", to, more, known, seed, l2.LogEnd(), got,
				l.LogEnd(), want)
		}
	}
}

// TestTornBlockAfterATruncation: the block that a truncation leaves partial is journalled before it is written again, in whatever segment; and what
// of it is in the journal anyway is not called damaged for not being in the file.
func TestTornBlockAfterATruncation(t *testing.T) {
	for _, to := range []int64{3, 9, 12, 15} { // in a closed segment, below the checkpoint, at its end, behind it
		r := newRig(t)
		cfg := DefaultConfig()
		cfg.SegmentBytes = 500
		l := r.create(cfg)
		fill := func(n int, v string) {
			for i := range n {
				r.must(l, produce(1, fmt.Sprint(v, i), -1, 0, -1, r.now))
			}
		}
		fill(12, "a")
		st := r.durable(l)
		fill(4, "b")
		if err := l.Truncate(to); err != nil {
			t.Fatal(err)
		}
		fill(2, "c")
		want := values(t, l)
		r.journal.wait.Wait()
		for _, mode := range []vfs.Mode{vfs.None, vfs.All} {
			disk := r.fs.CrashMode(rand.New(rand.NewPCG(1, 1)), mode)
			again := &rig{t: t, fs: disk, journal: r.journal, now: r.now, saved: map[string][]byte{}}
			l2, rp := again.reopen(st, cfg)
			for _, f := range rp.Findings() {
				if f.Kind == BlockFixed {
					t.Errorf("truncated to %d, %v: %+v", to, mode, f)
				}
			}
			if got := values(t, l2); !slices.Equal(got, want) {
				t.Errorf("truncated to %d, %v: %v, want %v", to, mode, got, want)
			}
		}
		if to >= st.End {
			continue
		}
		path := l.path(logName(l.segs[len(l.segs)-1].BaseOffset())) // a write that was torn took a byte of the payload of its first batch
		if err := r.fs.Flip(path, 70, 1); err != nil {
			t.Fatal(err)
		}
		again := &rig{t: t, fs: r.fs.Kill(), journal: r.journal, now: r.now, saved: map[string][]byte{}}
		l2, rp := again.reopen(st, cfg)
		if got := values(t, l2); !slices.Equal(got, want) || len(rp.Findings()) == 0 || rp.Findings()[0].Kind != BlockFixed {
			t.Errorf("truncated to %d, torn: %v, want %v; %+v", to, got, want, rp.Findings())
		}
	}
}

// TestTruncateInsideTheFirstBatch: a truncation inside the batch that holds the log start takes the whole batch. The log is then empty, and begins
// where it began; so it does after a restart.
func TestTruncateInsideTheFirstBatch(t *testing.T) {
	r := newRig(t)
	l := r.create(DefaultConfig())
	r.must(l, produce(10, "a", -1, 0, -1, r.now))
	moved := make(chan error, 1)
	l.DeleteRecords(5, func(_ int64, err error) { moved <- err })
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	before := r.durable(l)
	if err := l.Truncate(7); err != nil {
		t.Fatal(err)
	}
	r.must(l, produce(1, "b", -1, 0, -1, r.now))
	after := r.durable(l)
	if _, err := UnmarshalCheckpoint((&Checkpoint{LSN: after.LSN, Partitions: []State{after}}).Marshal()); err != nil {
		t.Fatal(err)
	}
	want := values(t, l)
	for _, st := range []State{before, after} {
		again := &rig{t: t, fs: r.fs.Kill(), journal: r.journal, now: r.now, saved: map[string][]byte{}}
		l2, _ := again.reopen(st, DefaultConfig())
		if l2.LogStart() != l.LogStart() || l2.LogEnd() != l.LogEnd() || !slices.Equal(values(t, l2), want) {
			t.Errorf("[%d, %d) %v, want [%d, %d) %v", l2.LogStart(), l2.LogEnd(), values(t, l2), l.LogStart(), l.LogEnd(), want)
		}
	}
}

// TestTruncateInsideABatch: the whole batch goes, also for a replay that finds the file cut already.
func TestTruncateInsideABatch(t *testing.T) {
	r := newRig(t)
	l := r.create(DefaultConfig())
	r.must(l, produce(5, "a", -1, 0, -1, r.now))
	r.must(l, produce(5, "b", -1, 0, -1, r.now))
	st := r.durable(l)
	if err := l.Truncate(7); err != nil || l.LogEnd() != 5 {
		t.Fatal(l.LogEnd(), err)
	}
	r.journal.wait.Wait()
	again := &rig{t: t, fs: r.fs.Kill(), journal: r.journal, now: r.now, saved: map[string][]byte{}}
	if l2, _ := again.reopen(st, DefaultConfig()); l2.LogEnd() != 5 || !slices.Equal(values(t, l2), values(t, l)) {
		t.Fatal(l2.LogEnd(), values(t, l2))
	}
}
