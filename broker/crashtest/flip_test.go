package crashtest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
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
	for _, name := range w.disk.Files() {
		data, err := w.disk.Bytes(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, filepath.Join(root, datadir.EvidenceDir)) && !strings.HasPrefix(name, filepath.Join(root, datadir.QuarantineDir)) {
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

func flip(t *testing.T, disk *vfs.Mem, name string, at int64, mask byte) {
	t.Helper()
	if err := disk.Flip(name, at, mask); err != nil {
		t.Fatal(err)
	}
}

// findings is everything that the read-only functions say about a directory.
func (w *world) findings(disk *vfs.Mem) (out []string) {
	note := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	copies := func(c [2]statefile.Copy) {
		for _, c := range c {
			if c.State != statefile.OK {
				note("%s", c)
			}
		}
	}
	info, err := datadir.Inspect(disk, root)
	if err != nil {
		return []string{err.Error()}
	}
	copies(info.Copies)
	bad, err := datadir.ReadIncidents(disk, root, func(datadir.Incident) {})
	if err != nil || len(bad) > 0 {
		note("incidents: %v %v", bad, err)
	}
	report, err := w.check(disk)
	if err != nil {
		return append(out, err.Error())
	}
	copies(report.Checkpoint.Copies)
	for i := range report.Findings {
		note("%s at %d: %s", report.Findings[i].File, report.Findings[i].Offset, report.Findings[i].Reason)
	}
	for i := range report.Partitions {
		p := &report.Partitions[i]
		for _, f := range p.Findings {
			note("%s at %d: %s", f.File, f.Offset, f.Message)
		}
		if p.Status != recovery.OK && p.Status != recovery.Dropped {
			note("%s: %s", p.Name(), p.Reason)
		}
	}
	for _, m := range report.Moved {
		note("%s: %s", m.From, m.Why)
	}
	raft, err := raftlog.Inspect(raftlog.Options{FS: disk, Dir: filepath.Join(root, datadir.RaftDir), DirID: info.Identity.DirectoryID})
	if err != nil {
		return append(out, err.Error())
	}
	copies(raft.HardStateCopies)
	for _, f := range raft.Findings {
		note("%s at %d: %s", f.File, f.Offset, f.Reason)
	}
	for _, f := range raft.Snapshots {
		if f.Problem != "" {
			note("%s: %s", f.Name, f.Problem)
		}
	}
	if raft.Damage != nil {
		note("%v", raft.Damage)
	}
	return out
}
