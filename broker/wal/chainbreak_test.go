package wal

import (
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

// TestBrokenChain: a group that does not continue the one before it, with every check of its own right and no LSN missing, is corrupt.
func TestBrokenChain(t *testing.T) {
	m := vfs.NewMem(8)
	o := testOptions(m, "/wal", 8)
	l, err := Create(o)
	must(t, err)
	before := appendAll(t, l, testFrame(1, 1, 100))
	l.chain ^= 1 // as if another group had been there
	broken := appendAll(t, l, testFrame(1, 2, 100))
	last := appendAll(t, l, testFrame(1, 3, 100))
	must(t, l.Close())
	inv, got := readAll(t, inspectOptions(o))
	if len(inv.Findings) != 1 || len(got) != 3 || got[0].LSN != before || got[2].LSN != last {
		t.Fatalf("%d frames, findings %+v", len(got), inv.Findings)
	}
	if f := inv.Findings[0]; f.Reason != ReasonChain || f.Verdict != Corrupt || f.Offset == 0 {
		t.Errorf("group of LSN %d: %+v", broken, f)
	}
}
