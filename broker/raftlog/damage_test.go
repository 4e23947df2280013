package raftlog

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// build makes a disk with two snapshots and entries above, and stops cleanly.
func build(t *testing.T) (*vfs.Mem, *model) {
	t.Helper()
	disk, s, m := grow(t)
	mustClose(t, s)
	return disk, m
}

func grow(t *testing.T) (*vfs.Mem, *Storage, *model) {
	t.Helper()
	disk := vfs.NewMem(7)
	s, m := mustFound(t, disk), newModel()
	add := func(x step) {
		t.Helper()
		m.do(x)
		if err := do(s, x); err != nil {
			t.Fatal(err)
		}
	}
	entry := func(index uint64) *raftpb.Entry {
		return &raftpb.Entry{Index: &index, Term: new(uint64(2)), Data: []byte("entry")}
	}
	for i := uint64(2); i <= 9; i++ {
		add(step{rd: raft.Ready{HardState: hard(1+i/2, 1, i), Entries: []*raftpb.Entry{entry(i)}}})
		if i == 4 || i == 7 {
			add(step{snapshot: i})
		}
	}
	return disk, s, m
}

func path(elements ...string) string { return filepath.Join(append([]string{testDir}, elements...)...) }

func flip(t *testing.T, disk *vfs.Mem, name string, off int64) {
	t.Helper()
	if err := disk.Flip(name, off, 0x10); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, disk *vfs.Mem, name string) {
	t.Helper()
	if err := disk.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// TestSmallDamage damages one part of what is kept twice: the state is the same, and the report says so.
func TestSmallDamage(t *testing.T) {
	for name, x := range map[string]struct {
		damage func(*testing.T, *vfs.Mem)
		notice string
	}{
		"one hardstate":        {func(t *testing.T, d *vfs.Mem) { flip(t, d, path("hardstate.0"), 50) }, "body CRC differs"},
		"hardstate missing":    {func(t *testing.T, d *vfs.Mem) { remove(t, d, path("hardstate.1")) }, "missing"},
		"newest snapshot":      {func(t *testing.T, d *vfs.Mem) { flip(t, d, path(snapDir, snapName(7, 2)), 100) }, "CRC differs; an older one is used"},
		"snapshot half there":  {func(t *testing.T, d *vfs.Mem) { shorten(t, d, path(snapDir, snapName(7, 2)), 90) }, "cut off inside the head"},
		"temporary snapshot":   {func(t *testing.T, d *vfs.Mem) { place(t, d, path(snapDir, snapName(8, 2)+vfs.TempSuffix)) }, ""},
		"snapshot of old name": {func(t *testing.T, d *vfs.Mem) { place(t, d, path(snapDir, "3-2.snap")) }, "not a snapshot file"},
	} {
		t.Run(name, func(t *testing.T) {
			disk, m := build(t)
			x.damage(t, disk)
			before := disk.String()
			report, err := Inspect(testOptions(disk))
			if err != nil || report.Damage != nil || disk.String() != before {
				t.Fatalf("inspect: %v, %v", err, report)
			}
			if !strings.Contains(strings.Join(report.Notices, "; "), x.notice) || x.notice == "" && len(report.Notices) > 0 {
				t.Fatalf("notices %q, want %q", report.Notices, x.notice)
			}
			s, _ := mustOpen(t, disk)
			if strings.Contains(x.notice, "older one") || strings.Contains(x.notice, "cut off") {
				older := &raftpb.Snapshot{Data: []byte("state at 4"), Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(4)), Term: new(uint64(2)), ConfState: testConf}}
				if got := s.snapshot; !bytes.Equal(got.GetData(), older.GetData()) || s.log.last() != 9 || s.log.first() > 5 {
					t.Fatalf("fell back to %v, log %d to %d", got, s.log.first(), s.log.last())
				}
				return
			}
			m.check(t, s, true)
			mustClose(t, s)
			if report, err = Inspect(testOptions(disk)); err != nil || report.HardStateCopies[0].State != statefile.OK || report.HardStateCopies[1].State != statefile.OK {
				t.Fatalf("not mended: %v, %+v", err, report)
			}
		})
	}
}

func shorten(t *testing.T, disk *vfs.Mem, name string, n int) {
	t.Helper()
	b, err := disk.Bytes(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.SetBytes(name, b[:n]); err != nil {
		t.Fatal(err)
	}
}

func place(t *testing.T, disk *vfs.Mem, name string) {
	t.Helper()
	if err := vfs.WriteFile(disk, name, []byte("not a snapshot")); err != nil {
		t.Fatal(err)
	}
}

// TestBigDamage destroys what cannot be repaired: Open refuses with an explanation and changes nothing.
func TestBigDamage(t *testing.T) {
	for name, x := range map[string]struct {
		damage func(*testing.T, *vfs.Mem)
		file   string
		reason string
	}{
		"both hardstates": {func(t *testing.T, d *vfs.Mem) {
			flip(t, d, path("hardstate.0"), 50)
			flip(t, d, path("hardstate.1"), 8)
		}, "hardstate", "no usable copy"},
		"hardstates missing": {func(t *testing.T, d *vfs.Mem) { remove(t, d, path("hardstate.0")); remove(t, d, path("hardstate.1")) }, "hardstate", "neither copy exists"},
		"all snapshots": {func(t *testing.T, d *vfs.Mem) {
			flip(t, d, path(snapDir, snapName(7, 2)), 1)
			remove(t, d, path(snapDir, snapName(4, 2)))
		}, snapDir, "no intact snapshot"},
		"hardstates restored": {rollBack, "hardstate", "rolled back"},
	} {
		t.Run(name, func(t *testing.T) {
			disk, _ := build(t)
			x.damage(t, disk)
			before := disk.String()
			_, _, err := Open(testOptions(disk))
			var damage *DamageError
			if !errors.As(err, &damage) || !strings.Contains(damage.File, x.file) || !strings.Contains(damage.Reason, x.reason) || damage.Lost == "" || damage.Next == "" {
				t.Fatalf("open: %v (%+v)", err, damage)
			}
			if disk.String() != before {
				t.Fatal("a refused start changed the disk")
			}
			report, err := Inspect(testOptions(disk))
			if err != nil || report.Damage == nil || report.Damage.Reason != damage.Reason {
				t.Fatalf("inspect: %v, %+v", err, report)
			}
		})
	}
}

// rollBack gives both HardState copies the content of the founding.
func rollBack(t *testing.T, disk *vfs.Mem) {
	old := vfs.NewMem(1)
	s := mustFound(t, old)
	mustClose(t, s)
	for _, name := range statefile.Names(path(hardBase)) {
		b, err := old.Bytes(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := disk.SetBytes(name, b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissing(t *testing.T) {
	if _, _, err := Open(testOptions(vfs.NewMem(1))); !errors.Is(err, ErrMissing) {
		t.Fatalf("open: %v", err)
	}
	if _, err := Inspect(testOptions(vfs.NewMem(1))); !errors.Is(err, ErrMissing) {
		t.Fatalf("inspect: %v", err)
	}
}

// TestFailedWrite makes each changing call of a Ready fail in turn: Save says so, and nothing is accepted afterwards.
func TestFailedWrite(t *testing.T) {
	for n := 0; ; n++ {
		faulty := vfs.NewFaulty(vfs.NewMem(3))
		s, m := mustFound(t, faulty), newModel()
		faulty.PowerOffAfter(n)
		x := step{rd: raft.Ready{HardState: hard(2, 1, 1), Entries: []*raftpb.Entry{{Index: new(uint64(2)), Term: new(uint64(2)), Data: []byte("x")}}}}
		err := do(s, x)
		if err == nil {
			if n < 6 {
				t.Fatalf("a Ready with entries and a vote took %d changing calls", n)
			}
			break
		}
		m.check(t, s, true)
		faulty.Clear()
		if again := do(s, x); again == nil || again.Error() != err.Error() {
			t.Fatalf("failed with %v, then with %v", err, again)
		}
	}
}

// TestCompaction checks that snapshots free segments, and that nothing is written for a Ready that only commits.
func TestCompaction(t *testing.T) {
	synctest.Test(t, testCompaction)
}

func testCompaction(t *testing.T) {
	counted := vfs.NewFaulty(vfs.NewMem(5))
	s, m := mustFound(t, counted), newModel()
	for i := uint64(2); i < 200; i++ {
		e := &raftpb.Entry{Index: &i, Term: new(uint64(1)), Data: make([]byte, 5000)}
		for _, x := range []step{{rd: raft.Ready{HardState: hard(1, 0, i-1), Entries: []*raftpb.Entry{e}}}, {rd: raft.Ready{HardState: hard(1, 0, i)}}, {snapshot: i}} {
			if x.snapshot%10 != 0 {
				continue
			}
			synctest.Wait() // for what the log does in the background
			calls := counted.Count(0)
			m.do(x)
			if err := do(s, x); err != nil {
				t.Fatal(err)
			}
			if len(x.rd.Entries) == 0 && x.snapshot == 0 && counted.Count(0) != calls {
				t.Fatalf("commit %d made %d calls", i, counted.Count(0)-calls)
			}
		}
	}
	if n := s.wal.LiveBytes(); n > 400<<10 {
		t.Fatalf("%d bytes live after 1 MB of entries and a snapshot every 50 KB", n)
	}
	m.check(t, s, true)
	mustClose(t, s)
	s, _ = mustOpen(t, counted)
	m.check(t, s, true)
	mustClose(t, s)
}

var flipStride = flag.Int("flip.stride", 53, "TestFlips flips every nth byte")

// TestFlips flips a bit in every file of raft/, byte after byte, after a clean stop and after a kill: the state is the same, or the damage is named.
// Nothing is silently another state: the marker proves even the last group.
func TestFlips(t *testing.T) {
	disk, m := build(t)
	t.Run("clean stop", func(t *testing.T) { flips(t, disk, m) })
	disk, s, m := grow(t)
	killed := disk.Kill()
	mustClose(t, s)
	t.Run("kill", func(t *testing.T) { flips(t, killed, m) })
}

func flips(t *testing.T, disk *vfs.Mem, m *model) {
	counts := map[string]int{}
	for _, name := range disk.Files() {
		content, err := disk.Bytes(name)
		if err != nil {
			t.Fatal(err)
		}
		stride := min(*flipStride, 1+len(content)/64)
		for off := 0; off < len(content); off += stride {
			copied := disk.Kill()
			if err := copied.Flip(name, int64(off), 1<<(off%8)); err != nil {
				t.Fatal(err)
			}
			counts[flipped(t, copied, m, fmt.Sprintf("%s at %d", name, off))]++
		}
	}
	t.Logf("%v", counts)
	if counts["refused as damaged"] == 0 {
		t.Error("no flip was found to be damage")
	}
}

// flipped opens a damaged directory and says what came of it.
func flipped(t *testing.T, disk *vfs.Mem, m *model, where string) string {
	t.Helper()
	s, report, err := Open(testOptions(disk))
	var damage *DamageError
	switch {
	case errors.As(err, &damage):
		if damage.File == "" || damage.Reason == "" || damage.Lost == "" || damage.Next == "" {
			t.Fatalf("%s: %+v", where, damage)
		}
		return "refused as damaged"
	case errors.Is(err, ErrVersion) || err != nil && strings.Contains(err.Error(), "unknown format version"):
		return "refused as unknown version"
	case err != nil:
		t.Fatalf("%s: %v", where, err)
	}
	defer mustClose(t, s) // its goroutines
	switch {
	case m.differs(s, false) == "":
		return "the same state"
	case len(report.Notices) > 0 && s.snapshot.GetMetadata().GetIndex() == 4 && s.log.last() == m.last() && s.hard.GetVote() == m.hard.GetVote():
		return "an older snapshot"
	}
	t.Fatalf("%s: %s; report %+v", where, m.differs(s, false), report)
	return ""
}

// TestTornEnd leaves the end of the last group as an interrupted write does, without a marker: it is cut, and its bytes are saved before.
func TestTornEnd(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	cut := 0
	for i := 0; i < 300 || cut == 0 && i < 5000; i++ { // which writes are in flight depends on goroutines
		disk := vfs.NewMem(7)
		s, before := mustFound(t, disk), newModel()
		var torn *vfs.Mem
		var mu sync.Mutex // the log has goroutines of its own
		over := false
		disk.SetHook(func(op vfs.Op) {
			mu.Lock()
			defer mu.Unlock()
			if !over && torn == nil && rng.IntN(3) == 0 {
				torn = disk.CrashClone(rng)
			}
		})
		entry := &raftpb.Entry{Index: new(uint64(2)), Term: new(uint64(1)), Data: make([]byte, 30_000)}
		after := before.clone()
		x := step{rd: raft.Ready{HardState: hard(1, 0, 1), Entries: []*raftpb.Entry{entry}}}
		after.do(x)
		if err := do(s, x); err != nil {
			t.Fatal(err)
		}
		disk.SetHook(nil)
		mu.Lock()
		over = true
		mu.Unlock()
		mustClose(t, s)
		if torn == nil {
			continue
		}
		o := testOptions(torn)
		saved := 0
		o.Evidence = func(f wal.Finding) error {
			saved++
			if f.File == "" || f.Length == 0 {
				t.Fatalf("evidence of %+v", f)
			}
			return nil
		}
		s, report, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if saved != len(report.Cut) {
			t.Fatalf("%d cuts, %d saved", len(report.Cut), saved)
		}
		cut += saved
		mustClose(t, s)
		if between(s, before, after) == nil {
			t.Fatalf("neither %s nor %s", before.differs(s, false), after.differs(s, false))
		}
	}
	if cut == 0 {
		t.Error("nothing was ever cut")
	}
}
