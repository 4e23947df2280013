package wal

import (
	"math/rand/v2"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

// TestEndBefore ends random logs, some of them damaged, before each of their LSNs: what was intact before it is there and nothing else, the cut
// is recorded, damage behind it is gone, and what is appended next has an LSN that was never seen.
func TestEndBefore(t *testing.T) {
	for seed := range uint64(15) {
		rng := rand.New(rand.NewPCG(seed, 21))
		m := vfs.NewMem(seed)
		o := testOptions(m, "/wal", seed)
		o.Buffered = seed%2 == 0
		l, err := Create(o)
		must(t, err)
		value := int64(0)
		for range 25 {
			var group []Frame
			for range 1 + rng.IntN(3) {
				value++
				group = append(group, testFrame(int32(rng.IntN(3)), value, rng.IntN(9000)))
			}
			appendAll(t, l, group...)
		}
		left := m.Kill()
		must(t, l.Close())
		o.FS = left
		damage := seed%3 > 0
		if damage {
			inv, _ := readAll(t, inspectOptions(o))
			s := inv.Segments[rng.IntN(len(inv.Segments))]
			must(t, left.Flip(s.File, BlockSize+rng.Int64N(max(1, s.End-BlockSize)), 1<<rng.IntN(8)))
		}
		inv, before := readAll(t, inspectOptions(o))
		for lsn := LSN(1); lsn <= inv.Last; lsn += 1 + LSN(rng.IntN(4)) {
			endBefore(t, seed, left.Kill(), o, inv, before, lsn)
		}
	}
}

func endBefore(t *testing.T, seed uint64, m *vfs.Mem, o Options, inv *Inventory, before []Frame, lsn LSN) {
	t.Helper()
	o.FS, o.Still = m, true
	cut, gone, err := EndBefore(inspectOptions(o), inv, lsn)
	must(t, err)
	l, err := Resume(o, cut, CutNote{Incident: "test"})
	must(t, err)
	for _, name := range gone {
		must(t, m.Remove(name))
	}
	next := appendAll(t, l, testFrame(0, 1_000_000, 10))
	must(t, l.Close())
	now, after := readAll(t, inspectOptions(o))
	if next <= inv.Highest || len(now.Cuts) == 0 {
		t.Fatalf("seed %d: before LSN %d: the log goes on at %d, %d was seen; cuts %+v", seed, lsn, next, inv.Highest, now.Cuts)
	}
	for _, f := range now.Findings {
		if f.Verdict != Notice && f.FirstLSN >= lsn {
			t.Fatalf("seed %d: before LSN %d: damage behind the cut is left: %+v", seed, lsn, f)
		}
	}
	if inv.Clean && !now.Clean {
		t.Fatalf("seed %d: before LSN %d: %+v", seed, lsn, now.Findings)
	}
	want := []LSN{}
	for _, f := range before {
		if f.LSN < lsn {
			want = append(want, f.LSN)
		}
	}
	got := lsns(after)
	if len(got) != len(want)+1 || got[len(want)] != next {
		t.Fatalf("seed %d: before LSN %d: %v are left, not %v and %d", seed, lsn, got, want, next)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("seed %d: before LSN %d: %v are left, not %v", seed, lsn, got, want)
		}
	}
}
