package crashtest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/raftdump"
	"chronik.dev/chronik/walinspect"
)

var flagFlips = flag.Int("crash.flips", 700, "bytes of the reference directory that are damaged, spread over all files; 0 is every byte")

// TestFlips inverts one bit after another in the directory of a node that was stopped: each must be reported by a read-only check.
func TestFlips(t *testing.T) {
	var c counts
	s := draw(*flagFrom)
	w, err := run(s, &c, steps, 1, 0)
	for err == nil && c.cleanings.Load() == 0 {
		err = w.live(steps)
	}
	if err != nil {
		t.Fatal(err)
	}
	if found := w.findings(w.disk); len(found) > 0 {
		t.Fatalf("before any damage: %s", found)
	}
	total := 0
	sizes := map[string]int{}
	idle, err := w.idle()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range w.disk.Files() {
		data, err := w.disk.Bytes(name)
		if err != nil {
			t.Fatal(err)
		}
		if !idle[name] && !strings.HasSuffix(name, vfs.TempSuffix) && !strings.HasPrefix(name, filepath.Join(root, datadir.EvidenceDir)) && !strings.HasPrefix(name, filepath.Join(root, datadir.QuarantineDir)) {
			sizes[name] = len(data)
			total += len(data)
		}
	}
	stride := 1
	if *flagFlips > 0 {
		stride = max(1, total / *flagFlips)
	}
	rng := rand.New(rand.NewPCG(s.seed, 41))
	flips, silent := 0, 0
	for _, name := range w.disk.Files() {
		for at := rng.IntN(stride); at < sizes[name]; at += stride {
			mask := byte(1) << rng.IntN(8)
			flip(t, w.disk, name, int64(at), mask)
			if len(w.findings(w.disk)) == 0 {
				silent++
				if silent <= 20 {
					t.Errorf("bit %08b of byte %d of %s (%d bytes): silent", mask, at, name, sizes[name])
				}
			}
			flip(t, w.disk, name, int64(at), mask)
			flips++
		}
	}
	t.Logf("%d flips in %d files of %d bytes, %d silent", flips, len(sizes), total, silent)
}

// idle are the files that hold nothing: spare segments, and the blocks kept back for a full disk.
func (w *world) idle() (map[string]bool, error) {
	out := map[string]bool{}
	for dir, kind := range map[string]wal.Kind{datadir.WalDir: wal.Journal, datadir.RaftDir: wal.Raft} {
		dir = filepath.Join(root, dir)
		inv, err := wal.Inspect(wal.InspectOptions{FS: w.disk, Dir: dir, Kind: kind}, func(*wal.Group) error { return nil })
		if err != nil {
			return nil, err
		}
		out[filepath.Join(dir, "reserve")] = true
		for _, s := range inv.Spares {
			out[s.File] = true
		}
	}
	return out, nil
}

func flip(t *testing.T, disk *vfs.Mem, name string, at int64, mask byte) {
	t.Helper()
	if err := disk.Flip(name, at, mask); err != nil {
		t.Fatal(err)
	}
}

// meaningless are the rules for what Raft's entries and snapshots mean: here they are random text, of members who do not exist, and no partition
// is created by one of them.
var meaningless = []raftdump.Rule{raftdump.RuleEntry, raftdump.RuleSnapshotState, raftdump.RuleMember, raftdump.RuleConfState, raftdump.RuleVote,
	raftdump.RuleStateHash, raftdump.RuleJournalAhead, raftdump.RulePartitionIndex}

// findings is everything that `wal verify --deep` and the ledger's reader say about a directory.
func (w *world) findings(disk *vfs.Mem) (out []string) {
	note := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	bad, err := datadir.ReadIncidents(disk, root, func(datadir.Incident) {})
	if err != nil || len(bad) > 0 {
		note("incidents: %v %v", bad, err)
	}
	found, err := verify(disk, root)
	for i := range found {
		f := &found[i]
		note("%s %s at %d: %s: %s", f.Verdict, f.File, f.Offset, f.Reason, f.Evidence)
	}
	if err != nil {
		note("%v", err)
	}
	return out
}

// verify is `wal verify --deep --bitflip PATH`, without what judges the meaning of Raft's entries.
func verify(disk *vfs.Mem, path string) (out []walinspect.Finding, err error) {
	target, err := walinspect.Open(walinspect.Options{FS: disk, Path: path})
	if err != nil {
		return nil, err
	}
	target.Bitflip = true
	_, err = target.Verify(walinspect.Deep, func(f *walinspect.Finding) error {
		if !slices.Contains(meaningless, raftdump.Rule(f.Reason)) {
			out = append(out, *f)
		}
		return nil
	})
	return out, err
}
