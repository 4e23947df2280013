package repair

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// frames lists the LSNs of a partition's batches in the journal, and the journal as it is.
func frames(t testing.TB, fs vfs.FS, topic string) (lsns []wal.LSN, inv *wal.Inventory) {
	t.Helper()
	var id [16]byte
	inv, err := wal.Inspect(wal.InspectOptions{FS: fs, Dir: filepath.Join(root, datadir.WalDir), Kind: wal.Journal}, func(g *wal.Group) error {
		for i := range g.Frames {
			f := &g.Frames[i]
			if f.Type == wal.Opened && string(f.Payload) == topic {
				id = f.ID
			}
			if f.Type == wal.Batch && f.ID == id {
				lsns = append(lsns, f.LSN)
			}
		}
		return nil
	})
	must(t, err)
	return lsns, inv
}

// TestTruncateAt ends the journal before each of its batches: what was before is served, the loss is what the node then lacks, nothing is
// appended behind the cut, and the directory is clean.
func TestTruncateAt(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 70, "v") // more than one segment
	all := n.read("t", 0)
	left := n.kill()
	lsns, inv := frames(t, left, "t")
	if len(lsns) != 70 || len(inv.Segments) < 2 {
		t.Fatalf("%d batches in %d segments", len(lsns), len(inv.Segments))
	}
	for _, i := range []int{1, 7, 20, 45, 64, 69} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			m := left.Kill()
			p, n := repaired(t, m, func(d *Draft) error { return TruncateJournal(d, lsns[i]) })
			if p.LossTotal != int64(2*(70-i)) || (len(p.NeedsAccept) == 1) != (lsns[i] <= inv.Floor) {
				t.Fatalf("the plan loses %d: %+v; it needs %q", p.LossTotal, p.Loss, p.NeedsAccept)
			}
			if got := n.read("t", 0); !slices.Equal(got, all[:2*i]) {
				t.Fatalf("%d records are served, %d expected", len(got), 2*i)
			}
			n.produce("t", 0, 2, "after")
			m = n.kill()
			mustVerify(t, m)
			_, now := frames(t, m, "t")
			if len(now.Cuts) == 0 || now.Cuts[0].First != lsns[i] || now.Cuts[0].Resume <= inv.Highest {
				t.Fatalf("the cut is recorded as %+v; LSN %d was seen", now.Cuts, inv.Highest)
			}
			again := startNode(t, m)
			if got := again.read("t", 0); len(got) != 2*i+4 || got[2*i] != "after0.a" {
				t.Fatalf("%d records after the next start", len(got))
			}
			wantIs(t, undo(again.kill(), p), ErrStale, "since it was applied")
		})
	}
}

// TestTruncateBehindCheckpoint: what a checkpoint counts is in the partition logs and is not lost.
func TestTruncateBehindCheckpoint(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 10, "v")
	n.stop() // with a checkpoint
	n = startNode(t, n.fs)
	n.produce("t", 0, 5, "w")
	all := n.read("t", 0)
	left := n.kill()
	_, inv := frames(t, left, "t")
	p, n := repaired(t, left, func(d *Draft) error { return TruncateJournal(d, inv.First) })
	if p.LossTotal != 10 {
		t.Fatalf("%+v", p.Loss)
	}
	if got := n.read("t", 0); !slices.Equal(got, all[:20]) {
		t.Fatalf("%d records are served", len(got))
	}
}

// TestTruncateTail: the first torn or undecided byte ends the journal.
func TestTruncateTail(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 10, "v")
	all := n.read("t", 0)
	left := n.kill()
	if _, err := New(options(left), TruncateTail); !errors.Is(err, ErrNothing) {
		t.Fatalf("a clean directory: %v", err)
	}
	// A marker says that the last group is durable: without it, damage to the group is not decided.
	last := lastGroup(t, left)
	must(t, truncate(left, last.File, last.Offset+last.Size))
	must(t, left.Flip(last.File, last.Offset+700, 1))
	found := verify(t, left)
	if len(found) == 0 || found[0].Verdict != wal.Undecided {
		t.Fatalf("the damage is not undecided: %+v", found)
	}
	p, n := repaired(t, left, TruncateTail)
	if p.LossTotal != 2 || p.Loss[0].Acknowledged != AckUnknown {
		t.Fatalf("%+v", p)
	}
	if got := n.read("t", 0); !slices.Equal(got, all[:18]) {
		t.Fatalf("%d records are served", len(got))
	}
}

// TestTruncateTorn: an interrupted write is cut, with and without its LSN as the target; nothing of it was acknowledged.
func TestTruncateTorn(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 3, "v")
	all := n.read("t", 0)
	n.large = 20_000
	n.produce("t", 0, 1, "w")
	left := n.kill()
	last := lastGroup(t, left)
	must(t, truncate(left, last.File, last.Offset+wal.BlockSize))
	if found := verify(t, left); len(found) != 1 || found[0].Verdict != wal.Torn {
		t.Fatalf("the damage is not torn: %+v", found)
	}
	for _, verb := range []func(*Draft) error{TruncateTail, func(d *Draft) error { return TruncateJournal(d, last.Head.FirstLSN) }} {
		p, n := repaired(t, left.Kill(), verb)
		if p.LossTotal != 2 || p.Loss[0].Acknowledged != AckNo || len(p.NeedsAccept) != 0 {
			t.Fatalf("%+v", p.Loss)
		}
		if got := n.read("t", 0); !slices.Equal(got, all) {
			t.Fatalf("%d records are served", len(got))
		}
	}
}

// lastGroup is the last group with a frame of the journal.
func lastGroup(t testing.TB, fs vfs.FS) wal.Group {
	t.Helper()
	var last wal.Group
	_, err := wal.Inspect(wal.InspectOptions{FS: fs, Dir: filepath.Join(root, datadir.WalDir), Kind: wal.Journal}, func(g *wal.Group) error {
		last = *g
		return nil
	})
	must(t, err)
	return last
}

// TestTruncateThatHarms: the frame that says that a topic was deleted cannot be cut off, since the topic's files are gone.
func TestTruncateThatHarms(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 5, "v")
	n.stop()
	n = startNode(t, n.fs)
	_, inv := frames(t, n.fs, "t")
	must(t, n.b.DeleteTopic(t.Context(), n.b.Image().Topics["t"].ID))
	m := n.kill()
	before := treeHash(t, m)
	_, err := New(options(m), func(d *Draft) error { return TruncateJournal(d, inv.Highest+1) })
	wantIs(t, err, ErrRefused, "would find what is in order now: partition t-0: stopped")
	if treeHash(t, m) != before {
		t.Fatal("something was changed")
	}
}

// TestCrashInTruncate: killed at any call, a cut of a node's journal is finished or taken back, and the node serves what it says.
func TestCrashInTruncate(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 6, "v")
	all := n.read("t", 0)
	m := n.kill().CrashMode(rand.New(rand.NewPCG(1, 1)), vfs.All) // all of it is durable
	lsns, _ := frames(t, m, "t")
	p, old, _ := hashes(t, m, func(d *Draft) error { return TruncateJournal(d, lsns[3]) })
	apply := func(fsys vfs.FS) error {
		_, err := Apply(ApplyOptions{FS: fsys, Dir: root, AcceptLoss: &p.LossTotal, Now: clock}, p)
		return err
	}
	crash(t, m, apply, func(n int, how string, left *vfs.Mem) {
		back := left.Kill()
		if err := undo(back, p); err != nil && !errors.Is(err, ErrUnknown) || treeHash(t, back) != old {
			t.Fatalf("%s after %d calls: undo: %v", how, n, err)
		}
		must(t, apply(left))
		mustVerify(t, left)
		if n%15 == 0 && how == "power cut" {
			again := startNode(t, left)
			if got := again.read("t", 0); !slices.Equal(got, all[:6]) {
				t.Fatalf("%s after %d calls: %d records are served", how, n, len(got))
			}
			again.stop()
		}
	})
}
