package repair

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// damagedGroup flips a byte of the payload of a batch in the journal.
func damagedGroup(t testing.TB, m *vfs.Mem, lsn wal.LSN) {
	t.Helper()
	found := false
	_, err := wal.Inspect(wal.InspectOptions{FS: m, Dir: filepath.Join(root, datadir.WalDir), Kind: wal.Journal}, func(g *wal.Group) error {
		if len(g.Frames) > 0 && g.Frames[0].LSN == lsn {
			found = true
			return m.Flip(g.File, g.Offset+700, 1)
		}
		return nil
	})
	must(t, err)
	if !found {
		t.Fatalf("no group begins with LSN %d", lsn)
	}
}

// TestMendLostRange: the journal lost a batch that was acknowledged. The plan says so, and then the partition serves what is before it.
func TestMendLostRange(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 2)
	n.produce("t", 0, 10, "v")
	n.produce("t", 1, 4, "other")
	all, other := n.read("t", 0), n.read("t", 1)
	m := n.kill()
	lsns, _ := frames(t, m, "t")
	damagedGroup(t, m, lsns[6])
	if found := verify(t, m); len(found) == 0 {
		t.Fatal("the damage is not seen")
	}
	p, n := repaired(t, m, Mend)
	if p.LossTotal != 8 || len(p.NeedsAccept) != 1 || p.Loss[0].Acknowledged != AckYes || p.Loss[0].First != 12 {
		t.Fatalf("%+v", p.Loss)
	}
	if got := n.read("t", 0); !slices.Equal(got, all[:12]) {
		t.Fatalf("%d records are served", len(got))
	}
	if got := n.read("t", 1); !slices.Equal(got, other) {
		t.Fatalf("the other partition has %d records", len(got))
	}
	n.produce("t", 0, 2, "after")
	mustVerify(t, n.kill())
}

// heldPartition is the disk of a node that started on damage to acknowledged records of t-0, which are all, stopped the partition and held its frames.
func heldPartition(t *testing.T) (all []string, m *vfs.Mem) {
	t.Helper()
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 3, "v")
	n.stop()
	n = startNode(t, n.fs)
	n.produce("t", 0, 10, "w")
	all = n.read("t", 0)
	m = n.kill()
	damagedGroup(t, m, lastGroup(t, m).Head.FirstLSN-3)
	n = startNode(t, m)
	if _, err := n.b.Log("t", 0); err == nil {
		t.Fatal("the partition is not stopped")
	}
	n.stop() // with a checkpoint that frees the journal
	return all, m
}

// TestMendHeld: a node has started on the damage, stopped the partition and held its frames; the plan reads them back.
func TestMendHeld(t *testing.T) {
	all, m := heldPartition(t)
	p, n := repaired(t, m, Mend)
	if got := n.read("t", 0); !slices.Equal(got, all[:18]) || p.LossTotal != 8 {
		t.Fatalf("%d records are served, the plan loses %d: %+v", len(got), p.LossTotal, p.Loss)
	}
	mustVerify(t, n.kill())
}

// TestMendHeldNoCheckpoint: the same, and then the checkpoint is lost, which knew of the frames that are held: the plan names them.
func TestMendHeldNoCheckpoint(t *testing.T) {
	_, m := heldPartition(t)
	for _, c := range []string{"0", "1"} {
		must(t, m.Flip(root+"/wal/checkpoint."+c, 60, 1))
	}
	p, n := repaired(t, m, Mend)
	last := p.Loss[len(p.Loss)-1]
	if got := len(n.read("t", 0)); int64(got) != last.First || last.Last != 25 || !strings.Contains(last.Note, "evidence/held.") || len(p.NeedsAccept) == 0 {
		t.Fatalf("%d records are served, the plan loses %+v", got, p.Loss)
	}
}

// TestMendManifest: both copies of the manifest are gone.
func TestMendManifest(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 70, "v")
	all := n.read("t", 0)
	m := n.kill()
	for _, c := range []string{"0", "1"} {
		must(t, m.Flip(root+"/wal/manifest."+c, 60, 1))
	}
	if found := verify(t, m); len(found) == 0 {
		t.Fatal("the damage is not seen")
	}
	p, n := repaired(t, m, Mend)
	if got := n.read("t", 0); !slices.Equal(got, all) || p.LossTotal != 0 {
		t.Fatalf("%d records are served, the plan loses %d", len(got), p.LossTotal)
	}
}

// TestMendNothing: a clean directory needs nothing.
func TestMendNothing(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 3, "v")
	_, err := New(options(n.kill()), Mend)
	wantIs(t, err, ErrNothing, "already as it would leave it")
}

// TestMendAll: HardState, the manifest and a batch in the journal are damaged at once, and one plan mends them all.
func TestMendAll(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 10, "v")
	all := n.read("t", 0)
	m := n.kill()
	lsns, _ := frames(t, m, "t")
	damagedGroup(t, m, lsns[6])
	for _, name := range []string{"wal/manifest.0", "wal/manifest.1", "raft/hardstate.0", "raft/hardstate.1"} {
		must(t, m.Flip(filepath.Join(root, name), 60, 1))
	}
	p, n := repaired(t, m, Mend)
	if got := n.read("t", 0); !slices.Equal(got, all[:12]) || p.LossTotal != 8 {
		t.Fatalf("%d records are served, the plan loses %d: %+v", len(got), p.LossTotal, p.Loss)
	}
}
